"""Activations of a network at the ends of its blocks, so that what is cut from it need not compute again what stays.

A narrower network computes the same as the one that it is cut from up to the first operation whose output narrows: in the
pass that recalibrates BN and in the one that scores. It starts there, at the last block's end of which the activations
are kept, and comes to the same statistics and outcomes, bit for bit, as if it had begun with the images (by the same
kernels: on one machine, with one number of threads).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from nas.bn_recalibration import calibration_inputs, recalibrate_from, taking_statistics
from nas.image_set import ImageSource
from nas.netadapt.outcomes import Outcomes, Signal, holdout_inputs, outcomes_from
from nas.netadapt.weighted_network import WeightedNetwork
from nas.network_walk import walk
from search_spaces.graph import INPUT, Graph
from search_spaces.torch_module import Alive, GraphModule, Program

_FLOAT_BYTES = 4
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where a network that is cut from another begins; picklable, and read only.

    Attributes:
        position: of the first operation that is run; 0 begins with the images.
        statistics: of the BN of the operations before it, by their names in the state.
        calibration: for each batch of calibration images the tensors that are alive before it.
        holdout: likewise for the images that score.
        labels: of these.
    """

    position: int
    statistics: Mapping[str, Tensor]
    calibration: Iterable[Alive]
    holdout: Iterable[Alive]
    labels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """Of one network.

    Attributes:
        graph: its operations.
        starts: by position, the images themselves first.
    """

    graph: Graph
    starts: tuple[Start, ...]

    @classmethod
    def of(
        cls, network: WeightedNetwork, calibration: ImageSource, holdout: ImageSource, max_bytes: int
    ) -> Activations:
        """Run `network` once over all images.

        Args:
            network: stays as it is.
            calibration: over all of these the statistics of BN are taken.
            holdout: score.
            max_bytes: of the activations that are kept: from the last block's end to the first, those that still fit.
        """
        module = network.module()
        calibrates, scores = calibration_inputs(calibration, len(calibration)), holdout_inputs(holdout)
        kept = _fitting(module, len(calibrates) + len(scores), max_bytes)
        with taking_statistics(module):
            calibrating = _passed(module.program, calibrates, kept)
        scoring = _passed(module.program, scores, kept)
        beginning = Start(0, {}, calibrates, scores, holdout.labels)
        later = (
            Start(position, _statistics(module, position), calibrating[position], scoring[position], holdout.labels)
            for position in kept
        )
        return cls(module.graph, (beginning, *later))

    def start(self, narrow: Graph) -> Start:
        """The last one before `narrow`, cut from the network, has other widths: the same object for all that begin there.

        The network itself begins at its end, where its outcomes are known already.

        Raises:
            ValueError: `narrow` has other operations.
        """
        change = _first_change(self.graph, narrow)
        return next(start for start in reversed(self.starts) if start.position <= change)


def scored(network: WeightedNetwork, start: Start, signal: Signal) -> tuple[WeightedNetwork, Outcomes]:
    """`network` with the statistics of BN taken anew, and what it makes of each image that scores.

    Args:
        network: cut from the one that `start` is of, and not changed since; its own statistics do not matter.
        start: what that one's activations give for its architecture.
        signal: see `nas.netadapt.outcomes`.
    """
    module = network.module()
    module.load_state_dict(start.statistics, strict=False)
    recalibrate_from(module, start.calibration, start.position)
    found = outcomes_from(module, start.holdout, start.labels, signal, start.position)
    return replace(network, state=dict(module.state_dict())), found


@torch.no_grad()
def _passed(program: Program, batches: Iterable[Alive], kept: Sequence[int]) -> Mapping[int, tuple[Alive, ...]]:
    """Position -> for each batch what is alive there."""
    positions = sorted({0, *kept, len(program.steps)})
    walked = list(walk(program, batches, positions))
    return {position: tuple(passed[n] for passed in walked) for n, position in enumerate(positions[1:])}


def _fitting(module: GraphModule, num_images: int, max_bytes: int) -> list[int]:
    """Positions of blocks' ends whose activations fit into `max_bytes`, the last ones first served; ascending."""
    shapes = {INPUT: module.graph.input_shape} | {op.name: op.shape for op in module.graph.ops}
    kept, left = [], max_bytes
    for position in reversed(list(_ends(module.graph))):
        values = sum(prod(shapes[name]) for name in module.program.alive(position))
        if (size := values * num_images * _FLOAT_BYTES) <= left:
            kept.append(position)
            left -= size
    return kept[::-1]


def _ends(graph: Graph) -> Iterator[int]:
    """Positions at which the stem, a block or the head is over; the last is that of the logits."""
    blocks = [op.name.split(".")[0] for op in graph.ops]
    for position, block in enumerate(blocks, start=1):
        if blocks[position : position + 1] != [block]:
            yield position


def _statistics(module: GraphModule, position: int) -> dict[str, Tensor]:
    names = [f"{step.output}." for step in module.program.steps[:position]]
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name.endswith(_STATISTICS) and name.startswith(tuple(names))
    }


def _first_change(wide: Graph, narrow: Graph) -> int:
    """Position of the first operation that differs in width; the number of operations where none does."""
    if [(op.name, op.inputs) for op in wide.ops] != [(op.name, op.inputs) for op in narrow.ops]:
        raise ValueError("activations are those of a network with other operations")
    pairs = enumerate(zip(wide.ops, narrow.ops, strict=True))
    return next((position for position, (op, narrower) in pairs if op != narrower), len(wide.ops))
