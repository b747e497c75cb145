"""What a report is about: a run folder, read once, and the figures that follow from it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from latency.latency import Latency
from nas.calibration import Calibration
from nas.config import Config
from nas.errors import UserError
from nas.finalist import FINAL_VERSION, WINNER, Finalist
from nas.objective import Objective
from nas.over_devices import DeviceObjectives
from nas.run import read_calibration, read_config
from nas.trial import Trial, best_trial, pareto_front, read_trials

LITTLE = 0.25  # of the reward's spread: with less from accuracy, the search has mostly looked for speed


@dataclass(frozen=True, slots=True)
class Spread:
    """Where differences in reward came from.

    Attributes:
        accuracy: share of accuracy in the variance of the rewards; outside [0, 1] where the two terms work against each
            other, NaN where it is not determined.
        num_networks: networks that it was computed from.
        accuracy_of_better_half: the same share among the half of them with the higher rewards, where a few failed trainings
            cannot drown the rest; NaN where it is not determined.
    """

    accuracy: float
    num_networks: int
    accuracy_of_better_half: float = math.nan

    @property
    def percents(self) -> tuple[int, int] | None:
        """Shares of accuracy and of latency in whole percent, which add up to 100; None when not determined."""
        if math.isnan(self.accuracy):
            return None
        percent = round(100 * self.accuracy)
        return percent, 100 - percent

    @property
    def sentence(self) -> str:
        """The shares in words."""
        if self.percents is None:
            return "Where the reward's spread came from cannot be told: it takes two networks with different rewards."
        accuracy, latency = self.percents
        text = (
            f"Of the reward's spread over {self.num_networks} networks, "
            f"{accuracy} % came from accuracy and {latency} % from latency."
        )
        shares = [accuracy, latency]
        if not math.isnan(self.accuracy_of_better_half):
            half = round(100 * self.accuracy_of_better_half)
            text += f" Among the better half of them: {half} % from accuracy, {100 - half} % from latency."
            shares += [half, 100 - half]
        if min(shares) < 0:
            text += " A negative share works against the other: networks good at one were bad at the other."
        return text

    @property
    def warning(self) -> str | None:
        """What to do when accuracy explains little; None when it explains enough."""
        if not any(share < LITTLE for share in (self.accuracy, self.accuracy_of_better_half)):  # NaN is not little
            return None
        return (
            "Speed decided, at least among the best: accuracy explains little of their rewards' differences. If accuracy "
            "should count for more, train candidates longer (evaluator.training.epochs) or bring objective.alpha and "
            "objective.beta closer to 0."
        )


@dataclass(frozen=True)
class RunRecord:
    """A run folder, finished or not.

    Attributes:
        folder: where it lies.
        config: the resolved recipe.
        calibration: what was frozen when it began.
        objectives: on each device, at its resolved target.
        trials: those in the journal, by number.
        finalists: of the final comparison, the winner first; empty before it.
        winner_number: trial that the finale took as the winner; None before it.
        kernels_us: microseconds of the winner's operations; empty where they were not measured.
    """

    folder: Path
    config: Config
    calibration: Calibration
    objectives: DeviceObjectives
    trials: list[Trial]
    finalists: tuple[Finalist, ...]
    winner_number: int | None
    kernels_us: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read a run folder; changes nothing in it.

        Raises:
            UserError: not a run folder, stopped before its first trial, or a file of another version.
        """
        config = read_config(folder)
        calibration = read_calibration(folder)
        final = _read_final(folder)
        return cls(
            folder=folder,
            config=config,
            calibration=calibration,
            objectives=calibration.objectives(config.objective, config.latency.over_devices),
            trials=read_trials(folder / "trials.jsonl"),
            finalists=tuple(Finalist(**finalist) for finalist in final.get("finalists", [])),
            winner_number=final.get("trial"),
            kernels_us=final.get("winner_kernel_us", {}),
        )

    @property
    def objective(self) -> Objective:
        """The one that `Trial.latency` belongs to: of the first device."""
        return self.objectives.first

    @property
    def devices(self) -> list[str]:
        """Names of the devices, at least one."""
        return list(self.objectives.by_device)

    @cached_property
    def by_device(self) -> dict[str, RunRecord]:
        """With several devices, the run as each of them alone saw it: its latencies, and rewards by its own target.

        The winner is the run's. Empty with one device.
        """
        return {name: self._seen_from(name) for name in self.devices} if len(self.devices) > 1 else {}

    def _seen_from(self, device: str) -> RunRecord:
        objective = self.objectives.by_device[device]
        trials = [
            replace(trial, latency=latency, reward=objective.reward(trial.accuracy or 0.0, latency.latency_ms))
            for trial in self.trials
            if trial.status == "ok" and (latency := trial.device_latencies[device])
        ]
        objectives = DeviceObjectives({device: objective})
        number = self.winner.number if self.winner else None
        return replace(self, trials=trials, objectives=objectives, winner_number=number)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @cached_property
    def winner(self) -> Trial | None:
        """The finale's winner; before the finale the best trial; None when none succeeded."""
        return next((t for t in self.trials if t.number == self.winner_number), None) or best_trial(self.trials)

    @cached_property
    def final_winner(self) -> Finalist | None:
        """The winner as trained and tested in the finale."""
        return next((f for f in self.finalists if f.name == WINNER), None)

    @cached_property
    def front(self) -> list[Trial]:
        """The Pareto front, fastest first."""
        return pareto_front(self.trials)

    @cached_property
    def networks(self) -> list[Trial]:
        """Successful trials with a latency, each network once."""
        return [t for t in self.trials if t.status == "ok" and t.latency_ms is not None and t.repeat_of is None]

    def _latencies(self, trial: Trial) -> Mapping[str, Latency]:
        """Device name -> latency of a successful trial."""
        assert trial.latency is not None
        return trial.device_latencies or {self.devices[0]: trial.latency}

    @cached_property
    def sources(self) -> str:
        """Where the networks' latencies came from, in words."""
        latencies = [latency for trial in self.networks for latency in self._latencies(trial).values()]
        sources = Counter(x.source for x in latencies)
        found = []
        if measured := sources["measured"]:
            trusted = Counter(x.status for x in latencies if x.source == "measured")
            kinds = ", ".join(f"{trusted[status]} {status}" for status in ("ok", "wide", "unstable") if trusted[status])
            found.append(f"{measured} measured ({kinds})")
        if sources["table"]:
            found.append(f"{sources['table']} priced by the table")
        return "; ".join(found) or "none yet"

    @property
    def num_distinct(self) -> int:
        """Networks tried, repeats and rejected ones not counted."""
        return sum(t.repeat_of is None and t.status != "rejected" for t in self.trials)

    @property
    def num_rejected(self) -> int:
        """Suggestions that broke a constraint."""
        return sum(t.status == "rejected" for t in self.trials)

    @property
    def num_repeats(self) -> int:
        """Suggestions of a network that an earlier trial had."""
        return sum(t.repeat_of is not None for t in self.trials)

    @cached_property
    def failures(self) -> list[tuple[str, int]]:
        """Reasons of failed networks with their counts, the commonest first."""
        failed = [t for t in self.trials if t.status == "failed" and t.repeat_of is None]
        return Counter(t.reason or "no reason given" for t in failed).most_common()

    @property
    def num_failed(self) -> int:
        """Networks that failed."""
        return sum(number for _, number in self.failures)

    @property
    def is_finished(self) -> bool:
        """The final comparison is there, or all trials are and the recipe wants no comparison."""
        return bool(self.finalists) or (self.config.final is None and self.num_distinct >= self.config.trials)

    @cached_property
    def wall_s(self) -> float | None:
        """Seconds from the first known start of a trial to the last end, pauses included; None before the first end."""
        ends = [
            (t.times["finished_unix"], t.times.get("training_s", 0.0))
            for t in self.trials
            if "finished_unix" in t.times
        ]
        return max(end for end, _ in ends) - min(end - training for end, training in ends) if ends else None

    @cached_property
    def spread(self) -> Spread:
        """Where differences in reward came from."""
        ranked = sorted(self.networks, key=lambda t: -t.reward)
        shares = [
            self.objectives.spread([t.accuracy or 0.0 for t in part], [self._latencies(t) for t in part])
            for part in (ranked, ranked[: len(ranked) // 2])
        ]
        return Spread(shares[0], len(ranked), shares[1])


def _read_final(folder: Path) -> dict[str, Any]:
    path = folder / "final.json"
    if not path.is_file():
        return {}
    document: dict[str, Any] = json.loads(path.read_text())
    if document.get("version") != FINAL_VERSION:
        raise UserError(f"{path}: version {document.get('version')}; this program reads {FINAL_VERSION}")
    return document


def measured(finalist: Finalist) -> Latency | None:
    """The latency of a finalist; None when it was not measured or could not be."""
    latency = finalist.measured
    return latency if latency and latency.status != "failed" else None
