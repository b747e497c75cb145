"""Recipes: strict YAML in, frozen data out. Each class is one section of the file; each field is one key."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from nas.errors import UserError
from nas.latency_section import GradeName, LatencySection
from nas.objective import Objective, Target
from nas.section import Fraction, Positive, Section
from nas.space_section import Space, search_space
from nas.strict_yaml import dump_yaml, read_mapping, read_yaml, validated
from search_spaces.choice import Option
from search_spaces.sharing import Sharing
from search_spaces.space import SearchSpace


class DataSection(Section):
    """What to train on."""

    source: str = Field("digits", description="digits, a .npz file, or a folder with train/CLASS/* and val/CLASS/*")
    resolution: int = Field(32, ge=8, description="side of the training images in pixels")
    holdout: Fraction = Field(0.2, description="fraction of the training split that scores candidates")
    num_train: Positive | None = Field(None, description="keep a class-balanced subset of so many training images")
    num_test: Positive | None = Field(None, description="likewise for the test images")


class TrainingSection(Section):
    """How to train; see `nas.training_recipe.TrainingRecipe`."""

    epochs: Positive = 5
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, gt=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    warmup_epochs: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    max_shift: int = Field(0, ge=0)
    flip: bool = False
    ema_decay: float = Field(0.0, ge=0, lt=1)
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    rmsprop_decay: float = Field(0.9, ge=0, lt=1)
    rmsprop_epsilon: float = Field(1.0, gt=0)
    schedule: Literal["cosine", "exponential"] = "cosine"
    decay_factor: float = Field(0.97, gt=0, le=1)
    decay_epochs: float = Field(2.4, gt=0)
    decays_depthwise: bool = True
    clip_norm: float = Field(0.0, ge=0)


class SupernetSection(Section):
    """Weights that all candidates share, of evaluators supernet and one_shot."""

    training: TrainingSection = TrainingSection(epochs=30, batch_size=128, learning_rate=0.1, clip_norm=5.0)
    sharing: Sharing = Field("sliced", description="what candidates have in common; see search_spaces.supernet")
    sampling: Literal["fair", "uniform"] = Field(
        "fair", description="which candidates a step trains; see nas.path_sampling"
    )
    anchor: str | None = Field(
        None, description="network of the space from which candidates depart, block by block, instead of the sampling"
    )
    num_images: Positive = Field(
        500, description="held-out images that score a candidate; fewer if there are not as many"
    )
    folder: str | None = Field(None, description="of a supernet trained before; default: the user's cache folder")


class PolicySection(Section):
    """What is trained with a one-shot search's weights; see `nas.policy_training.PolicyTask`."""

    warm_up: float = Field(0.25, ge=0, lt=1, description="share of the steps in which the policy rests")
    num_candidates: Positive = Field(4, description="in a step, drawn by the policy")
    num_images: Positive = Field(
        250, description="held-out images that score the candidates of a step; fewer if there are not as many"
    )


_HELD_OUT = "held-out accuracy"
_SHARED = "held-out score with shared weights"


class EvaluatorSection(Section):
    """Where accuracies come from."""

    name: Literal["train", "supernet", "one_shot", "zero_cost", "recorded", "table"] = "train"
    training: TrainingSection = Field(TrainingSection(), description="train: of each candidate, by itself")
    supernet: SupernetSection = SupernetSection()
    policy: PolicySection = Field(PolicySection(), description="one_shot: what is trained with the supernet")
    score: Literal["synflow", "jacob_cov", "short_path"] = Field(
        "synflow", description="zero_cost: of the untrained network"
    )
    run: str | None = Field(None, description="recorded: the run folder whose accuracies to use")
    table: str | None = Field(
        None, description="table: CSV of architectures and accuracies that a surrogate is fitted on"
    )
    columns: dict[str, str] = Field(default_factory=dict, description="table: its column -> decision of the space")
    values: dict[str, dict[Option, Option]] = Field(
        default_factory=dict, description="table: column -> what stands there -> option; where they are not the same"
    )
    target: str | None = Field(None, description="table: its column of accuracies")
    scale: float = Field(1.0, gt=0, description="table: what makes fractions of them; 0.01 for percent")
    label: str = Field(_HELD_OUT, min_length=1, description="what reports call the accuracy; default: what it is")

    @model_validator(mode="before")
    @classmethod
    def _labelled(cls, section: Any) -> Any:
        """What is no accuracy must not be called one."""
        if not isinstance(section, dict) or "label" in section:
            return section
        names = {"supernet": _SHARED, "one_shot": _SHARED, "zero_cost": "place among random networks"}
        name = section.get("name")
        return {
            **section,
            "label": names.get(name, _HELD_OUT) if isinstance(name, str) else _HELD_OUT,
        }

    @property
    def trains(self) -> bool:
        """Whether accuracies come from the images of the data set."""
        return self.name in ("train", "supernet", "one_shot", "zero_cost")


class ControllerSection(Section):
    """Who chooses candidates."""

    name: str = "ppo"
    options: dict[str, Any] = Field(default_factory=dict)


class ObjectiveSection(Section):
    """What to maximise; see `nas.objective.Objective`."""

    target: str = Field("1.0x mobilenet_v2", description="3.5ms, or a multiple of a network measured in the same run")
    form: Literal["power", "absolute"] = "power"
    alpha: float = Field(-0.07, le=0)
    beta: float = Field(-0.07, le=0)

    @field_validator("target")
    @classmethod
    def _readable(cls, text: str) -> str:
        Target.parse(text)
        return text

    def objective(self, target_ms: float) -> Objective:
        """The objective at a resolved target."""
        return Objective(target_ms=target_ms, form=self.form, alpha=self.alpha, beta=self.beta)


class ConstraintsSection(Section):
    """Upper bounds checked before training; see `nas.study.Constraints`."""

    params: Positive | None = None
    macs: Positive | None = None
    model_bytes: Positive | None = None
    peak_memory_bytes: Positive | None = None


class FinalSection(Section):
    """What happens to the winner: training beside published networks."""

    baselines: list[str] = Field(default_factory=lambda: ["mobilenet_v2", "mnasnet_a1", "mobilenet_v3_large"])
    training: TrainingSection = TrainingSection(epochs=20)
    grade: GradeName = Field("search", description="how carefully to measure; final: five processes, 15 s a network")
    inherit: bool = Field(False, description="the winner begins with the supernet's weights, the others from scratch")


class Config(Section):
    """One recipe, complete."""

    space: Space = "mnasnet"
    seed: int = Field(0, ge=0)
    trials: Positive = Field(60, description="distinct networks to train and measure")
    concurrency: Positive | None = Field(None, description="networks in flight; default: the CPUs over cpus_per_trial")
    cpus_per_trial: Positive = 1
    gpus_per_trial: float | None = Field(None, ge=0, description="default: a share of this machine's CUDA devices")
    data: DataSection = DataSection()
    evaluator: EvaluatorSection = EvaluatorSection()
    latency: LatencySection = LatencySection()
    controller: ControllerSection = ControllerSection()
    objective: ObjectiveSection = ObjectiveSection()
    constraints: ConstraintsSection = ConstraintsSection()
    final: FinalSection | None = FinalSection()

    @property
    def search_space(self) -> SearchSpace:
        """The space that `space` names or spells out."""
        return search_space(self.space)

    def dump(self) -> str:
        """As YAML that `parse_config` reads back."""
        return dump_yaml(self)


def shipped_recipes() -> dict[str, Path]:
    """File name -> path of the recipes that come with the program."""
    folder = Path(str(resources.files("experiments")))
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


RECIPE_FORMATS = {"nas-reproduce": "nas reproduce"}
"""Of recipes other than searches, which have no format: what stands there -> the command that takes them."""

S = TypeVar("S", bound=Section)


class RecipeNotFoundError(UserError):
    """Neither a file nor a shipped recipe."""


def find_recipe(name: str) -> Path:
    """The file called `name`: a path, or the bare name of a shipped recipe.

    Raises:
        RecipeNotFoundError: neither.
    """
    path = Path(os.path.expanduser(name))  # unlike Path.expanduser, leaves the home of an unknown user alone
    if os.path.isfile(path):  # unlike Path.is_file, takes any text for an answer
        return path
    recipes = shipped_recipes()
    for candidate in (name, f"{name}.yaml"):
        if candidate in recipes:
            return recipes[candidate]
    raise RecipeNotFoundError(f"recipe {name!r}: no such file, and none of the shipped ones: {', '.join(recipes)}")


def assign(document: dict[str, Any], assignment: str, example: str = "objective.alpha=-0.15") -> None:
    """Set a key of `document`: ``section.key=VALUE``, the value as YAML has it; `example` is for who writes another thing.

    Raises:
        UserError: it is not of this form.
    """
    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise UserError(f"--set {assignment}: write key=value, for example --set {example}")
    *path, last = key.split(".")
    try:
        value = read_yaml(text)
    except ValueError:
        raise UserError(f"--set {assignment}: {text!r} is not YAML") from None
    section = document
    for part in path:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise UserError(f"--set {assignment}: {part!r} is not a section")
    section[last] = value


def parse_config(text: str, source: str, assignments: list[str] | None = None) -> Config:
    """The configuration in `text`, with ``key=value`` assignments on top.

    Args:
        text: YAML.
        source: where it came from, for messages.
        assignments: dotted key = YAML value, in order.

    Raises:
        UserError: not YAML, an unknown key, a wrong type or an impossible value; or a recipe of another command.
    """
    return parse_recipe(Config, text, source, assignments or [])


def parse_recipe(kind: type[S], text: str, source: str, assignments: list[str]) -> S:
    """As `parse_config`, of any recipe; one that is of another command says so in its ``format``."""
    document = read_mapping(text, source)
    field = kind.model_fields.get("format")
    wanted, found = str(field.default) if field else "", str(document.get("format", ""))
    if found != wanted and (found in RECIPE_FORMATS or wanted):
        raise UserError(f"{source}: a recipe of {RECIPE_FORMATS.get(found, 'nas search')}")
    for assignment in assignments:
        assign(document, assignment)
    return validated(kind, document, source)


def load_config(recipe: str, assignments: list[str] | None = None) -> Config:
    """The recipe called `recipe` (see `find_recipe`), with assignments on top."""
    path = find_recipe(recipe)
    try:
        return parse_config(path.read_text(), str(path), assignments)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
