"""Images as a training takes them: a source of batches, and the one that holds all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

Rgb = tuple[float, float, float]


class ImageSource(Protocol):
    """Labelled images of one size, a batch at a time; where they come from makes no difference to any pixel."""

    @property
    def labels(self) -> Tensor:
        """int64, N, on the device that trains."""
        ...

    @property
    def mean(self) -> Rgb:
        """Per channel, of the training split, in [0, 1]."""
        ...

    @property
    def std(self) -> Rgb:
        """Likewise."""
        ...

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        ...

    def __len__(self) -> int: ...

    def select(self, indices: Tensor) -> Self:
        """The images at `indices` (int64)."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same images on `device`."""
        ...

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (uint8, n x 3 x H x W, channels last) and labels (int64, n).

        Args:
            order: numbers of the images (int64), on the CPU.
            batch_size: n of all batches but the last, which may be smaller.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images ready for training, all of them on the device that trains.

    Attributes:
        images: uint8, N x 3 x H x W, channels last, 0..255.
        labels: int64, N.
        mean: per channel, of the training split, in [0, 1].
        std: likewise.
    """

    images: Tensor
    labels: Tensor
    mean: Rgb
    std: Rgb

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def select(self, indices: Tensor) -> ImageSet:
        """The images at `indices` (int64)."""
        return ImageSet(self.images[indices], self.labels[indices], self.mean, self.std)

    def to(self, device: torch.device) -> ImageSet:
        """The same images on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.mean, self.std)

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `ImageSource`."""
        for batch in torch.split(order, batch_size):
            indices = batch.to(self.device)
            yield self.images[indices], self.labels[indices]

    def normalised(self, images: Tensor) -> Tensor:
        """As the function `normalised`, by the constants of this set."""
        return normalised(images, self.mean, self.std)


def normalised(images: Tensor, mean: Rgb, std: Rgb) -> Tensor:
    """uint8 images as float32 with mean 0 and standard deviation 1 per channel, channels last.

    Args:
        images: N x 3 x H x W.
        mean: in [0, 1].
        std: in (0, 1].
    """
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    shift, scale = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (mean, std))
    return floats.div_(255).sub_(shift).div_(scale)
