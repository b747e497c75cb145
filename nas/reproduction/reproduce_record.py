"""A run of ``nas reproduce`` as it lies in its folder, finished or not, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latency.latency import Latency
from nas.errors import UserError
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.final_network import FinalNetwork, Training
from nas.netadapt.network_difference import Difference, trained_difference
from nas.reproduction.edit_trial import EditTrial
from nas.reproduction.int8_figures import Int8Figures
from nas.reproduction.reproduce_config import ReproduceConfig, read_reproduce_config
from nas.reproduction.reproduce_run import ADAPT, LANDING, RANDOM, SEARCH, SHORTLISTS, VERSION
from nas.reproduction.shortlisted import Shortlisted
from nas.run_folder import read_json
from nas.trial import Trial, read_trials

FOUND = "found"


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a stage has left.

    Attributes:
        name: ``seed``, ``adapt``, ``redesign`` or ``landing``.
        arch: the network after it.
        latency: of that, measured.
    """

    name: str
    arch: str
    latency: Latency


@dataclass(frozen=True)
class ReproduceRecord:
    """A run folder of ``nas reproduce``.

    Attributes:
        folder: where it lies.
        config: what was asked for.
        data_fingerprint: of the data set; None where the run does not say.
        trials: of the search; empty where there was none.
        random_trials: of the random search; likewise.
        shortlist: the best of the trials, trained again; empty where the best one was taken as it was.
        random_shortlist: likewise, of the random search.
        seed_trial: number of the trial that the stages after the search began with; None where there was none.
        stages: done, in order.
        edits: of the redesign.
        arch: what was found; None before it was.
        latency: of that, measured; likewise.
        target_ms: the latency that it had to come down to; likewise.
        networks: of the final comparison, what was found first; empty before it.
        int8: name of a network -> its quantised figures.
    """

    folder: Path
    config: ReproduceConfig
    data_fingerprint: str | None
    trials: tuple[Trial, ...]
    random_trials: tuple[Trial, ...]
    shortlist: tuple[Shortlisted, ...]
    random_shortlist: tuple[Shortlisted, ...]
    seed_trial: int | None
    stages: tuple[StageRecord, ...]
    edits: tuple[EditTrial, ...]
    arch: str | None
    latency: Latency | None
    target_ms: float | None
    networks: tuple[FinalNetwork, ...]
    int8: Mapping[str, Int8Figures]

    @classmethod
    def read(cls, folder: Path) -> ReproduceRecord:
        """Read a run folder; changes nothing in it.

        Raises:
            UserError: not a run of ``nas reproduce``, or a file that is damaged or of another version.
        """
        config = read_reproduce_config(folder)
        seed, redesign = _read(folder, "seed"), _read(folder, "redesign")
        found, final = _read(folder, "found"), _read(folder, "final")
        try:
            return cls(
                folder=folder,
                config=config,
                data_fingerprint=_read(folder, "environment").get("data_fingerprint"),
                trials=_trials(folder / SEARCH),
                random_trials=_trials(folder / RANDOM),
                shortlist=_shortlist(folder, SEARCH),
                random_shortlist=_shortlist(folder, RANDOM),
                seed_trial=seed.get("trial"),
                stages=tuple(_stage(stage) for stage in found.get("stages", ())),
                edits=tuple(EditTrial(**trial) for trial in redesign.get("trials", ())),
                arch=found.get("arch"),
                latency=Latency.from_dict(found["latency"]) if found else None,
                target_ms=found.get("target_ms"),
                networks=tuple(_network(network, final["num_test"]) for network in final.get("networks", ())),
                int8={
                    network["name"]: _int8(network["int8"]) for network in final.get("networks", ()) if network["int8"]
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: a file of the run is damaged ({error!r}); restore it from a copy") from None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def to_beat(self) -> str:
        """The published network that the comparison is about."""
        return self.config.comparison.networks[0]

    def network(self, name: str) -> FinalNetwork | None:
        """Of the final comparison; None where it is not in it."""
        return next((network for network in self.networks if network.name == name), None)

    @cached_property
    def differences(self) -> tuple[tuple[FinalNetwork, Difference], ...]:
        """What was found against each other network."""
        found = self.network(FOUND)
        pairs = [(other, trained_difference(found, other)) for other in self.networks if found and other is not found]
        return tuple((other, difference) for other, difference in pairs if difference)

    def adaptation(self, stage: str) -> AdaptRecord | None:
        """A run of NetAdapt in it, ``adapt`` or ``landing``; None where there is none with a step."""
        if stage not in (ADAPT, LANDING) or not (self.folder / stage / "seed.json").is_file():
            return None
        return AdaptRecord.read(self.folder / stage)

    @property
    def is_finished(self) -> bool:
        """The final comparison is there."""
        return bool(self.networks)


def _read(folder: Path, name: str) -> dict[str, Any]:
    """``NAME.json``; empty before it is written."""
    path = folder / f"{name}.json"
    return read_json(path, f"nas-reproduce-{name}", VERSION) if path.is_file() else {}


def _trials(folder: Path) -> tuple[Trial, ...]:
    path = folder / "trials.jsonl"
    return tuple(read_trials(path)) if path.is_file() else ()


def _shortlist(folder: Path, stage: str) -> tuple[Shortlisted, ...]:
    return tuple(Shortlisted(**entry) for entry in _read(folder, SHORTLISTS[stage]).get("trials", ()))


def _stage(document: Mapping[str, Any]) -> StageRecord:
    return StageRecord(document["stage"], document["arch"], Latency.from_dict(document["latency"]))


def _int8(document: Mapping[str, Any]) -> Int8Figures:
    return Int8Figures(document["num_correct"], Latency.from_dict(document["latency"]))


def _network(document: Mapping[str, Any], num_test: int) -> FinalNetwork:
    latency = Latency.from_dict(document["latency"])
    return FinalNetwork(
        name=document["name"],
        arch=document["arch"],
        cost=latency.latency_ms,
        latency=latency,
        macs=document["macs"],
        params=document["params"],
        num_test=num_test,
        fine_tuned_correct=None,
        trained=tuple(Training(**training) for training in document["trained"]),
    )
