"""Image sets as a tree of files: ``train/CLASS/*`` and ``val/CLASS/*``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image, ImageOps

from nas.dataset import DataError, Dataset, Images, Labels, listed, reason

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DEFAULT_IMAGE_SIZE = 64

_MAX_THREADS = 16


class _Files(NamedTuple):
    paths: list[Path]
    labels: list[int]


def load_image_folder(root: Path, image_size: int = DEFAULT_IMAGE_SIZE) -> Dataset:
    """Decode a tree of images into memory, at one size.

    The classes are the folders of ``train/``, numbered in the order of their sorted names. The test split is ``val/``,
    or ``test/`` where there is no ``val/``. Files without a suffix of `IMAGE_SUFFIXES` and hidden ones are left alone.
    Images become RGB, turned as their EXIF data say; the square in their centre is resized, antialiased.

    Args:
        root: the folder that holds ``train/``.
        image_size: height and width in memory, in pixels, at least 1.

    Raises:
        DataError: the tree is not of this form, an image cannot be read, or all of them do not fit into memory.
    """
    if image_size < 1:
        raise DataError(f"image size {image_size}: must be at least 1 pixel")
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
    train, test = _list_files(train_root, class_names), _list_files(test_root, class_names)
    images = _decode_all(root, [*train.paths, *test.paths], image_size)
    num_train = len(train.paths)
    return Dataset(
        name=root.resolve().name,
        source=str(root),
        x_train=images[:num_train],
        y_train=_label_array(train),
        x_test=images[num_train:],
        y_test=_label_array(test),
        class_names=tuple(class_names),
    )


def _label_array(files: _Files) -> Labels:
    return np.array(files.labels, np.int64)


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


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list_files(split: Path, class_names: list[str]) -> _Files:
    """Image files of a split, in the order of class and file name; a class may be absent, but not an empty folder."""
    files, empty = _Files([], []), []
    for label, name in enumerate(class_names):
        if not (split / name).is_dir():
            continue
        images = sorted(entry for entry in (split / name).iterdir() if _is_image(entry))
        if not images:
            empty.append(f"{split.name}/{name}")
        files.paths.extend(images)
        files.labels.extend([label] * len(images))
    if empty or not files.paths:
        raise DataError(
            f"{split.parent}: no images in {listed(empty) or split.name + '/'}; "
            f"put images there ({', '.join(sorted(IMAGE_SUFFIXES))}) or remove the folder"
        )
    return files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _decode_all(root: Path, paths: list[Path], image_size: int) -> Images:
    """All images in one array; threads pay because Pillow decodes and resizes without the interpreter lock."""
    needed_bytes = len(paths) * image_size * image_size * 3
    free_bytes = psutil.virtual_memory().available
    if needed_bytes > free_bytes:
        raise DataError(
            f"{root}: {len(paths)} images of {image_size} pixels need {needed_bytes / 2**30:.1f} GiB of memory and "
            f"{free_bytes / 2**30:.1f} GiB are free; lower the image size or take fewer images"
        )
    images = np.empty((len(paths), image_size, image_size, 3), np.uint8)

    def decode(index: int) -> str | None:
        try:
            images[index] = _decode(paths[index], image_size)
        except Exception as error:  # decoders raise what they like on broken files; all of them end in one report
            return reason(error)
        return None

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        failures = list(pool.map(decode, range(len(paths))))
    broken = [index for index, failure in enumerate(failures) if failure is not None]
    if broken:
        names = [str(paths[index].relative_to(root)) for index in broken]
        raise DataError(
            f"{root}: {len(broken)} of {len(paths)} images cannot be read: {listed(names)} "
            f"(the first: {failures[broken[0]]}); replace or delete them"
        )
    return images


def _decode(path: Path, image_size: int) -> Images:
    """One image as uint8, image_size x image_size x 3."""
    with Image.open(path) as image:
        # lets JPEG decode at 1/2, 1/4 or 1/8; twice the size is left for the better filter below
        image.draft("RGB", (2 * image_size, 2 * image_size))
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    # cropping first is the same picture, without a wide intermediate; Pillow's BILINEAR is antialiased
    square = rgb.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((image_size, image_size), Image.Resampling.BILINEAR), np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow would clip 16 and 32 bits instead of scaling them
        raise ValueError(f"more than 8 bits a channel, mode {image.mode}; convert it to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB warns about a palette's transparency
    return image.convert("RGB")
