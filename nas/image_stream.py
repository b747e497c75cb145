"""Image files that do not fit into memory: decoded a batch at a time, by worker processes, in the order that is wanted."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Indexed

from latency.measuring_lock import training_step
from nas.dataset import DataError, Images, Rgb, reason
from nas.image_file import decode_image
from nas.image_folder import FileNames

_MAX_WORKERS = 16
_BATCHES_AHEAD = 2  # of each worker


class Decoded(NamedTuple):
    """A batch of files.

    Attributes:
        pixels: uint8, n x size x size x 3; zeros where a file cannot be read.
        failures: number of a file -> why it cannot be read.
    """

    pixels: Images
    failures: dict[int, str]


class _Files(Indexed[Decoded]):
    """What a worker process has: the names, and how to read them."""

    def __init__(self, root: Path, files: FileNames, image_size: int) -> None:
        self._root = root
        self._files = files
        self._image_size = image_size

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, indices: list[int]) -> Decoded:
        pixels = np.zeros((len(indices), self._image_size, self._image_size, 3), np.uint8)
        failures = {}
        for place, index in enumerate(indices):
            try:
                with training_step():  # a worker too rests while a latency is measured
                    pixels[place] = decode_image(self._root / os.fsdecode(self._files[index]), self._image_size)
            except Exception as error:  # decoders raise what they like on broken files
                failures[index] = reason(error)
        return Decoded(pixels, failures)


class _Order:
    """Numbers of files, in batches; another order in each epoch, while the worker processes stay."""

    def __init__(self) -> None:
        self.batches: tuple[Tensor, ...] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches)


class ImageStream:
    """Image files, each decoded when its turn comes; see `decode_image`.

    Args:
        root: folder to which the names are relative.
        files: names.
        image_size: height and width in pixels to which the images are brought.
    """

    def __init__(self, root: Path, files: FileNames, image_size: int) -> None:
        self._root = root
        self._files = files
        self._order = _Order()
        self._turn = 0
        self._loader = DataLoader(
            _Files(root, files, image_size),
            batch_sampler=self._order,
            collate_fn=_as_it_is,
            num_workers=min(_MAX_WORKERS, _num_cpus()),
            prefetch_factor=_BATCHES_AHEAD,
            persistent_workers=True,
            worker_init_fn=_end_with_parent,
            multiprocessing_context=_context(),
            generator=torch.Generator(),  # without one it draws from torch's own, which is dropout's
        )

    def decoded(self, order: Tensor, batch_size: int) -> Iterator[Decoded]:
        """Batches of files, those that cannot be read among them.

        Args:
            order: numbers of files, int64, on the CPU.
            batch_size: of all batches but the last.

        Raises:
            DataError: a worker process has come to its end.
        """
        self._order.batches = torch.split(order, batch_size)
        self._turn += 1
        turn = self._turn
        try:
            for batch in self._loader:
                yield batch
                assert turn == self._turn, "one order at a time: the worker processes follow the newest"
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                f"{self._root}: a process that decodes images was ended from outside ({reason(error)}); where memory was "
                "short, lower the batch size or the resolution"
            ) from None

    def pixels(self, order: Tensor, batch_size: int) -> Iterator[Images]:
        """Batches of images, uint8, n x size x size x 3; arguments as of `decoded`.

        Raises:
            DataError: a file cannot be read, or a worker process has come to its end.
        """
        for batch in self.decoded(order, batch_size):
            for index, failure in batch.failures.items():
                name = os.fsdecode(self._files[index])
                raise DataError(f"{self._root}: {name} cannot be read any more ({failure}); restore it, then resume")
            yield batch.pixels


@dataclass(frozen=True, slots=True, eq=False)
class StreamedImages:
    """Images of a stream as a training takes them: an `ImageSource`.

    Attributes:
        stream: decodes them.
        files: their numbers in it; int64, N, on the CPU.
        labels: int64, N, on the device that trains.
        mean: per channel, of the training split, in [0, 1].
        std: likewise.
    """

    stream: ImageStream
    files: Tensor
    labels: Tensor
    mean: Rgb
    std: Rgb

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.labels.device

    def select(self, indices: Tensor) -> StreamedImages:
        """The images at `indices` (int64)."""
        return replace(self, files=self.files[indices.cpu()], labels=self.labels[indices])

    def to(self, device: torch.device) -> StreamedImages:
        """The same images, for `device`."""
        return replace(self, labels=self.labels.to(device))

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `ImageSource`; raises `DataError` as `ImageStream.pixels` does."""
        labels = torch.split(self.labels[order.to(self.device)], batch_size)
        for pixels, batch in zip(self.stream.pixels(self.files[order], batch_size), labels, strict=True):
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device), batch


def _as_it_is(batch: Any) -> Any:
    # arrays go through a pipe; as tensors they would need shared memory, of which containers have 64 MiB
    return batch


def _end_with_parent(_: int) -> None:
    """In a worker: not to stay when the process that it works for is killed.

    DataLoader's own watch is on the parent process, which here is the fork server, and that stays while workers do.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers call this"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _num_cpus() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> multiprocessing.context.BaseContext:
    """Forks of a fresh process: a fork of this one would copy locks that its threads hold."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])  # once for all workers
    return context
