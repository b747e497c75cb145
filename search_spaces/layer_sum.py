"""A quantity that a network has as the sum over its layers, at the speed of a dictionary: each layer is lowered once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from search_spaces.arch import AnyLayer, ArchSpec, Block, Head, Norm, Stem
from search_spaces.graph import Graph, Shape
from search_spaces.lower import lower_head, lower_layer, lower_stem

_Summed = tuple[float, Shape]
"""The quantity, and the shape that comes out."""


class LayerSum:
    """The sum of `of_graph` over stem, blocks and head of networks that differ in few of them.

    Args:
        of_graph: the quantity of a part of a network, which its neighbours must not change; its exceptions pass through.
        resolution: side of the input in pixels.
        num_classes: outputs of the classifier.
    """

    def __init__(self, of_graph: Callable[[Graph], float], resolution: int, num_classes: int) -> None:
        self._of_graph = of_graph
        self._resolution = resolution
        self._num_classes = num_classes
        self._stems: dict[tuple[Stem, Norm | None], _Summed] = {}
        self._blocks: dict[tuple[Block, Shape, Norm | None], _Summed] = {}
        self._layers: dict[tuple[AnyLayer, Shape, Norm | None], _Summed] = {}
        self._heads: dict[tuple[Head, Shape, Norm | None], _Summed] = {}

    def __call__(self, arch: ArchSpec) -> float:
        """The quantity of `arch`.

        Raises:
            ValueError: a window does not fit at the resolution.
        """
        stem = (arch.stem, arch.norm)
        if (summed := self._stems.get(stem)) is None:
            summed = self._stems[stem] = self._sum(lower_stem(arch.stem, self._resolution, arch.norm))
        total, shape = summed
        for number, block in enumerate(arch.blocks, start=1):
            key = (block, shape, arch.norm)
            if (summed := self._blocks.get(key)) is None:
                summed = self._blocks[key] = self._of_layers(block, shape, f"b{number}", arch.norm)
            total += summed[0]
            shape = summed[1]
        head = (arch.head, shape, arch.norm)
        if (summed := self._heads.get(head)) is None:
            summed = self._heads[head] = self._sum(lower_head(arch.head, shape, self._num_classes, norm=arch.norm))
        return total + summed[0]

    def _of_layers(self, block: Block, shape: Shape, name: str, norm: Norm | None) -> _Summed:
        total: float = 0  # whole numbers stay whole
        layers: Iterator[AnyLayer] = block.layers()
        for number, layer in enumerate(layers, start=1):
            key = (layer, shape, norm)
            if (summed := self._layers.get(key)) is None:
                summed = self._layers[key] = self._sum(lower_layer(layer, shape, f"{name}.l{number}", norm=norm))
            total += summed[0]
            shape = summed[1]
        return total, shape

    def _sum(self, graph: Graph) -> _Summed:
        return self._of_graph(graph), graph.ops[-1].shape
