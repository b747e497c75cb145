"""Prices of a whole search space at table speed: every layer is lowered once."""

from __future__ import annotations

from collections.abc import Iterator

from latency.op_key import op_keys
from latency.table import LatencyTable, MissingKeysError
from search_spaces.arch import AnyLayer, ArchSpec, Block, Head, Stem
from search_spaces.choice import Choices
from search_spaces.graph import Graph, Shape
from search_spaces.lower import lower_head, lower_layer, lower_stem
from search_spaces.space import SearchSpace

_Priced = tuple[float, Shape]
"""Microseconds, and the shape that comes out."""


class PricedSpace:
    """Latency of the candidates of a space from a table; equal to pricing each one's graph.

    The context in a key reaches no further than a layer, so that a layer costs the same in every network. Prices are kept
    by layer and input shape, and those of blocks, which are sums of them, likewise: most of a random network is known.

    Args:
        space: whose candidates are asked for.
        table: has the prices.

    Raises:
        MissingKeysError: when asked for a candidate with operations that have no price.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable) -> None:
        self._space = space
        self._table = table
        self._stems: dict[Stem, _Priced] = {}
        self._blocks: dict[tuple[Block, Shape], _Priced] = {}
        self._layers: dict[tuple[AnyLayer, Shape], _Priced] = {}
        self._heads: dict[tuple[Head, Shape], _Priced] = {}

    def latency_ms(self, choices: Choices) -> float:
        """Latency of the candidate `choices`, milliseconds.

        Raises:
            MissingKeysError: operations without a price.
            ValueError: not a candidate of the space.
        """
        return self.arch_latency_ms(self._space.decode(choices))

    def arch_latency_ms(self, arch: ArchSpec) -> float:
        """Latency of any architecture, milliseconds; errors as `latency_ms`."""
        table = self._table
        stem = self._stems.get(arch.stem)
        if stem is None:
            stem = self._stems[arch.stem] = self._price(lower_stem(arch.stem, table.resolution), arch)
        total_us, shape = stem
        for block in arch.blocks:
            priced = self._blocks.get((block, shape))
            if priced is None:
                priced = self._blocks[block, shape] = self._price_block(block, shape, arch)
            total_us += priced[0]
            shape = priced[1]
        head = self._heads.get((arch.head, shape))
        if head is None:
            graph = lower_head(arch.head, shape, table.num_classes)
            head = self._heads[arch.head, shape] = self._price(graph, arch)
        return (table.correction.intercept_us + total_us + head[0]) / 1000

    def _price_block(self, block: Block, shape: Shape, arch: ArchSpec) -> _Priced:
        total_us = 0.0
        layers: Iterator[AnyLayer] = block.layers()
        for layer in layers:
            priced = self._layers.get((layer, shape))
            if priced is None:
                priced = self._layers[layer, shape] = self._price(lower_layer(layer, shape), arch)
            total_us += priced[0]
            shape = priced[1]
        return total_us, shape

    def _price(self, graph: Graph, arch: ArchSpec) -> _Priced:
        if missing := self._table.missing(graph):
            raise MissingKeysError(missing, str(arch))
        return sum(map(self._table.price_us, op_keys(graph))), graph.ops[-1].shape
