"""What a training is asked to do, complete: ``config.yaml`` of its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nas.config import TrainingSection
from nas.distillation import DEFAULT_TEMPERATURE, DEFAULT_WEIGHT
from nas.errors import UserError
from nas.network import NamedNetwork
from nas.section import Section
from nas.strict_yaml import read_mapping, validated
from nas.training_recipe import TrainingRecipe, published_recipe, short_recipe
from search_spaces import zoo
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.zoo import PublishedTraining

FORMAT = "nas-train"
VERSION = 1
SMALLEST_RESOLUTION = 32
DEFAULT_HOLDOUT = 0.1
_LOOKED_AT = 256


class NetworkSection(Section):
    """What is trained."""

    name: str = Field(description="what to call it")
    arch: str = Field(description="architecture string")
    training_of: str | None = Field(None, description="network of the zoo whose published training details apply")


class TrainDataSection(Section):
    """What it is trained on."""

    source: str = Field(description="digits, a .npz file, or a folder with train/CLASS/* and val/CLASS/*")
    resolution: int = Field(ge=1, description="side of the training images in pixels")
    holdout: float = Field(DEFAULT_HOLDOUT, ge=0, lt=1, description="part of the training split that shows progress")
    stream: bool | None = Field(
        None, description="read a folder's images when their turn comes; None: if memory is short"
    )


class TeacherSection(Section):
    """Who teaches; its network stands in the run folder, in ``teacher``."""

    source: str = Field(description="as it was given")
    weight: float = Field(DEFAULT_WEIGHT, gt=0, le=1)
    temperature: float = Field(DEFAULT_TEMPERATURE, gt=0)


class ScalingSection(Section):
    """How many processes train it together."""

    workers: int = Field(1, ge=1, description="that divide each batch among themselves; above 1 through Ray Train")


class TrainConfig(Section):
    """One training, complete."""

    format: Literal["nas-train"] = "nas-train"
    version: Literal[1] = 1
    seed: int = Field(0, ge=0)
    network: NetworkSection
    data: TrainDataSection
    training: TrainingSection
    weights: str | None = Field(None, description="where the first weights came from; None: seeded")
    teacher: TeacherSection | None = None
    scaling: ScalingSection = ScalingSection()

    @property
    def arch(self) -> ArchSpec:
        """The architecture."""
        return parse_arch(self.network.arch)

    @property
    def recipe(self) -> TrainingRecipe:
        """How to train."""
        return TrainingRecipe(**self.training.model_dump())

    @property
    def published(self) -> PublishedTraining | None:
        """How the network was trained by its authors; None where nobody has published that."""
        return zoo.ZOO[self.network.training_of].training if self.network.training_of else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """A training as a person asks for it; what is None is chosen by `resolve_config`.

    Attributes:
        network: what to train.
        training_of: network of the zoo whose published training details apply, if there is one.
        resolution: side of the training images in pixels.
        recipe: ``short``, the project's own, or ``published``, the authors'.
        epochs: how many.
        overrides: keys of `TrainingSection` that the recipe does not decide.
        holdout: part of the training split that shows progress, in [0, 1).
        stream: whether a folder's images stay on the disk until their turn comes; None: if memory is short.
        seed: of everything.
        workers: how many processes divide each batch among themselves.
    """

    network: NamedNetwork
    training_of: str | None
    resolution: int | None = None
    recipe: Literal["short", "published"] = "short"
    epochs: int = 10
    overrides: Mapping[str, Any] = field(default_factory=dict)
    holdout: float = DEFAULT_HOLDOUT
    stream: bool | None = None
    seed: int = 0
    workers: int = 1


def zoo_name(network: NamedNetwork) -> str | None:
    """The network of the zoo that `network` is a variant of."""
    variant = zoo.find(network.name)
    return next((name for name, entry in zoo.ZOO.items() if variant and entry is variant.network), None)


def asked_resolution(text: str) -> int | None:
    """The resolution in ``NAME/RESOLUTION``; None where `text` says none."""
    variant = zoo.find(text) if "/" in text else None
    return variant.resolution if variant else None


def resolve_config(
    request: TrainRequest, source: str, resolution: int, weights: str | None, teacher: TeacherSection | None
) -> TrainConfig:
    """The complete configuration of a training.

    Args:
        request: what was asked for.
        source: of the data.
        resolution: as `training_resolution` says.
        weights: where the first weights come from.
        teacher: who teaches.

    Raises:
        UserError: there is no published recipe, or a value is out of range.
    """
    arch, published = request.network.arch, zoo.ZOO[request.training_of].training if request.training_of else None
    batch_size = request.overrides.get("batch_size")
    if request.recipe == "short":
        recipe = short_recipe(arch, published, batch_size)
    elif published is None:
        raise UserError(f"--recipe published: {request.network.name} is not of the zoo; use --recipe short")
    else:
        recipe = _published(published, batch_size, request)
    training = {name: getattr(recipe, name) for name in TrainingSection.model_fields} | {"epochs": request.epochs}
    return TrainConfig(
        seed=request.seed,
        network=NetworkSection(name=request.network.name, arch=str(arch), training_of=request.training_of),
        data=TrainDataSection(source=source, resolution=resolution, holdout=request.holdout, stream=request.stream),
        training=validated(TrainingSection, training | dict(request.overrides), "training options"),
        weights=weights,
        teacher=teacher,
        scaling=ScalingSection(workers=request.workers),
    )


def _published(published: PublishedTraining, batch_size: int | None, request: TrainRequest) -> TrainingRecipe:
    try:
        return published_recipe(published, batch_size)
    except ValueError as error:
        raise UserError(f"--recipe published: {request.network.name}: {error}; use --recipe short") from None


def training_resolution(network: NamedNetwork, asked: int | None, data_side: int | None) -> int:
    """Side of the training images in pixels.

    Args:
        network: which must fit.
        asked: for this side exactly.
        data_side: of the images as they are stored; None where they come at any size.

    Returns:
        `asked`; else the network's own, but no more than the images have (or 32): enlarged images show nothing new. That
        is raised to where the network fits.

    Raises:
        UserError: the network does not fit `asked`.
    """
    if asked is not None:
        problem = misfit(network.arch, asked)
        if problem:
            fitting = next_resolution(network, asked)
            raise UserError(f"--resolution {asked}: {problem}; the next that fits is {fitting}")
        return asked
    wanted = network.resolution if data_side is None else min(network.resolution, max(SMALLEST_RESOLUTION, data_side))
    return next_resolution(network, wanted)


def next_resolution(network: NamedNetwork, resolution: int) -> int:
    """The smallest resolution from `resolution` on that `network` fits.

    Raises:
        UserError: none does, as far as one looks.
    """
    found = next((r for r in range(resolution, resolution + _LOOKED_AT) if misfit(network.arch, r) is None), None)
    if found is None:
        raise UserError(f"{network.name}: fits no resolution from {resolution} px: {misfit(network.arch, resolution)}")
    return found


def misfit(arch: ArchSpec, resolution: int) -> str | None:
    """Why `arch` does not fit `resolution`; None where it does."""
    try:
        lower(arch, resolution, 1, training=True)
    except ValueError as error:
        return str(error)
    return None


def read_train_config(folder: Path) -> TrainConfig:
    """The configuration of a training's run folder.

    Raises:
        UserError: not a run folder, or one of another command.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder}: not a run folder of nas train (no config.yaml)")
    document = read_mapping(path.read_text(), str(path))
    if document.get("format") != FORMAT:
        raise UserError(f"{folder}: a run of another command; continue it with nas search --resume {folder}")
    if document.get("version") != VERSION:
        raise UserError(f"{path}: version {document.get('version')}; this program reads {VERSION}")
    return validated(TrainConfig, document, str(path))
