"""What an adaptation reduces: multiply-adds, or milliseconds of a latency table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latency.op_key import op_keys
from latency.table import LatencyTable, MissingKeysError
from nas.errors import UserError
from nas.netadapt.proposal import Cost
from nas.netadapt.schedule import Amount
from search_spaces.arch import ArchSpec
from search_spaces.count import op_macs
from search_spaces.graph import Graph
from search_spaces.layer_sum import LayerSum
from search_spaces.lower import lower


@dataclass(frozen=True, slots=True)
class CostModel:
    """A cost and its unit.

    Attributes:
        name: ``macs`` or ``table``.
        unit: ``MACs`` or ``ms``.
        cost: of a network, in that unit.
    """

    name: Literal["macs", "table"]
    unit: Literal["MACs", "ms"]
    cost: Cost

    def amount(self, amount: Amount, seed_cost: float, what: str) -> float:
        """`amount` in the unit; `what` begins the message.

        Raises:
            UserError: milliseconds, where the cost has none.
        """
        if amount.unit == "ms" and self.unit != "ms":
            raise UserError(
                f"{what} {amount}: multiply-adds are no milliseconds; give a share, as 0.8L, or a table with --table FILE"
            )
        return amount.of(seed_cost)

    def text(self, cost: float) -> str:
        """`cost` as people read it."""
        return f"{cost:.3f} ms" if self.unit == "ms" else f"{cost / 1e6:.2f} M MACs"


def mac_cost(resolution: int, num_classes: int) -> CostModel:
    """Multiply-adds of one image of side `resolution` pixels.

    The cost raises UserError for a network that cannot be built at that resolution.
    """
    macs = LayerSum(lambda graph: sum(map(op_macs, graph.ops)), resolution, num_classes)

    def cost(arch: ArchSpec) -> float:
        try:
            return macs(arch)
        except ValueError as error:
            raise UserError(f"at {resolution} px: {error}") from None

    return CostModel("macs", "MACs", cost)


def table_cost(table: LatencyTable) -> CostModel:
    """Milliseconds by a latency table, at its resolution and number of classes.

    The cost raises UserError for a network with operations that have no price.
    """

    def price_us(graph: Graph) -> float:
        if table.missing(graph):
            raise _NoPriceError
        return sum(map(table.price_us, op_keys(graph)))

    # what a key says of its surroundings reaches no further than the layer, see `latency.op_key`
    prices_us = LayerSum(price_us, table.resolution, table.num_classes)

    def cost(arch: ArchSpec) -> float:
        try:
            return (table.correction.intercept_us + prices_us(arch)) / 1000
        except _NoPriceError:
            missing = table.missing(lower(arch, table.resolution, table.num_classes))
            raise UserError(str(MissingKeysError(missing, str(arch)))) from None

    return CostModel("table", "ms", cost)


class _NoPriceError(Exception):
    """A layer has operations without a price."""
