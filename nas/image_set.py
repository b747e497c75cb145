"""Images as a training takes them: a source of batches, and the one that holds all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

Rgb = tuple[float, float, float]

# of a device's free memory; the rest is for the network and its activations
_SHARE_OF_MEMORY = 0.5


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
    """Images ready for training, all of them in memory: on the device that trains, if they fit there.

    Attributes:
        images: uint8, N x 3 x H x W, channels last, 0..255; on the device that trains, or on the CPU.
        labels: int64, N, on the device that trains.
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
        """Where batches are."""
        return self.labels.device

    def select(self, indices: Tensor) -> ImageSet:
        """The images at `indices` (int64)."""
        images = self.images[indices.to(self.images.device)]
        return ImageSet(images, self.labels[indices.to(self.device)], self.mean, self.std)

    def to(self, device: torch.device) -> ImageSet:
        """The same images for `device`; they go there a batch at a time where all of them would leave it too little memory."""
        images = self.images.to(device) if _fits(self.images, device) else self.images
        return ImageSet(images, self.labels.to(device), self.mean, self.std)

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `ImageSource`."""
        for batch in torch.split(order, batch_size):
            yield self.images[batch.to(self.images.device)].to(self.device), self.labels[batch.to(self.device)]

    def normalised(self, images: Tensor) -> Tensor:
        """As the function `normalised`, by the constants of this set."""
        return normalised(images, self.mean, self.std)


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether `images` take a sensible part of the memory that is free on `device`."""
    if device.type != "cuda" or images.device == device:
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= _SHARE_OF_MEMORY * free_bytes


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
