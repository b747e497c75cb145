"""Batches of images as the operations of a network take them: where a walk over its graph begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from latency.measuring_lock import training_step
from nas.image_set import ImageSource, normalised
from search_spaces.graph import INPUT
from search_spaces.torch_module import Alive


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

    @property
    def batch_sizes(self) -> list[int]:
        """Images of each batch, in order."""
        num = min(self.num_images, len(self.images))
        sizes = [min(self.batch_size, num - first) for first in range(0, num, self.batch_size)]
        return [size for size in sizes if size >= self.smallest_batch]

    def __iter__(self) -> Iterator[Alive]:
        order = torch.arange(sum(self.batch_sizes))
        for batch, _ in self.images.batches(order, self.batch_size):
            with training_step():
                inputs = normalised(batch, self.images.mean, self.images.std)
            yield {INPUT: inputs}
