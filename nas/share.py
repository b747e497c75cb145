"""Data parallelism: every worker takes its share of each batch, and what the workers find is averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from nas.errors import UserError

# BN has nothing to normalise a single image by, where the network has come down to 1x1 pixels
SMALLEST_SHARE = 2


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's place among all that train the same network, each on its contiguous part of every batch.

    Where there are several, each is a process of one `torch.distributed` group, and averaging is collective: all call the
    same methods in the same order, with tensors of the same shapes.

    Attributes:
        rank: of this worker, from 0; the first one also keeps the records.
        num_workers: at least 1.
    """

    rank: int = 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.num_workers:
            raise ValueError(
                f"rank {self.rank} of {self.num_workers} workers: must be from 0 to {self.num_workers - 1}"
            )

    def part(self, count: int) -> slice:
        """Which of `count` things in a row are this worker's; the shares differ by one at most."""
        return slice(count * self.rank // self.num_workers, count * (self.rank + 1) // self.num_workers)

    def size(self, count: int) -> int:
        """How many of `count` things are this worker's."""
        part = self.part(count)
        return int(part.stop - part.start)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor], count: int) -> None:
        """Put the average over all workers in place of each tensor.

        A worker counts with its share of `count`, so that means over its images become the means over all images.

        Args:
            tensors: of one floating-point type, on the device that trains.
            count: images of a whole batch.
        """
        if self.num_workers == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).mul_(self.size(count) / count)
        dist.all_reduce(flat)  # one message: most gradients are far too small for one each
        pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.detach().copy_(piece.view(tensor.shape))

    def total(self, number: int, device: torch.device) -> int:
        """The sum of all workers' numbers; `device` is the one that trains."""
        if self.num_workers == 1:
            return number
        summed = torch.tensor(number, device=device)
        dist.all_reduce(summed)
        return int(summed)


ALONE = Share()


def check_shares(num_workers: int, batch_size: int, num_images: int) -> None:
    """Raise UserError where a batch is too small to be divided.

    Args:
        num_workers: that divide each batch.
        batch_size: of the recipe.
        num_images: that train; a batch has no more.
    """
    count = min(batch_size, num_images)
    if num_workers > 1 and count // num_workers < SMALLEST_SHARE:
        raise UserError(
            f"--workers {num_workers}: a batch of {count} images has {SMALLEST_SHARE} for each of at most "
            f"{max(1, count // SMALLEST_SHARE)} workers; take fewer workers, or a larger --batch-size"
        )
