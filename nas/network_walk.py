"""Batches of images on their way through the operations of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from latency.measuring_lock import training_step
from nas.image_set import ImageSource, normalised
from search_spaces.graph import INPUT
from search_spaces.torch_module import Alive, Program


@dataclass(frozen=True, slots=True)
class NetworkInputs:
    """The first images of a source, normalised, in their order; each time they are gone through they are made anew.

    Attributes:
        images: where they come from; taken as they are stored, without augmentation.
        num_images: how many, or as many as there are.
        batch_size: images of each batch but the last, which may be smaller.
        smallest_batch: a last batch of fewer is left out.
    """

    images: ImageSource
    num_images: int
    batch_size: int
    smallest_batch: int = 1

    def __len__(self) -> int:
        """Images that are taken."""
        num = min(self.num_images, len(self.images))
        last = num % self.batch_size
        return num - last if last < self.smallest_batch else num

    def __iter__(self) -> Iterator[Alive]:
        order = torch.arange(len(self))
        for batch, _ in self.images.batches(order, self.batch_size) if len(order) else ():
            with training_step():
                inputs = normalised(batch, self.images.mean, self.images.std)
            yield {INPUT: inputs}


def walk(program: Program, batches: Iterable[Alive], positions: Sequence[int]) -> Iterator[tuple[Alive, ...]]:
    """For each batch the tensors that are alive at `positions`; rests while a latency is measured on this machine.

    Args:
        program: of the network.
        batches: tensors that are alive at the first position.
        positions: of operations, ascending, at least two: what is alive before them is given, but for the first.
    """
    for alive in batches:
        passed = []
        with training_step():
            for start, stop in pairwise(positions):
                alive = program.advance(alive, start, stop)
                passed.append(alive)
        yield tuple(passed)
