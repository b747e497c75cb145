"""Where images come from: `load_dataset` turns what the user names into a checked `Dataset` in memory.

Free of torch, so that looking at a data set is quick; `nas.data_tensors` makes the trainer's tensors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

import numpy as np

from nas.data_npz import load_npz
from nas.data_split import Split, holdout_split, stratified_draw, subset
from nas.dataset import DataError, Dataset, channel_statistics
from nas.image_folder import DEFAULT_IMAGE_SIZE, ImageFolder, list_image_folder

__all__ = [
    "DataError",
    "Dataset",
    "Description",
    "ImageFolder",
    "Split",
    "channel_statistics",
    "describe",
    "holdout_split",
    "load_dataset",
    "open_dataset",
    "subset",
]

SPECS = "digits, a .npz file, or a folder with train/CLASS/* and val/CLASS/*"
DIGITS_TEST_IMAGES = 360


def load_dataset(spec: str, *, image_size: int | None = None) -> Dataset:
    """The image set that `spec` names, all of it in memory.

    Args:
        spec: ``digits`` (1 797 scans of 8x8 pixels that come with scikit-learn), the path of a ``.npz`` file (see
            `load_npz`), or the path of a folder of images (see `ImageFolder`). ``~`` is the home folder; a folder
            called digits is ``./digits``.
        image_size: height and width, in pixels, to which a folder's images are brought, 64 if not given. The others
            have a size already and keep it; the trainer brings all of them to its resolution.

    Raises:
        DataError: there is no such set, or it cannot be used.
    """
    found = open_dataset(spec)
    if isinstance(found, ImageFolder):
        return found.decoded(DEFAULT_IMAGE_SIZE if image_size is None else image_size)
    return found


def open_dataset(spec: str) -> Dataset | ImageFolder:
    """As `load_dataset`, but the images of a folder are left on the disk."""
    if spec == "digits":
        return _load_digits()
    path = Path(os.path.expanduser(spec))  # unlike Path.expanduser, leaves the home of an unknown user alone
    if os.path.isdir(path):  # unlike Path.is_dir, takes any text for an answer
        return list_image_folder(path)
    if not os.path.isfile(path):
        raise DataError(f"data set {spec!r}: no such file or folder; allowed are {SPECS}")
    if path.suffix.lower() != ".npz":
        raise DataError(f"data set {spec!r}: not a .npz file; allowed are {SPECS}")
    return load_npz(path)


def _load_digits() -> Dataset:
    """Scikit-learn's digits: 0..16 scaled to 0..255, three equal channels, a fixed stratified 1 437 + 360 split."""
    from sklearn.datasets import load_digits  # a second of imports that only this set needs

    grey, y = load_digits(return_X_y=True)
    levels = grey.reshape(-1, 8, 8, 1).astype(np.int64)
    x = np.repeat((levels * 255 + 8) // 16, 3, axis=3).astype(np.uint8)
    y = y.astype(np.int64)
    test = stratified_draw(y, DIGITS_TEST_IMAGES, seed=0)
    train = np.setdiff1d(np.arange(len(y)), test)
    return Dataset(
        name="digits",
        source="digits",
        x_train=x[train],
        y_train=y[train],
        x_test=x[test],
        y_test=y[test],
        class_names=tuple("0123456789"),
    )


class Description(TypedDict):
    """What `describe` says; channel figures are of the training split, in [0, 1]."""

    name: str
    source: str
    num_classes: int
    class_names: list[str]
    empty_classes: list[str]
    image_shape: list[int]
    num_train: int
    num_test: int
    train_per_class: dict[str, int]
    test_per_class: dict[str, int]
    channel_mean: list[float]
    channel_std: list[float]
    fingerprint: str


def describe(dataset: Dataset) -> Description:
    """The figures of a data set, ready for JSON."""
    mean, std = dataset.statistics
    names = dataset.class_names
    return Description(
        name=dataset.name,
        source=dataset.source,
        num_classes=dataset.num_classes,
        class_names=list(names),
        empty_classes=[names[index] for index in dataset.empty_classes],
        image_shape=list(dataset.image_shape),
        num_train=len(dataset.x_train),
        num_test=len(dataset.x_test),
        train_per_class=dict(zip(names, dataset.counts("train").tolist(), strict=True)),
        test_per_class=dict(zip(names, dataset.counts("test").tolist(), strict=True)),
        channel_mean=list(mean),
        channel_std=list(std),
        fingerprint=dataset.fingerprint,
    )
