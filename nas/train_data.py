"""The data of a training: in memory where they fit, else streamed from the disk; either way the same pixels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.data import Split, holdout_split, open_dataset
from nas.data_tensors import image_source
from nas.dataset import DataError, Dataset
from nas.errors import UserError
from nas.image_folder import ImageFolder, gibibytes
from nas.image_set import ImageSource
from nas.streamed_dataset import StreamedDataset, stream_image_folder
from nas.train_config import TrainConfig, TrainDataSection, TrainRequest, read_train_config, training_resolution

TrainingData: TypeAlias = Dataset | StreamedDataset

IN_MEMORY_ADVICE = "leave out --no-stream, or lower --resolution"


def load_for(request: TrainRequest, source: str, console: Console) -> tuple[TrainingData, int]:
    """The data set, and the side in pixels at which `request` trains on it.

    Args:
        request: what to train, and how.
        source: of the data.
        console: shows how far images that will be streamed have been read.

    Raises:
        UserError: the data cannot be used, or the network does not fit.
    """
    found = open_dataset(source)
    side = None if isinstance(found, ImageFolder) else max(found.image_shape[:2])  # a folder has images of any size
    resolution = training_resolution(request.network, request.resolution, side)
    return _brought_to(found, resolution, request.stream, console), resolution


def data_of(folder: Path, console: Console) -> TrainingData:
    """The data set of a run; UserError where the folder is no run, or the data cannot be used."""
    return opened(read_train_config(folder).data, console)


def opened(section: TrainDataSection, console: Console) -> TrainingData:
    """The data set that `section` names; UserError where it cannot be used."""
    return _brought_to(open_dataset(section.source), section.resolution, section.stream, console)


def _brought_to(found: Dataset | ImageFolder, resolution: int, stream: bool | None, console: Console) -> TrainingData:
    """Decoded or streamed, as asked for; as memory allows, if that is None."""
    if isinstance(found, Dataset):
        if stream:
            raise UserError(f"--stream: only a folder of images is streamed; {found.source} is read as a whole")
        return found
    if stream is False or (stream is None and found.fits(resolution)):
        return found.decoded(resolution, IN_MEMORY_ADVICE)
    return _streamed(found, resolution, console)


def _streamed(folder: ImageFolder, resolution: int, console: Console) -> StreamedDataset:
    columns = (TextColumn("checking images"), MofNCompleteColumn(), TimeRemainingColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=len(folder.files))
        dataset = stream_image_folder(folder, resolution, lambda num_read: bar.advance(task, num_read))
    needed, seconds = gibibytes(folder.memory_bytes(resolution)), time.perf_counter() - started
    line = f"{len(folder.files):,} images checked in {seconds:.0f} s, will be streamed (in memory they need {needed})"
    console.print(f"images    {line}", markup=False, highlight=False, soft_wrap=True)
    return dataset


def check_holdout(config: TrainConfig, dataset: TrainingData) -> None:
    """Raise UserError where images cannot be held out as `config` wants it."""
    try:
        _holdout(config, dataset)
    except DataError as error:
        raise UserError(f"{error}, or hold none out (--holdout 0)") from None


def splits(config: TrainConfig, dataset: TrainingData) -> tuple[ImageSource, ImageSource | None]:
    """Images that train, and those held out, if any."""
    split = _holdout(config, dataset)
    if split is None:
        return image_source(dataset, config.data.resolution), None
    train, holdout = (image_source(dataset, config.data.resolution, indices=indices) for indices in split)
    return train, holdout


def _holdout(config: TrainConfig, dataset: TrainingData) -> Split | None:
    """Numbers of the images that train and of those held out; None where all train."""
    if not config.data.holdout:
        return None
    return holdout_split(dataset.y_train, config.data.holdout, config.seed)
