"""What a report is about: a run folder, read once, and the figures that follow from it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latency.latency import Latency
from nas.config import Config
from nas.errors import UserError
from nas.finale import WINNER, Finalist
from nas.objective import Objective
from nas.run import read_config, read_environment
from nas.trial import Trial, best_trial, pareto_front, read_trials

FINAL_VERSION = 1
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
        environment: contents of ``environment.json``.
        objective: at the resolved target.
        trials: those in the journal, by number.
        finalists: of the final comparison, the winner first; empty before it.
        winner_number: trial that the finale took as the winner; None before it.
        kernels_us: microseconds of the winner's operations; empty where they were not measured.
    """

    folder: Path
    config: Config
    environment: Mapping[str, Any]
    objective: Objective
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
        environment = read_environment(folder)
        final = _read_final(folder)
        return cls(
            folder=folder,
            config=config,
            environment=environment,
            objective=config.objective.objective(environment["calibration"]["target_ms"]),
            trials=read_trials(folder / "trials.jsonl"),
            finalists=tuple(Finalist(**finalist) for finalist in final.get("finalists", [])),
            winner_number=final.get("trial"),
            kernels_us=final.get("winner_kernel_us", {}),
        )

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
            self.objective.spread([t.accuracy or 0.0 for t in part], [t.latency_ms or math.inf for t in part])[0]
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
