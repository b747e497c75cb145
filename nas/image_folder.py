"""Image sets as a tree of files: ``train/CLASS/*`` and ``val/CLASS/*``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas.dataset import DataError, Dataset, Images, LabelledImages, Labels, listed, reason
from nas.free_memory import free_memory_bytes
from nas.image_file import IMAGE_SUFFIXES, decode_image

DEFAULT_IMAGE_SIZE = 64
ADVICE = "lower the image size or take fewer images"

FileNames: TypeAlias = NDArray[np.bytes_]
"""Relative to a folder, as the system encodes them. A million Python strings would be copied into each worker process, one
by one."""

_MAX_THREADS = 16
# of each image, in a training: as it is decoded, and as the trainer's tensors
_COPIES_IN_MEMORY = 2
# of the free memory; the rest is for the training itself and for everybody else
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageFolder(LabelledImages):
    """A tree of image files, listed but not decoded.

    The classes are the folders of ``train/``, numbered in the order of their sorted names. The test split is ``val/``,
    or ``test/`` where there is no ``val/``. Files are in the order of class and name.

    Attributes:
        root: the folder that holds ``train/``.
        files_train: relative to `root`, N.
        files_test: likewise, M.
    """

    root: Path
    files_train: FileNames
    files_test: FileNames

    def taking(self, train: Labels, test: Labels, source: str) -> ImageFolder:
        """Only the images at these numbers (int64) of the two splits; `source` says so."""
        return replace(
            self,
            source=source,
            files_train=self.files_train[train],
            y_train=self.y_train[train],
            files_test=self.files_test[test],
            y_test=self.y_test[test],
        )

    @property
    def files(self) -> FileNames:
        """Of both splits, the training split first."""
        return np.concatenate([self.files_train, self.files_test])

    def memory_bytes(self, image_size: int, copies: int = _COPIES_IN_MEMORY) -> int:
        """What `copies` of all images take in memory, by default a training's, `image_size` pixels high and wide."""
        return len(self.files) * image_size * image_size * 3 * copies

    def fits(self, image_size: int) -> bool:
        """Whether that is a sensible part of the memory that is free now."""
        return self.memory_bytes(image_size) <= _SHARE_OF_MEMORY * free_memory_bytes()

    def decoded(self, image_size: int, advice: str = ADVICE, copies: int = _COPIES_IN_MEMORY) -> Dataset:
        """All images in memory; see `decode_image`.

        Args:
            image_size: height and width in memory, in pixels, at least 1.
            advice: what helps where they do not fit into memory.
            copies: of the images that there will be in the end, this one included; all have to fit.

        Raises:
            DataError: an image cannot be read, or all of them do not fit into memory.
        """
        check_image_size(image_size)
        needed_bytes, free_bytes = self.memory_bytes(image_size, copies), free_memory_bytes()
        if needed_bytes > free_bytes:
            raise DataError(
                f"{self.root}: {len(self.files):,} images of {image_size} pixels need {gibibytes(needed_bytes)} of memory "
                f"and {gibibytes(free_bytes)} are free; {advice}"
            )
        images = _decode_all(self.root, self.files, image_size)
        num_train = len(self.files_train)
        return Dataset(
            name=self.name,
            source=self.source,
            x_train=images[:num_train],
            y_train=self.y_train,
            x_test=images[num_train:],
            y_test=self.y_test,
            class_names=self.class_names,
        )


def check_image_size(image_size: int) -> None:
    """Raise DataError for less than a pixel."""
    if image_size < 1:
        raise DataError(f"image size {image_size}: must be at least 1 pixel")


def gibibytes(num_bytes: int) -> str:
    """For a message."""
    return f"{num_bytes / 2**30:.1f} GiB"


def list_image_folder(root: Path) -> ImageFolder:
    """What a tree of images holds. Files without a suffix of `IMAGE_SUFFIXES` and hidden ones are left alone.

    Args:
        root: the folder that holds ``train/``.

    Raises:
        DataError: the tree is not of this form, or a folder of it cannot be read.
    """
    train_root, test_root = _split_folders(root)
    class_names = _subfolders(train_root)
    if not class_names:
        raise DataError(f"{root}: no class folders in train/; it must hold one folder of images for each class")
    unknown = sorted(set(_subfolders(test_root)) - set(class_names))
    if unknown:
        raise DataError(
            f"{root}: {test_root.name}/ has {len(unknown)} classes that train/ lacks: {listed(unknown)}; "
            "the class folders of both must have the same names"
        )
    files_train, y_train = _list_split(train_root, class_names)
    files_test, y_test = _list_split(test_root, class_names)
    return ImageFolder(
        name=root.resolve().name,
        source=str(root),
        y_train=y_train,
        y_test=y_test,
        class_names=tuple(class_names),
        root=root,
        files_train=files_train,
        files_test=files_test,
    )


def _split_folders(root: Path) -> tuple[Path, Path]:
    """Folders of the training and the test split."""
    form = "a folder must hold train/CLASS/* and val/CLASS/* (or test/CLASS/*)"
    found = listed(_subfolders(root)) or "no folders"
    if not (root / "train").is_dir():
        raise DataError(f"{root}: no train/ folder in it (found: {found}); {form}")
    for name in ("val", "test"):
        if (root / name).is_dir():
            return root / "train", root / name
    raise DataError(f"{root}: neither val/ nor test/ in it (found: {found}); {form}")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is not hidden, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); see to its permissions") from None


def _subfolders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def _list_split(split: Path, class_names: Sequence[str]) -> tuple[FileNames, Labels]:
    """Image files of a split, in the order of class and file name; a class may be absent, but not an empty folder."""
    files: list[bytes] = []
    labels: list[int] = []
    empty: list[str] = []
    for label, name in enumerate(class_names):
        if not (split / name).is_dir():
            continue
        folder = f"{split.name}/{name}"
        images = [os.fsencode(os.path.join(split.name, name, e.name)) for e in _entries(split / name) if _is_image(e)]
        if not images:
            empty.append(folder)
        files.extend(images)
        labels.extend([label] * len(images))
    if empty or not files:
        raise DataError(
            f"{split.parent}: no images in {listed(empty) or split.name + '/'}; "
            f"put images there ({', '.join(sorted(IMAGE_SUFFIXES))}) or remove the folder"
        )
    return np.array(files), np.array(labels, np.int64)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """A link that leads nowhere is an image that cannot be read, not one that nobody misses."""
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in IMAGE_SUFFIXES and (entry.is_file() or not os.path.exists(entry.path))


def _decode_all(root: Path, files: FileNames, image_size: int) -> Images:
    """All images in one array; threads pay because Pillow decodes and resizes without the interpreter lock."""
    images = np.empty((len(files), image_size, image_size, 3), np.uint8)

    def decode(index: int) -> str | None:
        try:
            images[index] = decode_image(root / os.fsdecode(files[index]), image_size)
        except Exception as error:  # decoders raise what they like on broken files; all of them end in one report
            return reason(error)
        return None

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        failures = list(pool.map(decode, range(len(files))))
    check_readable(root, files, {index: failure for index, failure in enumerate(failures) if failure is not None})
    return images


def check_readable(root: Path, files: FileNames, failures: dict[int, str]) -> None:
    """Raise DataError that counts the files that cannot be read and names some.

    Args:
        root: of the tree.
        files: all of it.
        failures: number of a file -> why it cannot be read.
    """
    if not failures:
        return
    broken = sorted(failures)
    names = [os.fsdecode(files[index]) for index in broken]
    raise DataError(
        f"{root}: {len(broken)} of {len(files)} images cannot be read: {listed(names)} "
        f"(the first: {failures[broken[0]]}); replace or delete them"
    )
