"""A run of ``nas adapt`` as it lies in its folder, finished or not, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from latency.latency import Latency
from nas.errors import UserError
from nas.jsonl import read_json_lines
from nas.netadapt.final_network import FinalNetwork, NetworkName, latency_in, trusted
from nas.netadapt.schedule import within
from nas.netadapt.step_record import FORMAT as STEPS_FORMAT
from nas.netadapt.step_record import VERSION as STEPS_VERSION
from nas.netadapt.step_record import StepRecord
from nas.run_folder import read_json
from nas.strict_yaml import read_mapping

if TYPE_CHECKING:
    from nas.netadapt.adapt_config import AdaptConfig

CONFIG_FORMAT = "nas-adapt"
"""Of `nas.netadapt.adapt_config`, whose import takes torch's seconds."""
SEED_FORMAT, UNIFORM_FORMAT, FINAL_FORMAT = "nas-adapt-seed", "nas-adapt-uniform", "nas-adapt-final"
VERSION = 1
"""Of all three."""
UNITS = ("ms", "MACs", "params", "x budget")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SeedRecord:
    """The network that an adaptation began with.

    Attributes:
        network: its name.
        arch: its string.
        cost: the schedule's L.
        target: cost to come down to.
        unit: of both, one of `UNITS`.
        latency: measured against the reference network; None where nothing is measured.
        accuracy: on held-out images, in [0, 1].
        num_images: how many these are.
        weights: where they came from, in words.
    """

    network: str
    arch: str
    cost: float
    target: float
    unit: str
    latency: Latency | None
    accuracy: float
    num_images: int
    weights: str

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SeedRecord:
        """From ``seed.json``.

        Raises:
            KeyError, TypeError, ValueError: it is no such record.
        """
        if document["unit"] not in UNITS:
            raise ValueError(f"unit {document['unit']!r}; this program knows {', '.join(UNITS)}")
        names = ("network", "arch", "cost", "target", "unit", "accuracy", "num_images", "weights")
        return cls(latency=latency_in(document), **{name: document[name] for name in names})


@dataclass(frozen=True, slots=True)
class UniformRecord:
    """The seed with all its widths times one number, at the target's cost: what an adaptation has to beat.

    Attributes:
        multiplier: that number.
        arch, cost, latency, accuracy, num_images: as of the seed.
    """

    multiplier: float
    arch: str
    cost: float
    latency: Latency | None
    accuracy: float
    num_images: int

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> UniformRecord:
        """From ``uniform.json``; raises as `SeedRecord.from_dict`."""
        names = ("multiplier", "arch", "cost", "accuracy", "num_images")
        return cls(latency=latency_in(document), **{name: document[name] for name in names})


@dataclass(frozen=True, kw_only=True)
class AdaptJournal:
    """What happened in a run folder of ``nas adapt``; to read it takes no torch.

    Attributes:
        folder: where it lies.
        seed: what it began with.
        steps: accepted so far.
        random: steps of the baseline that accepts any proposal; empty where it was not run.
        uniform: the uniform width multiplier; None likewise.
        finals: networks of the final comparison; empty before it.
    """

    folder: Path
    seed: SeedRecord
    steps: tuple[StepRecord, ...]
    random: tuple[StepRecord, ...]
    uniform: UniformRecord | None
    finals: tuple[FinalNetwork, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a run folder; changes nothing in it.

        Raises:
            UserError: not a run of ``nas adapt``, one stopped before its seed was known, or a file that is damaged or of
                another version.
        """
        return cls(**_contents(folder))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def unit(self) -> str:
        """Of all costs."""
        return self.seed.unit

    @property
    def cost(self) -> float:
        """Where it stands."""
        return self.steps[-1].cost if self.steps else self.seed.cost

    @property
    def accuracy(self) -> float:
        """On held-out images, where it stands."""
        return self.steps[-1].accuracy if self.steps else self.seed.accuracy

    @property
    def latency(self) -> Latency | None:
        """Measured, where it stands; None where nothing is measured."""
        return trusted(self.steps[-1].latency if self.steps else self.seed.latency)

    @property
    def arch(self) -> str:
        """Where it stands."""
        return self.steps[-1].arch if self.steps else self.seed.arch

    @property
    def reached(self) -> bool:
        """The target is met."""
        return within(self.cost, self.seed.target)

    @cached_property
    def is_finished(self) -> bool:
        """The final comparison is there."""
        return bool(self.finals)

    def final(self, name: NetworkName) -> FinalNetwork | None:
        """A network of the final comparison; None where it is not in it."""
        return next((network for network in self.finals if network.name == name), None)


@dataclass(frozen=True, kw_only=True)
class AdaptRecord(AdaptJournal):
    """A run folder of ``nas adapt``, with what was asked for.

    Attributes:
        config: the request.
    """

    config: AdaptConfig

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a run folder; changes nothing in it, and raises as `AdaptJournal.read`."""
        from nas.netadapt.adapt_config import read_adapt_config

        _check_folder(folder)
        config = read_adapt_config(folder)
        return cls(config=config, **_contents(folder))

    @property
    def rule(self) -> str:
        """Of acceptance: a key of `nas.netadapt.selection.RULES`."""
        return self.config.judging.selection


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the run folder that nas adapt wrote")


def _contents(folder: Path) -> dict[str, Any]:
    """The fields of `AdaptJournal`."""
    _check_folder(folder)
    if not (folder / "seed.json").is_file():
        raise UserError(
            f"{folder}: stopped before its seed was measured (no seed.json); go on with: nas adapt --resume {folder}"
        )
    return {
        "folder": folder,
        "seed": _required(folder / "seed.json", SEED_FORMAT, SeedRecord.from_dict),
        "steps": read_steps(folder / "steps.jsonl"),
        "random": read_steps(folder / "random" / "steps.jsonl"),
        "uniform": _read(folder / "uniform.json", UNIFORM_FORMAT, UniformRecord.from_dict),
        "finals": _read(folder / "final.json", FINAL_FORMAT, _final_networks) or (),
    }


def is_adaptation(folder: Path) -> bool:
    """Whether `folder` is a run of ``nas adapt``, as its ``config.yaml`` says."""
    path = folder / "config.yaml"
    try:
        return path.is_file() and read_mapping(path.read_text(), str(path)).get("format") == CONFIG_FORMAT
    except (UserError, UnicodeDecodeError):
        return False


def read_steps(path: Path) -> tuple[StepRecord, ...]:
    """The journal's steps in order; none where there is no journal.

    Raises:
        UserError: it is damaged or of another version.
    """
    if not path.is_file():
        return ()
    records = read_json_lines(path, STEPS_FORMAT, STEPS_VERSION)
    return tuple(_parsed(path, record, StepRecord.from_dict) for record in records)


def _final_networks(document: Mapping[str, Any]) -> tuple[FinalNetwork, ...]:
    return tuple(map(FinalNetwork.from_dict, document["networks"]))


def _read(path: Path, format_name: str, parse: Callable[[dict[str, Any]], T]) -> T | None:
    return _required(path, format_name, parse) if path.is_file() else None


def _required(path: Path, format_name: str, parse: Callable[[dict[str, Any]], T]) -> T:
    return _parsed(path, read_json(path, format_name, VERSION), parse)


def _parsed(path: Path, document: dict[str, Any], parse: Callable[[dict[str, Any]], T]) -> T:
    try:
        return parse(document)
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing; restore the file from a copy") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}; restore the file from a copy") from None
