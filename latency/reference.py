"""The yardstick: one fixed network, and its time frozen once for a device."""

from __future__ import annotations

import hashlib
import math
import statistics
from dataclasses import dataclass

from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter_process import MeasuringError, MeterProcess


@dataclass(frozen=True, slots=True)
class Reference:
    """A network whose time turns ratios into milliseconds.

    Choose one like the networks to be measured, of half to twice the target latency, of the same type and resolution.

    Attributes:
        model: its ONNX bytes.
        reference_ms: its time, frozen when the device was calibrated; positive and finite.
    """

    model: bytes
    reference_ms: float

    def __post_init__(self) -> None:
        if not 0 < self.reference_ms < math.inf:
            raise ValueError(f"reference_ms {self.reference_ms}: must be positive and finite")

    @property
    def sha256(self) -> str:
        """Of the model."""
        return hashlib.sha256(self.model).hexdigest()

    def latency(self, measurement: Measurement) -> Latency:
        """`measurement` in milliseconds: ratio times `reference_ms`.

        Raises:
            ValueError: it was measured against another reference.
        """
        if measurement.reference_sha256 != self.sha256:
            raise ValueError(f"measured against {measurement.reference_sha256[:12]}, this is {self.sha256[:12]}")
        low, high = measurement.interval
        return Latency(
            latency_ms=measurement.ratio * self.reference_ms,
            interval_ms=(low * self.reference_ms, high * self.reference_ms),
            ratio=measurement.ratio,
            ratio_interval=measurement.interval,
            status=measurement.status,
            source="measured",
            num_pairs=measurement.num_pairs,
            num_rejected=measurement.num_rejected,
            reason=measurement.reason,
        )


def calibrate(process: MeterProcess, model: bytes, num_sessions: int = 5) -> tuple[Reference, list[Measurement]]:
    """Freeze the time of `model`: the median over sessions of its median time, measured against itself.

    The ratios of these sessions should all be 1: together they are a small A/A test.

    Args:
        process: the process that will measure the candidates too.
        model: ONNX bytes.
        num_sessions: at least 1; about a second each.

    Returns:
        The reference, and the sessions for the record.

    Raises:
        MeasuringError: the model cannot be run.
        ValueError: no sessions.
    """
    if num_sessions < 1:
        raise ValueError(f"num_sessions {num_sessions} must be at least 1")
    sessions = [process.measure(model, model, seed=seed) for seed in range(num_sessions)]
    for session in sessions:
        if session.status == "failed":
            raise MeasuringError(f"cannot calibrate: {session.reason}")
    return Reference(model, statistics.median(session.reference_ms for session in sessions)), sessions
