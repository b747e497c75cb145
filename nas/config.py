"""Recipes: strict YAML in, frozen data out. Each class is one section of the file; each field is one key."""

from __future__ import annotations

import difflib
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from nas.errors import UserError
from nas.latency_section import GradeName, LatencySection
from nas.objective import Objective, Target
from nas.section import Fraction, Positive, Section


class _Loader(yaml.SafeLoader):
    """YAML, strictly: a key stands once; and 1e-4 is a number, as everywhere but in YAML 1.1."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
                keys.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """What `_Loader` reads back."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z", re.ASCII),
        list("-+.0123456789"),
    )


def _read_yaml(text: str) -> Any:
    """The document in `text`; ValueError, with one line, when it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from None


class DataSection(Section):
    """What to train on."""

    source: str = Field("digits", description="digits, a .npz file, or a folder with train/CLASS/* and val/CLASS/*")
    resolution: int = Field(32, ge=8, description="side of the training images in pixels")
    holdout: Fraction = Field(0.2, description="fraction of the training split that scores candidates")
    num_train: Positive | None = Field(None, description="keep a class-balanced subset of so many training images")
    num_test: Positive | None = Field(None, description="likewise for the test images")


class TrainingSection(Section):
    """How to train; see `nas.training.TrainingRecipe`."""

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


class EvaluatorSection(Section):
    """Where accuracies come from."""

    name: Literal["train", "recorded"] = "train"
    training: TrainingSection = TrainingSection()
    run: str | None = Field(None, description="recorded: the run folder whose accuracies to use")


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
    """What happens to the winner: training from scratch beside published networks."""

    baselines: list[str] = Field(default_factory=lambda: ["mobilenet_v2", "mnasnet_a1", "mobilenet_v3_large"])
    training: TrainingSection = TrainingSection(epochs=20)
    grade: GradeName = Field("search", description="how carefully to measure; final: five processes, 15 s a network")


class Config(Section):
    """One recipe, complete."""

    space: Literal["mnasnet"] = "mnasnet"
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

    def dump(self) -> str:
        """As YAML that `parse_config` reads back."""
        text: str = yaml.dump(self.model_dump(), Dumper=_Dumper, sort_keys=False)
        return text


def shipped_recipes() -> dict[str, Path]:
    """File name -> path of the recipes that come with the program."""
    folder = Path(str(resources.files("experiments")))
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file called `name`: a path, or the bare name of a shipped recipe.

    Raises:
        UserError: neither.
    """
    path = Path(os.path.expanduser(name))  # unlike Path.expanduser, leaves the home of an unknown user alone
    if os.path.isfile(path):  # unlike Path.is_file, takes any text for an answer
        return path
    recipes = shipped_recipes()
    for candidate in (name, f"{name}.yaml"):
        if candidate in recipes:
            return recipes[candidate]
    raise UserError(f"recipe {name!r}: no such file, and none of the shipped ones: {', '.join(recipes)}")


def _set(document: dict[str, Any], assignment: str) -> None:
    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise UserError(f"--set {assignment}: write key=value, for example --set objective.alpha=-0.15")
    *path, last = key.split(".")
    try:
        value = _read_yaml(text)
    except ValueError:
        raise UserError(f"--set {assignment}: {text!r} is not YAML") from None
    section = document
    for part in path:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise UserError(f"--set {assignment}: {part!r} is not a section")
    section[last] = value


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    section: Any = Config
    for part in location:
        if isinstance(part, int):  # an entry of a list
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if section is None:
            return []
    return list(section.model_fields)


def _explain(error: ValidationError) -> str:
    """The first thing wrong, on one line: key, value, what is allowed."""
    first = error.errors()[0]
    location = tuple(first["loc"])
    key = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        allowed = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown key {key!r}; {hint}allowed: {', '.join(allowed)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":
        message = f"expected keys and values: {', '.join(_known_keys(location))}"
    return f"{key} = {first['input']!r}: {message[0].lower()}{message[1:]}"


def parse_config(text: str, source: str, assignments: list[str] | None = None) -> Config:
    """The configuration in `text`, with ``key=value`` assignments on top.

    Args:
        text: YAML.
        source: where it came from, for messages.
        assignments: dotted key = YAML value, in order.

    Raises:
        UserError: not YAML, an unknown key, a wrong type or an impossible value.
    """
    try:
        document = _read_yaml(text)
    except ValueError as error:
        raise UserError(f"{source}: not YAML: {error}") from None
    if document is None:  # nothing, or nothing but comments
        document = {}
    if not isinstance(document, dict):
        raise UserError(f"{source}: expected keys and values, got {type(document).__name__}")
    for assignment in assignments or []:
        _set(document, assignment)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error)}") from None


def load_config(recipe: str, assignments: list[str] | None = None) -> Config:
    """The recipe called `recipe` (see `find_recipe`), with assignments on top."""
    path = find_recipe(recipe)
    try:
        return parse_config(path.read_text(), str(path), assignments)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
