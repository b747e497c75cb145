"""Images as the trainer wants them: resized once, kept as uint8, normalised a batch at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.dataset import DataError, Dataset, Images, Labels, Part
from nas.image_set import ImageSet, ImageSource
from nas.streamed_dataset import StreamedDataset

# images resized at a time: bounds the memory beside the result
_RESIZE_CHUNK = 512


def prepare(dataset: Dataset, resolution: int, part: Part = "train", indices: Labels | None = None) -> ImageSet:
    """A split of a data set at the resolution of training, on the CPU, with the training split's normalisation.

    The constants are those of the images as stored: one pair a data set, the same at every resolution, and none of it
    from the test split.

    Args:
        dataset: in memory.
        resolution: height and width in pixels, at least 1.
        part: ``test`` is for the final figure only; a search divides ``train`` by `holdout_split` and `ImageSet.select`.
        indices: only these images of the split; `select` would need memory for all of them first.

    Raises:
        DataError: resolution below 1.
    """
    x, y = dataset.part(part)
    mean, std = dataset.statistics
    taken = np.arange(len(y)) if indices is None else indices
    return ImageSet(resize_images(x, resolution, taken), torch.from_numpy(y[taken]), mean, std)


def image_source(
    dataset: Dataset | StreamedDataset, resolution: int, part: Part = "train", indices: Labels | None = None
) -> ImageSource:
    """As `prepare`; the images of a `StreamedDataset` stay where they are.

    Raises:
        ValueError: they are streamed at another resolution.
    """
    if isinstance(dataset, Dataset):
        return prepare(dataset, resolution, part, indices)
    if dataset.image_size != resolution:
        raise ValueError(f"{dataset.source}: streamed at {dataset.image_size} px, wanted at {resolution} px")
    images = dataset.images(part)
    return images if indices is None else images.select(torch.from_numpy(indices))


def resize_images(x: Images, resolution: int, indices: Labels | None = None) -> Tensor:
    """The square in the centre of each image, resized (bilinear, antialiased).

    Args:
        x: uint8, N x H x W x 3.
        resolution: in pixels, at least 1.
        indices: of the images that are wanted; int64, N; all of them if not given.

    Returns:
        uint8, N x 3 x resolution x resolution, channels last in memory.

    Raises:
        DataError: resolution below 1.
    """
    if resolution < 1:
        raise DataError(f"resolution {resolution}: must be at least 1 pixel")
    taken = np.arange(len(x)) if indices is None else indices
    shape = (len(taken), 3, resolution, resolution)
    resized = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
    for start in range(0, len(taken), _RESIZE_CHUNK):
        # an index array copies: torch has no read-only tensors and warns of sharing a Dataset's arrays
        chunk = torch.from_numpy(x[taken[start : start + _RESIZE_CHUNK]]).permute(0, 3, 1, 2)
        resized[start : start + _RESIZE_CHUNK] = _resize_chunk(_centre_square(chunk), resolution)
    return resized


def _centre_square(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, :, top : top + side, left : left + side]


def _resize_chunk(square: Tensor, resolution: int) -> Tensor:
    if square.shape[2] == resolution:
        return square
    # by way of float: torch's uint8 kernel rounds its weights, and differently on different processors
    floats = F.interpolate(square.float(), (resolution, resolution), mode="bilinear", antialias=True)
    return floats.round_().clamp_(0, 255).to(torch.uint8)
