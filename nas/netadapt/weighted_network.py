"""An architecture with its weights: what a step of an adaptation starts from and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from search_spaces.arch import ArchSpec
from search_spaces.graph import Graph
from search_spaces.lower import lower
from search_spaces.slicing import kept_channels, sliced_state
from search_spaces.torch_module import GraphModule, loaded_module


@dataclass(frozen=True, slots=True, eq=False)
class WeightedNetwork:
    """A network and its weights, on the CPU; picklable. Auxiliary heads are left out: an adaptation trains without them.

    Attributes:
        arch: the architecture.
        resolution: side of its images in pixels.
        num_classes: of its classifier.
        state: as the `state_dict` of its module; nobody changes these tensors.
    """

    arch: ArchSpec
    resolution: int
    num_classes: int
    state: Mapping[str, Tensor]

    @classmethod
    def of(cls, arch: ArchSpec, module: GraphModule) -> WeightedNetwork:
        """`module`, wherever it is, with copies of its tensors.

        Args:
            arch: what it was built from; blocks may be numbered in another way (`search_spaces.edits.one_layer_blocks`).
            module: without auxiliary heads.

        Raises:
            ValueError: it is no module of `arch`.
        """
        graph = module.graph
        resolution, num_classes = graph.input_shape[1], graph.ops[-1].shape[0]
        cut = sliced_state(graph, module.state_dict(), lower(arch, resolution, num_classes), {})
        return cls(arch, resolution, num_classes, {name: tensor.cpu() for name, tensor in cut.items()})

    @property
    def graph(self) -> Graph:
        """The operations."""
        return lower(self.arch, self.resolution, self.num_classes)

    def module(self) -> GraphModule:
        """A fresh module with copies of the weights, in evaluation mode."""
        return loaded_module(self.graph, self.state)

    def narrowed(self, arch: ArchSpec) -> WeightedNetwork:
        """`arch` with weights cut from these, of each width the strongest channels; BN's statistics want recalibration.

        Raises:
            ValueError: `arch` is not this architecture with narrower widths.
        """
        wide, narrow = self.graph, lower(arch, self.resolution, self.num_classes)
        kept = kept_channels(wide, self.state, narrow)
        return WeightedNetwork(arch, self.resolution, self.num_classes, sliced_state(wide, self.state, narrow, kept))
