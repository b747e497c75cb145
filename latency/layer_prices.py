"""Prices of whole networks by a latency table at the speed of a dictionary: every layer is lowered and priced once."""

from __future__ import annotations

from latency.op_key import op_keys
from latency.table import LatencyTable, MissingKeysError
from search_spaces.arch import ArchSpec
from search_spaces.graph import Graph
from search_spaces.layer_sum import LayerSum
from search_spaces.lower import lower


class LayerPrices:
    """Latency by `table`; equal to pricing each network's graph, for networks that share most of their layers.

    The context in a key reaches no further than a layer (`latency.op_key`), so that a layer costs the same in every network.
    """

    def __init__(self, table: LatencyTable) -> None:
        self._table = table
        self._prices_us = LayerSum(self._price_us, table.resolution, table.num_classes)

    def latency_ms(self, arch: ArchSpec) -> float:
        """Latency of `arch`, milliseconds.

        Raises:
            MissingKeysError: operations without a price.
        """
        table = self._table
        try:
            return (table.correction.intercept_us + self._prices_us(arch)) / 1000
        except _NoPriceError:
            missing = table.missing(lower(arch, table.resolution, table.num_classes))
            raise MissingKeysError(missing, str(arch)) from None

    def _price_us(self, graph: Graph) -> float:
        if self._table.missing(graph):
            raise _NoPriceError
        return sum(map(self._table.price_us, op_keys(graph)))


class _NoPriceError(Exception):
    """A layer has operations without a price; of which network is known further up."""
