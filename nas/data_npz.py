"""Image sets in one ``.npz`` file of NumPy arrays."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.dataset import PARTS, DataError, Dataset, Images, Labels, Part, reason

NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")

# what NumPy and zipfile raise on files that are cut short, overwritten or something else altogether
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, RuntimeError)


def load_npz(path: Path) -> Dataset:
    """Read ``x_train``, ``y_train``, ``x_test``, ``y_test`` and, if there, ``class_names``; other arrays are left alone.

    Images are uint8, N x H x W x 3, or grey as N x H x W x 1 or N x H x W (repeated into three channels). Labels are
    integers from 0, of shape N or N x 1. The number of classes is the number of names, else the highest label + 1;
    classes without a name are called by their number. Nothing is unpickled.

    Raises:
        DataError: the file or an array of it cannot be used.
    """
    arrays = _read_arrays(path)
    x = {part: _rgb(arrays[f"x_{part}"], f"{path}: x_{part}") for part in PARTS}
    y = {part: _labels(arrays[f"y_{part}"], f"{path}: y_{part}") for part in PARTS}
    return Dataset(
        name=path.stem,
        source=str(path),
        x_train=x["train"],
        y_train=y["train"],
        x_test=x["test"],
        y_test=y["test"],
        class_names=_class_names(arrays.get("class_names"), y, path),
    )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # opened here, not by NumPy, which leaves the file open when it turns out not to be a zip archive
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: holds one bare array; write it with numpy.savez({', '.join(NPZ_ARRAYS)})")
            missing = [name for name in NPZ_ARRAYS if name not in archive.files]
            if missing:
                found = ", ".join(archive.files) or "nothing"
                raise DataError(
                    f"{path}: lacks {', '.join(missing)} (found: {found}); must hold {', '.join(NPZ_ARRAYS)}"
                )
            wanted = [*NPZ_ARRAYS, *(["class_names"] if "class_names" in archive.files else [])]
            return {name: _read_array(archive, name, path) for name in wanted}
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path}: not a readable .npz file ({reason(error)}); write or copy it again") from error


def _read_array(archive: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = archive[name]
    except MemoryError as error:
        raise DataError(f"{path}: {name} does not fit into memory ({reason(error)}); take fewer images") from error
    except _DAMAGE as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: {name} is a pickled object array, which is never loaded; "
                "make it an array of numbers or text of one shape"
            ) from error
        raise DataError(
            f"{path}: {name} cannot be read ({reason(error)}); the file is damaged: write or copy it again"
        ) from error
    return array


def _rgb(x: NDArray[Any], where: str) -> Images:
    """Any of the allowed forms of images as uint8, N x H x W x 3."""
    if x.dtype != np.uint8:
        raise DataError(f"{where} is {x.dtype}; images must be uint8 from 0 to 255: scale, round and cast them")
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape[1:]:
        hint = "; it looks channels first: transpose(0, 2, 3, 1)" if x.ndim == 4 and x.shape[1] in (1, 3) else ""
        raise DataError(
            f"{where} has shape {x.shape}; must be (N, height, width, 3), (N, height, width, 1) "
            f"or (N, height, width){hint}"
        )
    return x if x.shape[3] == 3 else np.repeat(x, 3, axis=3)


def _labels(y: NDArray[Any], where: str) -> Labels:
    """Integer labels of any width, N or N x 1, as int64 from 0."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]  # as Keras stores CIFAR
    if y.ndim != 1:
        hint = "; if it is one-hot: argmax(1)" if y.ndim == 2 else ""
        raise DataError(f"{where} has shape {y.shape}; labels must be one integer an image, shape (N,){hint}")
    if y.dtype.kind == "f" and np.isnan(y).any():
        raise DataError(
            f"{where}[{int(np.isnan(y).argmax())}] is NaN; every image needs a label: leave such images out"
        )
    if y.dtype.kind not in "iu":
        raise DataError(f"{where} is {y.dtype}; labels must be integers from 0: number the classes and cast to int64")
    if y.size and y.min() < 0:
        raise DataError(f"{where}[{int((y < 0).argmax())}] is {y[(y < 0).argmax()]}; labels must not be negative")
    if y.size and y.max() > np.iinfo(np.int64).max:
        raise DataError(f"{where} has the label {y.max()}; number the classes from 0")
    return y.astype(np.int64)


def _class_names(names: NDArray[Any] | None, y: dict[Part, Labels], path: Path) -> tuple[str, ...]:
    part = max(PARTS, key=lambda part: int(y[part].max(initial=0)))
    highest = int(y[part].max(initial=0))
    where = f"y_{part}[{int(y[part].argmax())}]" if len(y[part]) else f"y_{part}"
    if names is None:
        # a label out of all proportion is no class index, and would make a giant classifier
        if len(y["train"]) and highest >= max(len(y["train"]), 2):
            raise DataError(
                f"{path}: {where} is {highest} with only {len(y['train'])} training images; "
                "number the classes from 0 without large gaps"
            )
        return tuple(str(index) for index in range(highest + 1))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) <= highest:
        raise DataError(
            f"{path}: class_names is {names.dtype} of shape {names.shape}; "
            f"must be text, one name for each label from 0 to {highest} ({where})"
        )
    return tuple(str(name) for name in names)
