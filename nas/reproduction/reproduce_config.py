"""What a reproduction is asked to do, complete: a recipe, and ``config.yaml`` of its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from nas.config import Config, TrainingSection, find_recipe, parse_recipe
from nas.errors import UserError
from nas.latency_check import check_one_device
from nas.netadapt.schedule import ReductionSchedule
from nas.network import resolve_network
from nas.objective import Target
from nas.reproduction.redesign import EDITS
from nas.section import Positive, Section
from nas.strict_yaml import dump_yaml

FORMAT = "nas-reproduce"
VERSION = 1

Order = Literal["paper", "edits_first"]


class EditSection(Section):
    """One edit of the redesign."""

    edit: str = Field(description=f"one of {', '.join(EDITS)}")
    keep: Literal["always", "if_better"] = Field(
        "if_better", description="if_better: where the search's objective rises"
    )

    @field_validator("edit")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in EDITS:
            raise ValueError(f"unknown edit {name!r}; known: {', '.join(EDITS)}")
        return name


class RedesignSection(Section):
    """The edits by hand of arXiv 1905.02244, section 5, each tried on the network that the stages before have left."""

    edits: list[EditSection] = Field(default_factory=lambda: [EditSection(edit=name) for name in EDITS])
    num_seeds: Positive = Field(2, description="trainings of each network that is compared; by the evaluator's recipe")


class AdaptSection(Section):
    """The NetAdapt stage."""

    schedule: str = Field("0.01L", description="what each step saves")
    num_steps: int = Field(64, ge=0, description="of fine-tuning of the accepted network")
    groups: Literal["v3", "all"] = "v3"
    max_overshoot: float = Field(
        0.015,
        gt=0,
        lt=1,
        description="part of the target by which the last step may end below it, where there is a choice",
    )

    @field_validator("schedule")
    @classmethod
    def _readable(cls, text: str) -> str:
        ReductionSchedule.parse(text)
        return text


class ComparisonSection(Section):
    """The final comparison: all networks trained from scratch by one recipe."""

    networks: list[str] = Field(description="published networks beside what was found, the one to beat first")
    num_trainings: Positive = Field(3, description="of each network, each with its own seed")
    training: TrainingSection = TrainingSection(epochs=20)
    random: bool = Field(True, description="also the best of a random search of as many trials, brought to the target")
    uniform: bool = Field(True, description="also the found seed, brought to the target by the uniform multiplier")
    int8: bool = Field(True, description="also accuracy and latency of all after static quantisation")

    @field_validator("networks")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if not names:
            raise ValueError("at least one published network is needed: the one to beat")
        for name in names:
            resolve_network(name)
        return names


class ReproduceConfig(Section):
    """One reproduction, complete.

    Attributes:
        target: latency that the result must come down to, as of the search's objective.
        order: ``paper``: NetAdapt, then the edits, then down to the target; ``edits_first``: edits, then NetAdapt.
        network: skips the search: the network that it would have found.
        search: stage 1; its final section plays no part.
    """

    format: Literal["nas-reproduce"] = "nas-reproduce"
    version: Literal[1] = 1
    target: str = Field(
        "1.0x mobilenet_v3_large", description="3.5ms, or a multiple of a network measured in the same run"
    )
    order: Order = "paper"
    network: str | None = Field(
        None, description="begin with this network, as the paper did with mnasnet_a1: no search"
    )
    search: Config
    slowest_seed: float = Field(
        1.2, gt=0, description="of the search's target; a slower trial only where there is no other"
    )
    widest_seed: float = Field(
        1.0,
        ge=1,
        le=4,
        description="width multiplier at most, of a trial that is faster than the target; 1 passes it over",
    )
    shortlist: Positive = Field(
        1,
        description="trials of highest reward that are brought to the target by the uniform multiplier and trained by the "
        "comparison's recipe without the held-out images, which judge them; the best one is the seed; 1: none is trained",
    )
    redesign: RedesignSection = RedesignSection()
    adapt: AdaptSection = AdaptSection()
    comparison: ComparisonSection

    @field_validator("target")
    @classmethod
    def _readable(cls, text: str) -> str:
        Target.parse(text)
        return text

    @model_validator(mode="after")
    def _possible(self) -> ReproduceConfig:
        try:
            check_one_device(self.search.latency)
        except UserError as error:
            raise ValueError(f"search.{error}") from None
        if self.search.data.num_train is not None or self.search.data.num_test is not None:
            raise ValueError("search.data: NetAdapt trains on all images; leave out num_train and num_test")
        if self.search.evaluator.name not in ("train", "supernet"):
            raise ValueError(
                f"search.evaluator.name: {self.search.evaluator.name}; a reproduction trains: train, supernet"
            )
        return self

    def dump(self) -> str:
        """As YAML that `read_reproduce_config` reads back."""
        return dump_yaml(self)


def load_reproduce_config(recipe: str, assignments: list[str]) -> ReproduceConfig:
    """The recipe called `recipe`: a file, or the name of a shipped one; with ``key=value`` assignments on top.

    Raises:
        UserError: there is none, or it is a recipe of another command.
    """
    path = find_recipe(recipe)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return parse_recipe(ReproduceConfig, text, str(path), assignments)


def is_reproduction(folder: Path) -> bool:
    """Whether `folder` is a run of ``nas reproduce``, as its ``config.yaml`` says."""
    path = folder / "config.yaml"
    return path.is_file() and path.read_text(errors="replace").startswith(f"format: {FORMAT}\n")


def read_reproduce_config(folder: Path) -> ReproduceConfig:
    """The configuration of a run folder.

    Raises:
        UserError: not a run folder of ``nas reproduce``.
    """
    path = folder / "config.yaml"
    if not is_reproduction(folder):
        raise UserError(f"{folder}: not a run folder of nas reproduce")
    return parse_recipe(ReproduceConfig, path.read_text(), str(path), [])
