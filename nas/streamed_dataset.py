"""Image folders larger than memory: read once to see that all is well, then a batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nas.dataset import (
    FINGERPRINT_DIGITS,
    PARTS,
    LabelledImages,
    Part,
    Rgb,
    array_title,
    channel_counts,
    little_endian,
    statistics_of_counts,
)
from nas.image_folder import ImageFolder, check_image_size, check_readable
from nas.image_stream import ImageStream, StreamedImages

_BATCH_SIZE = 32


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamedDataset(LabelledImages):
    """A folder of images that stay on the disk.

    Attributes:
        image_size: height and width in pixels to which they are brought.
        statistics: mean and standard deviation per channel, as `Dataset.statistics` of the same images in memory.
        fingerprint: as `Dataset.fingerprint` of the same images in memory: over decoded pixels and labels.
        stream: the images of the training split, then those of the test split.
    """

    image_size: int
    statistics: tuple[Rgb, Rgb]
    fingerprint: str
    stream: ImageStream

    def images(self, part: Part = "train") -> StreamedImages:
        """A split, for a training."""
        first = 0 if part == "train" else len(self.y_train)
        files = torch.arange(first, first + len(self.labels(part)))
        mean, std = self.statistics
        return StreamedImages(self.stream, files, torch.tensor(self.labels(part)), mean, std)


def stream_image_folder(
    folder: ImageFolder, image_size: int, progress: Callable[[int], None] = lambda _: None
) -> StreamedDataset:
    """Decode each image once, a batch at a time, to find those that cannot be read and to know what they are like.

    Args:
        folder: what there is.
        image_size: height and width in pixels to which the images are brought, at least 1.
        progress: is told how many more images have been read.

    Raises:
        DataError: images cannot be read; the message counts them and names some.
    """
    check_image_size(image_size)
    stream = ImageStream(folder.root, folder.files, image_size)
    digest, counts, first = hashlib.sha256(), np.zeros((3, 256), np.int64), 0
    failures: dict[int, str] = {}
    for part in PARTS:
        labels = folder.labels(part)
        shape = (len(labels), image_size, image_size, 3)
        digest.update(array_title(f"x_{part}", np.dtype(np.uint8), shape))
        for batch in stream.decoded(torch.arange(first, first + len(labels)), _BATCH_SIZE):
            digest.update(batch.pixels.data)
            failures |= batch.failures
            if part == "train":
                counts += channel_counts(batch.pixels)
            progress(len(batch.pixels))
        digest.update(array_title(f"y_{part}", labels.dtype, labels.shape))
        digest.update(little_endian(labels))
        first += len(labels)
    check_readable(folder.root, folder.files, failures)
    return StreamedDataset(
        name=folder.name,
        source=folder.source,
        y_train=folder.y_train,
        y_test=folder.y_test,
        class_names=folder.class_names,
        image_size=image_size,
        statistics=statistics_of_counts(counts),
        fingerprint=digest.hexdigest()[:FINGERPRINT_DIGITS],
        stream=stream,
    )
