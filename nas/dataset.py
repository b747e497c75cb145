"""Image classification sets: checked once when they are made, unchangeable afterwards."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.errors import UserError

Images: TypeAlias = NDArray[np.uint8]
Labels: TypeAlias = NDArray[np.int64]
Rgb: TypeAlias = tuple[float, float, float]
Part: TypeAlias = Literal["train", "test"]

PARTS: tuple[Part, ...] = ("train", "test")
FINGERPRINT_DIGITS = 16
# images counted at a time: enough to be quick, little enough that the counting needs no second copy of a big set
_STATISTICS_CHUNK = 1024


class DataError(UserError, ValueError):
    """A data set, or what is asked of one, that cannot be used; one line: what, where, the value, what to do."""


def listed(names: list[str]) -> str:
    """The first five names, for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def reason(error: BaseException) -> str:
    """What another library says of a failure, as part of a one-line message."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def _check(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise DataError(message)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledImages:
    """A training split and a test split of images with class labels, wherever the images are.

    Attributes:
        name: short, for titles and file names.
        source: where it came from, for people: a spec of `load_dataset`, with the subset if one was taken.
        y_train: int64, N, in [0, num_classes); read-only.
        y_test: int64, M, in [0, num_classes); every class of it is also in `y_train`; read-only.
        class_names: one unique name for each class index.

    Raises:
        DataError: when made of labels or names that do not fit this description.
    """

    name: str
    source: str
    y_train: Labels
    y_test: Labels
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in PARTS:
            self._check_labels(part)
        self._check_classes()
        self._freeze("y_train", "y_test")

    def _check_labels(self, part: Part) -> None:
        y = self.labels(part)
        _check(
            y.dtype == np.int64 and y.ndim == 1,
            f"{self.source}: y_{part} is {y.dtype} of shape {y.shape}; must be int64 of shape (N,)",
        )
        _check(len(y) > 0, f"{self.source}: the {part} split is empty (y_{part} has 0 labels); put images into it")
        outside = (y < 0) | (y >= self.num_classes)
        first = int(outside.argmax())
        _check(
            not outside.any(),
            f"{self.source}: y_{part}[{first}] is {y[first]}; labels must be from 0 to {self.num_classes - 1}, "
            "the last class",
        )

    def _check_classes(self) -> None:
        repeated = [name for name, times in Counter(self.class_names).items() if times > 1]
        _check(not repeated, f"{self.source}: class names repeat: {listed(repeated)}; give each class its own")
        in_train, in_test = self.counts("train") > 0, self.counts("test") > 0
        _check(
            in_train.sum() > 1,
            f"{self.source}: the train split has only one class ({self.class_names[int(in_train.argmax())]}); "
            "a classifier needs two or more",
        )
        unseen = [self.class_names[index] for index in np.flatnonzero(in_test & ~in_train)]
        _check(
            not unseen,
            f"{self.source}: the test split has {len(unseen)} classes without a training image: {listed(unseen)}; "
            "add training images or remove them",
        )

    def _freeze(self, *arrays: str) -> None:
        """Figures are computed once and have to stay true."""
        for array in arrays:
            view = getattr(self, array).view()
            view.flags.writeable = False
            object.__setattr__(self, array, view)

    def labels(self, part: Part) -> Labels:
        """Labels of one split."""
        return self.y_train if part == "train" else self.y_test

    def counts(self, part: Part) -> Labels:
        """Number of images of each class in one split; int64, num_classes."""
        return np.bincount(self.labels(part), minlength=self.num_classes).astype(np.int64)

    @property
    def num_classes(self) -> int:
        """Outputs that a classifier needs: the highest class index + 1."""
        return len(self.class_names)

    @property
    def empty_classes(self) -> tuple[int, ...]:
        """Class indices that no image has. Such gaps do no harm: each costs one output that nothing trains."""
        return tuple(int(index) for index in np.flatnonzero(self.counts("train") == 0))


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset(LabelledImages):
    """Equally large RGB images in memory, with class labels.

    The arrays are read-only views; indexing them with an index array gives ordinary writable copies.

    Attributes:
        x_train: uint8, N x H x W x 3, 0..255.
        x_test: uint8, M x H x W x 3; for the final figure only, never for a search.

    Raises:
        DataError: when made of arrays that do not fit this description; the message names the array.
    """

    x_train: Images
    x_test: Images

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in PARTS:
            self._check_images(part)
        _check(
            self.x_train.shape[1:] == self.x_test.shape[1:],
            f"{self.source}: x_train has images of {_size(self.x_train)} and x_test of {_size(self.x_test)}; "
            "bring them to one size",
        )
        self._freeze("x_train", "x_test")

    def _check_images(self, part: Part) -> None:
        x, y = self.part(part)
        _check(
            x.dtype == np.uint8 and x.ndim == 4 and x.shape[3] == 3 and min(x.shape[1:]) > 0,
            f"{self.source}: x_{part} is {x.dtype} of shape {x.shape}; must be uint8 of shape (N, height, width, 3)",
        )
        _check(
            len(x) == len(y),
            f"{self.source}: x_{part} has {len(x)} images but y_{part} has {len(y)} labels; each image needs one label",
        )

    def taking(self, train: Labels, test: Labels, source: str) -> Dataset:
        """Only the images at these numbers (int64) of the two splits; `source` says so."""
        return replace(
            self,
            source=source,
            x_train=self.x_train[train],
            y_train=self.y_train[train],
            x_test=self.x_test[test],
            y_test=self.y_test[test],
        )

    def part(self, part: Part) -> tuple[Images, Labels]:
        """Images and labels of one split."""
        return (self.x_train, self.y_train) if part == "train" else (self.x_test, self.y_test)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width in pixels, and 3."""
        _, height, width, channels = self.x_train.shape
        return height, width, channels

    @cached_property
    def statistics(self) -> tuple[Rgb, Rgb]:
        """Mean and standard deviation per channel of the training split, in [0, 1]; see `channel_statistics`."""
        return channel_statistics(self.x_train)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of a SHA-256 over the four arrays with their shapes; neither names nor paths count."""
        digest = hashlib.sha256()
        for name in ("x_train", "y_train", "x_test", "y_test"):
            array: NDArray[Any] = getattr(self, name)
            digest.update(array_title(name, array.dtype, array.shape))
            digest.update(little_endian(array))
        return digest.hexdigest()[:FINGERPRINT_DIGITS]


def array_title(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What a fingerprint takes in before the values of an array."""
    return f"{name} {dtype} {shape}\n".encode()


def little_endian(array: NDArray[Any]) -> memoryview:
    """The values as a fingerprint takes them in, whatever the machine."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data


def channel_statistics(x: Images) -> tuple[Rgb, Rgb]:
    """Mean and standard deviation of each channel over all pixels of all images; see `statistics_of_counts`.

    Args:
        x: uint8, N x H x W x 3, N > 0.

    Raises:
        DataError: no pixels.
    """
    _check(x.size > 0, f"channel statistics of an array of shape {x.shape}: there are no pixels")
    chunks = (x[start : start + _STATISTICS_CHUNK] for start in range(0, len(x), _STATISTICS_CHUNK))
    return statistics_of_counts(sum((channel_counts(chunk) for chunk in chunks), np.zeros((3, 256), np.int64)))


def channel_counts(x: Images) -> NDArray[np.int64]:
    """How many pixels have which value: int64, 3 x 256, of uint8, N x H x W x 3."""
    return np.stack([np.bincount(x[..., channel].ravel(), minlength=256) for channel in range(3)]).astype(np.int64)


def statistics_of_counts(counts: NDArray[np.int64]) -> tuple[Rgb, Rgb]:
    """Mean and standard deviation of each channel, with 0..255 mapped to [0, 1].

    Exact, and the same in whatever order the pixels were counted. The deviation is at least 1/255, so that a constant
    channel divides safely.

    Args:
        counts: of `channel_counts`, summed over all images.
    """
    weights = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = weights @ values
    deviation = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(1)).clip(1 / 255)
    return _rgb(mean), _rgb(deviation)


def _rgb(values: NDArray[np.float64]) -> Rgb:
    red, green, blue = values.tolist()
    return red, green, blue


def _size(x: Images) -> str:
    return f"{x.shape[1]}x{x.shape[2]}"
