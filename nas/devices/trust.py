"""Whether to believe a device: what no honest measurement looks like, and what a device must show of itself."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from latency.measurement import Measurement
from latency.meter import MeterSettings

_CLOCK_TOLERANCE = 1.05  # a board's clock against ours
_LEAST_BLOCK = 1 / 20  # of the aimed duration: the first blocks of a network that warms up slowly fall short threefold


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How much is believed.

    A check is an A/A test: the yardstick, a network of the server's, measured against itself.

    Attributes:
        min_ratio: smallest ratio that a check may have, and a job without a second device that says so; in (0, 1).
        max_ratio: largest; above 1.
        max_factor: a job's reference may take this many times its frozen time, or be as many times faster; above 1. Ratios
            cancel the drift of a machine, so that this is wide; beyond it the device tells of another machine.
        max_drift: a job whose reference drifted more than this brings a check on, and a check that did fails; above 0.
        max_log_ratio: a check whose ratio is further than this from 1 failed; above 0.
        bad_checks: checks in a row with such a ratio that quarantine; at least 1.
        check_every_jobs: a check after so many jobs; at least 1.
        check_every_s: and after so long, when the device next asks for work; positive.
        recheck_s: a quarantined device is checked this often; positive.
    """

    min_ratio: float = 0.002
    max_ratio: float = 500.0
    max_factor: float = 3.0
    max_drift: float = 0.20
    max_log_ratio: float = 0.03
    bad_checks: int = 2
    check_every_jobs: int = 50
    check_every_s: float = 1800.0
    recheck_s: float = 60.0


def implausible(
    measurement: Measurement,
    settings: MeterSettings,
    expected_ms: float | None,
    elapsed_s: float | None,
    trust: Trust,
) -> str | None:
    """Why a measurement with values cannot be what a device saw; None where it can.

    Args:
        measurement: as analysed here; not a failed one.
        settings: that it was asked for with; a block aims at a duration, so that its times are no free choice.
        expected_ms: frozen time of the reference; None where there is none yet.
        elapsed_s: by the server's clock, from lease to result; None where unknown.
        trust: the limits.
    """
    pairs = [pair for session in measurement.sessions for pair in session]
    timed_s = sum(b.median_ns * b.num_inferences for pair in pairs for b in (pair.candidate, pair.reference)) / 1e9
    if elapsed_s is not None and timed_s > elapsed_s * _CLOCK_TOLERANCE:
        return f"it claims {timed_s:.3g} s of inferences within {elapsed_s:.3g} s"
    least_s = min(settings.block_s, settings.max_block_s) * _LEAST_BLOCK
    for role, blocks in (("candidate", [p.candidate for p in pairs]), ("reference", [p.reference for p in pairs])):
        block_s = statistics.median(block.fastest_ns * block.num_inferences for block in blocks) / 1e9
        if block_s < least_s:
            return f"blocks of the {role} last {block_s:.2g} s, at least {least_s:.2g} s by the settings"
    if expected_ms is not None:
        factor = measurement.reference_ms / expected_ms
        if not 1 / trust.max_factor <= factor <= trust.max_factor:
            return f"the reference took {measurement.reference_ms:.3g} ms, {factor:.3g} times its frozen time"
    return None


def extreme(measurement: Measurement, trust: Trust) -> Literal["too_slow", "too_fast"] | None:
    """On which side the ratio is outside `trust.min_ratio` to `trust.max_ratio`; None within.

    No proof of a lie: a candidate may be a thousand times the reference's size. Whoever else measures it will tell.
    """
    if measurement.ratio > trust.max_ratio:
        return "too_slow"
    return "too_fast" if measurement.ratio < trust.min_ratio else None


def drifted(measurement: Measurement, expected_ms: float | None, trust: Trust) -> bool:
    """Whether the reference's time is further than `trust.max_drift` from its frozen time, where there is one."""
    return expected_ms is not None and abs(measurement.reference_ms / expected_ms - 1) > trust.max_drift


def skewed(measurement: Measurement, trust: Trust) -> bool:
    """Whether an A/A test's ratio is further than `trust.max_log_ratio` from 1."""
    return abs(math.log(measurement.ratio)) > trust.max_log_ratio
