"""A/A test of a device: the same network measured under two names. What differs is the device's noise and nothing else."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from latency.estimator import Session
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import Grade
from latency.reference import Reference, Timer, spread_of

Verdict = Literal["ok", "coarse", "unstable"]
"""ok: differences of 2 % can be told apart; coarse: larger ones only; unstable: wait until the machine is quieter."""

MAX_P95 = {"search": 0.012, "final": 0.008}
"""What `docs/latency.md` promises on a quiet machine, by grade."""

MAX_UNSTABLE = 0.10
PAIRS_PER_PROCESS = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement of the test: what the user would be told, and what it was made of."""

    latency: Latency
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """Pairs of jobs, each pair one network under two names.

    Attributes:
        pairs: as measured, in order.
        grade: of the jobs, a key of `latency.meter.GRADES`.
    """

    pairs: tuple[tuple[Job, Job], ...]
    grade: str

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("an A/A test needs at least 1 pair")

    @property
    def max_p95(self) -> float:
        """Promised 95th percentile, a fraction."""
        return MAX_P95[self.grade]

    @property
    def abs_log_ratios(self) -> list[float]:
        """Of the pairs in which both jobs gave a value."""
        valued = [pair for pair in self.pairs if all(job.latency.status != "failed" for job in pair)]
        return [abs(math.log(a.latency.ratio / b.latency.ratio)) for a, b in valued]

    @property
    def p95_abs_log_ratio(self) -> float:
        """95th percentile; infinite where no pair gave a value."""
        logs = self.abs_log_ratios
        return float(np.quantile(logs, 0.95)) if logs else math.inf

    @property
    def num_unstable(self) -> int:
        """Jobs that were unstable or failed."""
        return sum(job.latency.status in ("unstable", "failed") for pair in self.pairs for job in pair)

    @property
    def status(self) -> Verdict:
        """What the device is good for now."""
        if self.num_unstable > MAX_UNSTABLE * 2 * len(self.pairs):
            return "unstable"
        return "ok" if self.p95_abs_log_ratio <= self.max_p95 else "coarse"

    def calibrated(self, reference: Reference) -> Reference:
        """`reference` with the time and the spread that these jobs have seen.

        The spread is left as it is where fewer than 3 processes ran.

        Raises:
            statistics.StatisticsError: every job failed.
        """
        taken = [m for pair in self.pairs for job in pair for m in job.measurements if m.sessions]
        processes: dict[int, list[Session]] = {}
        for measurement in taken:
            processes.setdefault(measurement.environment["pid"], []).extend(measurement.sessions)
        known = [sessions for sessions in processes.values() if len(sessions) > 1]
        spread = spread_of(known) if len(known) > 2 else reference.spread
        return replace(reference, reference_ms=statistics.median(m.reference_ms for m in taken), spread=spread)


def check(timer: Timer, model: bytes, reference: Reference, grade: Grade, num_pairs: int) -> Iterator[tuple[Job, Job]]:
    """Measure `model` twice, again and again; every `PAIRS_PER_PROCESS` pairs in a fresh process.

    Args:
        timer: the device.
        model: ONNX bytes; a network unlike the reference shows more than the reference itself.
        reference: calibrated; its spread is not used by the jobs' verdicts alone but in their intervals.
        grade: of each job.
        num_pairs: at least 1.

    Yields:
        Each pair of jobs when it is done; `Check` sums them up.

    Raises:
        MeasuringError: the reference cannot be run.
    """
    goal = replace(grade.settings.goal, spread=reference.spread)
    settings = replace(grade.settings, goal=goal)

    def job(seed: int, fresh: bool) -> Job:
        taken = tuple(
            timer.measure(
                model,
                reference.model,
                settings,
                seed=seed * grade.num_processes + n,
                fresh_process=fresh or grade.num_processes > 1,
            )
            for n in range(grade.num_processes)
        )
        return Job(reference.latency(taken, goal), taken)

    for pair in range(num_pairs):
        yield job(2 * pair, pair % PAIRS_PER_PROCESS == 0), job(2 * pair + 1, fresh=False)
