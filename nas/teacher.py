"""Teachers, as a person names them: a trained network on the disk, or one to train first."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from nas.dataset import LabelledImages
from nas.distillation import DEFAULT_TEMPERATURE, DEFAULT_WEIGHT
from nas.errors import UserError
from nas.export import ARCH, WEIGHTS
from nas.network import resolve
from nas.run_folder import write_json
from nas.train_config import TeacherSection, TrainConfig, TrainRequest, misfit, resolve_config, zoo_name
from nas.trained import find_trained, model_card
from nas.weights import Loaded, load_weights
from nas.weights_file import SUFFIXES, write_state
from search_spaces.arch import ArchSpec
from search_spaces.arch_json import arch_to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Teaching:
    """A teacher as asked for, and how much it counts; see `nas.distillation.Distillation`."""

    source: str
    weight: float = DEFAULT_WEIGHT
    temperature: float = DEFAULT_TEMPERATURE

    @property
    def is_trained(self) -> bool:
        """Whether the source is something on the disk that holds weights, rather than a network to train first."""
        path = Path(os.path.expanduser(self.source))
        return os.path.isdir(path) or path.suffix in SUFFIXES

    @property
    def section(self) -> TeacherSection:
        """For the student's configuration."""
        return TeacherSection(source=self.source, weight=self.weight, temperature=self.temperature)


def teacher_config(teaching: Teaching, request: TrainRequest, student: TrainConfig) -> TrainConfig:
    """Of a teacher that is trained first: recipe, options and data of its student, and its own published details.

    Args:
        teaching: names the teacher.
        request: the student's.
        student: its configuration.

    Raises:
        UserError: there is no such network, or it does not fit the student's resolution.
    """
    network = resolve(teaching.source)
    _check_fits(teaching, network.arch, student.data.resolution)
    request = replace(request, network=network, training_of=zoo_name(network))
    return resolve_config(request, student.data.source, student.data.resolution, None, None)


def trained_teacher(teaching: Teaching, dataset: LabelledImages, resolution: int, console: Console) -> Loaded:
    """A teacher that is trained already.

    Args:
        teaching: names it.
        dataset: whose classes it must know.
        resolution: of the images that it will see.
        console: is told where that is not what it was trained at.

    Raises:
        UserError: it cannot be read, knows other classes, or does not fit.
    """
    trained = find_trained(Path(teaching.source))
    card = model_card(trained.model) if trained.model else None
    loaded = load_weights(trained.weights, trained.arch, resolution=card.resolution if card else resolution)
    if loaded.num_classes != dataset.num_classes:
        raise UserError(
            f"--teacher {teaching.source}: it tells {loaded.num_classes} classes apart and {dataset.source} has "
            f"{dataset.num_classes}; train one with nas train NAME --data {dataset.source}"
        )
    if card and card.class_names and card.class_names != dataset.class_names:
        raise UserError(f"--teacher {teaching.source}: its classes are others than those of {dataset.source}")
    _check_fits(teaching, loaded.arch, resolution)
    if card and card.resolution != resolution:
        note = f"{teaching.source}, trained at {card.resolution} px, sees images of {resolution} px here"
        console.print(f"teacher   {note}", highlight=False, soft_wrap=True)
    return loaded


def _check_fits(teaching: Teaching, arch: ArchSpec, resolution: int) -> None:
    problem = misfit(arch, resolution)
    if problem:
        raise UserError(f"--teacher {teaching.source}: does not fit the student's {resolution} px: {problem}")


def keep_teacher(folder: Path, teacher: Loaded) -> None:
    """A copy, so that the run can be continued whatever becomes of the original."""
    folder.mkdir(parents=True)
    write_json(folder / ARCH, arch_to_json(teacher.arch))
    write_state(folder / WEIGHTS, teacher.state_dict)
