"""What an adaptation reduces: milliseconds, multiply-adds, parameters, or the worst of several against its budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from latency.layer_prices import LayerPrices
from latency.table import LatencyTable, MissingKeysError
from nas.errors import UserError
from nas.netadapt.proposal import Cost
from nas.netadapt.schedule import Amount
from search_spaces.arch import ArchSpec
from search_spaces.count import op_macs, op_params
from search_spaces.graph import Op
from search_spaces.layer_sum import LayerSum

Resource = Literal["latency", "macs", "params"]
"""What a network takes: milliseconds on the device, multiply-adds of one image, trained parameters."""

CostUnit = Literal["ms", "MACs", "params", "x budget"]

_NAMES: dict[Resource, Literal["table", "macs", "params"]] = {"latency": "table", "macs": "macs", "params": "params"}
_UNITS: dict[Resource, CostUnit] = {"latency": "ms", "macs": "MACs", "params": "params"}
_NO_MILLISECONDS: dict[CostUnit, str] = {
    "MACs": "multiply-adds are no milliseconds; give a share, as 0.8L, or a table with --table FILE",
    "params": "parameters are no milliseconds; give a share, as 0.01L",
    "x budget": "several budgets have no unit in common; give a share, as 0.01L",
}


@dataclass(frozen=True, slots=True)
class CostModel:
    """A cost of one resource, in its unit; or of several, each in units of its budget, the largest of which is the cost.

    NetAdapt's budgets (arXiv 1804.03230, section 3: Res_j <= Bud_j for every j) are met where max_j Res_j / Bud_j <= 1. So a
    network costs less only if the resource that is furthest above its budget is relieved.

    Attributes:
        amounts: resource -> what a network takes of it, in its unit.
        budgets: resource -> the most that it may take, in that unit, positive; of all `amounts`, or empty where there is but
            one and the cost is that.
    """

    amounts: Mapping[Resource, Cost]
    budgets: Mapping[Resource, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = self.amounts.keys() if self.budgets or len(self.amounts) != 1 else ()
        if not self.amounts or set(wanted) != set(self.budgets):
            raise ValueError(
                f"costs {list(self.amounts)}, budgets {list(self.budgets)}: one cost, or a budget for each"
            )

    @property
    def name(self) -> Literal["table", "macs", "params", "budgets"]:
        """What the cost is; ``table`` is milliseconds by prices."""
        return "budgets" if self.budgets else _NAMES[next(iter(self.amounts))]

    @property
    def unit(self) -> CostUnit:
        """Of the cost."""
        return "x budget" if self.budgets else _UNITS[next(iter(self.amounts))]

    def cost(self, arch: ArchSpec) -> float:
        """Of a network, as priced."""
        return self.settled(arch, None)

    def settled(self, arch: ArchSpec, latency_ms: float | None) -> float:
        """The cost of `arch` as it counts towards the target, where its latency is measured; None is as priced."""
        reading = self.reading(arch, latency_ms)
        if not self.budgets:
            return next(iter(reading.values()))
        return max(amount / self.budgets[resource] for resource, amount in reading.items())

    def reading(self, arch: ArchSpec, latency_ms: float | None = None) -> dict[Resource, float]:
        """What `arch` takes of each resource, in its unit; of latency the measured milliseconds where they are given."""
        measured = {} if latency_ms is None else {"latency": latency_ms}
        return {
            resource: measured[resource] if resource in measured else amount(arch)
            for resource, amount in self.amounts.items()
        }

    def amount(self, amount: Amount, seed_cost: float, what: str) -> float:
        """`amount` in the unit of the cost; `what` begins the message.

        Raises:
            UserError: milliseconds, where the cost has none.
        """
        if amount.unit == "ms" and self.unit != "ms":
            raise UserError(f"{what} {amount}: {_NO_MILLISECONDS[self.unit]}")
        return amount.of(seed_cost)

    def text(self, cost: float) -> str:
        """`cost` as people read it."""
        return f"{cost:.3f} x budget" if self.budgets else amount_text(next(iter(self.amounts)), cost)

    def reading_text(self, arch: ArchSpec, latency_ms: float | None = None) -> str:
        """`reading` as people read it, each amount beside its budget where it has one."""
        texts = []
        for resource, amount in self.reading(arch, latency_ms).items():
            own = amount_text(resource, amount)
            texts.append(f"{own} of {amount_text(resource, self.budgets[resource])}" if self.budgets else own)
        return ", ".join(texts)


def amount_text(resource: Resource, amount: float) -> str:
    """Some of a resource as people read it."""
    match resource:
        case "latency":
            return f"{amount:.3f} ms"
        case "macs":
            return f"{amount / 1e6:.2f} M MACs"
        case "params":
            return f"{amount:,.0f} params"


def mac_cost(resolution: int, num_classes: int) -> CostModel:
    """Multiply-adds of one image of side `resolution` pixels.

    The cost raises UserError for a network that cannot be built at that resolution.
    """
    return CostModel({"macs": _counted(op_macs, resolution, num_classes)})


def param_cost(resolution: int, num_classes: int) -> CostModel:
    """Trained parameters; the resolution is that at which a flattened map, if the network has one, is flattened.

    The cost raises UserError for a network that cannot be built at that resolution.
    """
    return CostModel({"params": _counted(op_params, resolution, num_classes)})


def latency_cost(price_ms: Cost) -> CostModel:
    """Milliseconds by any prices, which may change as an adaptation goes on: nothing is kept of them here."""
    return CostModel({"latency": price_ms})


def table_cost(table: LatencyTable) -> CostModel:
    """Milliseconds by a latency table, at its resolution and number of classes.

    The cost raises UserError for a network with operations that have no price.
    """
    return latency_cost(table_price_ms(table))


def table_price_ms(table: LatencyTable) -> Cost:
    """Prices of whole networks by a latency table, in milliseconds.

    They raise UserError for a network with operations that have no price.
    """
    prices = LayerPrices(table)

    def price_ms(arch: ArchSpec) -> float:
        try:
            return prices.latency_ms(arch)
        except MissingKeysError as error:
            raise UserError(str(error)) from None

    return price_ms


def _counted(of_op: Callable[[Op], int], resolution: int, num_classes: int) -> Cost:
    """The sum of `of_op` over a network."""
    counts = LayerSum(lambda graph: sum(map(of_op, graph.ops)), resolution, num_classes)

    def count(arch: ArchSpec) -> float:
        try:
            return counts(arch)
        except ValueError as error:
            raise UserError(f"at {resolution} px: {error}") from None

    return count
