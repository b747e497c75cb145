"""The yardstick: one fixed network, its time frozen once for a device, and the device's noise."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from latency.estimator import Estimate, Goal, Session, Spread, estimate, hodges_lehmann, session_log_ratios
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import GRADES, MeterSettings
from latency.meter_process import MeasuringError

MAX_SLOWDOWN = 1.3
"""A reference slower than its frozen time by more than this factor: the machine is not the one that was calibrated."""


class Timer(Protocol):
    """What times one model against another; see `latency.meter_process.MeterProcess.measure`."""

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        """Time `candidate` against `reference`."""
        ...


@dataclass(frozen=True, slots=True)
class Reference:
    """A network whose time turns ratios into milliseconds.

    Choose one like the networks to be measured, of half to twice the target latency, of the same type and resolution.

    Attributes:
        model: its ONNX bytes.
        reference_ms: its time, frozen when the device was calibrated; positive and finite.
        spread: noise of the device.
    """

    model: bytes
    reference_ms: float
    spread: Spread = field(default_factory=Spread)

    def __post_init__(self) -> None:
        if not 0 < self.reference_ms < math.inf:
            raise ValueError(f"reference_ms {self.reference_ms}: must be positive and finite")

    @property
    def sha256(self) -> str:
        """Of the model."""
        return hashlib.sha256(self.model).hexdigest()

    def latency(self, measurements: Sequence[Measurement], goal: Goal | None = None) -> Latency:
        """One network's `measurements`, one a process, in milliseconds: ratio times `reference_ms`.

        ``failed`` where one of them failed, or not one pair was fit to be used; ``unstable`` also where the reference ran
        slower than its frozen time by more than `MAX_SLOWDOWN`.

        Args:
            measurements: at least one.
            goal: what the processes aimed at.

        Raises:
            ValueError: measured against another reference.
        """
        for measurement in measurements:
            if measurement.reference_sha256 != self.sha256:
                raise ValueError(f"measured against {measurement.reference_sha256[:12]}, this is {self.sha256[:12]}")
            if measurement.status == "failed":
                return Latency.failure(measurement.reason or "failed")
        found = estimate([m.sessions for m in measurements], replace(goal or Goal(), spread=self.spread))
        if found.num_pairs == 0:
            return Latency.failure(f"the machine was too busy to measure: {found.reason}")
        return self._in_ms(self._judged(found, measurements))

    def _judged(self, found: Estimate, measurements: Sequence[Measurement]) -> Estimate:
        slowdown = statistics.median(m.reference_ms for m in measurements) / self.reference_ms
        if slowdown <= MAX_SLOWDOWN:
            return found
        reason = f"the reference runs {slowdown:.2f} times slower than when the device was calibrated"
        return replace(found, status="unstable", reason=reason)

    def _in_ms(self, found: Estimate) -> Latency:
        low, high = found.interval
        return Latency(
            latency_ms=found.ratio * self.reference_ms,
            interval_ms=(low * self.reference_ms, high * self.reference_ms),
            ratio=found.ratio,
            ratio_interval=found.interval,
            status=found.status,
            source="measured",
            num_pairs=found.num_pairs,
            num_rejected=found.num_rejected,
            reason=found.reason,
        )


def spread_of(processes: Sequence[Sequence[Session]]) -> Spread:
    """The noise that some processes, each with sessions of the same network, show: a one-way analysis of variance.

    Args:
        processes: at least 2, with at least 2 sessions each.

    Raises:
        ValueError: fewer.
    """
    logs = [np.array(session_log_ratios(sessions)) for sessions in processes]
    if len(logs) < 2 or min(map(len, logs)) < 2:
        raise ValueError("the spread of processes needs at least 2 of them, with at least 2 sessions each")
    within = float(sum(((x - x.mean()) ** 2).sum() for x in logs) / sum(len(x) - 1 for x in logs))
    centres = np.array([hodges_lehmann(x) for x in logs])
    explained = within * float(np.mean([1 / len(x) for x in logs]))
    return Spread(session_sd=math.sqrt(within), process_sd=math.sqrt(max(0.0, float(centres.var(ddof=1)) - explained)))


def calibrate(timer: Timer, model: bytes, num_processes: int = 3) -> tuple[Reference, list[Measurement]]:
    """Freeze the time of `model`: the median over processes of its median time, measured against itself.

    Args:
        timer: what will measure the candidates too.
        model: ONNX bytes.
        num_processes: at least 2; about 2 seconds each.

    Returns:
        The reference with the spread that was seen, or the usual one where that is larger or a process had time for
        one session only; and the measurements.

    Raises:
        MeasuringError: the model cannot be run.
        ValueError: fewer than 2 processes.
    """
    if num_processes < 2:
        raise ValueError(f"num_processes {num_processes} must be at least 2")
    settings = GRADES["search"].settings
    runs = [timer.measure(model, model, settings, seed=n, fresh_process=True) for n in range(num_processes)]
    for run in runs:
        if run.status == "failed":
            raise MeasuringError(f"cannot calibrate: {run.reason}")
    spread = _usual_or_more([run.sessions for run in runs])
    return Reference(model, statistics.median(run.reference_ms for run in runs), spread), runs


def _usual_or_more(processes: Sequence[Sequence[Session]]) -> Spread:
    """Few processes, and a network beside itself, show too little spread rather than too much."""
    usual = Spread()
    if min(len(session_log_ratios(sessions)) for sessions in processes) < 2:
        return usual  # a slow network: one session is all that the budget had time for
    seen = spread_of(processes)
    return Spread(session_sd=max(seen.session_sd, usual.session_sd), process_sd=max(seen.process_sd, usual.process_sd))
