"""From blocks of timed inferences to a ratio with an interval: pure statistics, no clock and no runtime.

A block is a few inferences of one network; a pair is a block of the candidate beside a block of the reference. The ratio
is the exponential of the median over pairs of log(candidate / reference): a drift of the machine hits both members of a
pair and cancels, and a burst of noise spoils single pairs, which the median ignores (Duet benchmarking, arXiv 2001.05811,
is the idea; here the two alternate instead of running side by side).

Pairs are rejected blind: no rule can see which of the two networks was slower, so rejecting cannot bias the ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from latency.latency import Status

MIN_CPU_RATIO = 0.97
"""A thread that had the core for less than this share of a block was interrupted."""

MAX_LEVEL_SHIFT = 0.10
"""Pairs whose common level is further than this from the session's median saw the machine in another state."""

MAX_REJECTED = 0.5
"""A session that lost more than this share of its pairs is unstable."""

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Block:
    """A few consecutive inferences of one network.

    Attributes:
        median_ns: median wall time of one inference; positive.
        num_inferences: how many were timed; at least 1.
        cpu_ratio: CPU time of the thread over wall time, about 1 when undisturbed; None where it cannot be read.
        involuntary_switches: times the kernel took the core away; recorded, not judged (most last microseconds).
        steal_ticks: clock ticks (10 ms) that the hypervisor gave to somebody else on this core; 0 where unknown.
    """

    median_ns: float
    num_inferences: int
    cpu_ratio: float | None = None
    involuntary_switches: int = 0
    steal_ticks: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.median_ns < math.inf:  # NaN fails this too
            raise ValueError(f"block median {self.median_ns} ns: must be positive and finite")

    @property
    def disturbed(self) -> bool:
        """Whether the core was not this thread's own. A block lasts a few ticks, so that one stolen is over 1 %."""
        return self.steal_ticks > 0 or (self.cpu_ratio is not None and self.cpu_ratio < MIN_CPU_RATIO)


@dataclass(frozen=True, slots=True)
class Pair:
    """A block of the candidate and the block of the reference taken right before or after it."""

    candidate: Block
    reference: Block

    def to_list(self) -> list[list[float | int | None]]:
        """Two rows, candidate and reference, each with the fields of `Block` in order."""
        return [list(astuple(self.candidate)), list(astuple(self.reference))]

    @classmethod
    def from_list(cls, rows: Sequence[Sequence[float | int | None]]) -> Pair:
        """Inverse of `to_list`.

        Raises:
            ValueError, TypeError: rows that no block has.
        """
        candidate, reference = (Block(*row) for row in rows)  # type: ignore[arg-type]
        return cls(candidate, reference)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio and how far to trust it; fields as in `latency.latency.Latency`."""

    ratio: float
    interval: tuple[float, float]
    status: Status
    num_pairs: int
    num_rejected: int
    reason: str | None = None

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of the log ratio: 0.01 means plus or minus 1 %."""
        low, high = self.interval
        return math.log(high / low) / 2 if math.isfinite(high) else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """When a ratio is good enough.

    Attributes:
        half_width: of the 95 % interval of the log ratio; in (0, 1).
        min_pairs: accepted pairs below which no interval is believed; at least 2.
    """

    half_width: float = 0.007
    min_pairs: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.half_width < 1 or self.min_pairs < 2:
            raise ValueError(
                f"half-width {self.half_width} must lie in (0, 1), min_pairs {self.min_pairs} be at least 2"
            )


def _columns(pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    candidate = np.log([pair.candidate.median_ns for pair in pairs])
    reference = np.log([pair.reference.median_ns for pair in pairs])
    return candidate, reference


def accepted(pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Which pairs the machine left in peace.

    Both members must be undisturbed, and the pair's level (geometric mean of its two times) within `MAX_LEVEL_SHIFT` of
    the median level of the undisturbed pairs. Exchanging candidate and reference changes nothing.
    """
    quiet = np.array([not (pair.candidate.disturbed or pair.reference.disturbed) for pair in pairs], bool)
    if not quiet.any():
        return quiet
    candidate, reference = _columns(pairs)
    level = (candidate + reference) / 2
    near: NDArray[np.bool_] = np.abs(level - np.median(level[quiet])) <= math.log1p(MAX_LEVEL_SHIFT)
    return quiet & near


def median_interval(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median of `values` (at least one)."""
    picks = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[picks], axis=1), (0.025, 0.975))
    return float(low), float(high)


def _verdict(estimate_half_width: float, num_used: int, num_rejected: int, goal: Goal) -> tuple[Status, str | None]:
    total = num_used + num_rejected
    if num_rejected > MAX_REJECTED * total:
        return "unstable", f"{num_rejected} of {total} pairs were disturbed"
    if num_used < goal.min_pairs:
        return "wide", f"{num_used} pairs, {goal.min_pairs} wanted"
    if estimate_half_width > goal.half_width:
        return "wide", f"half-width {estimate_half_width:.2%}, {goal.half_width:.2%} wanted"
    return "ok", None


def estimate(pairs: Sequence[Pair], rng: np.random.Generator, goal: Goal | None = None) -> Estimate:
    """The ratio candidate / reference from `pairs`, in any order.

    A pure function of pairs, generator state and goal: whoever holds the raw pairs gets the same figures. When every pair
    was disturbed the ratio comes from all of them, status ``unstable``.

    Raises:
        ValueError: no pairs.
    """
    if not pairs:
        raise ValueError("no pairs to estimate a ratio from")
    goal = goal or Goal()
    keep = accepted(pairs)
    num_rejected = int((~keep).sum())
    candidate, reference = _columns(pairs)
    log_ratios = (candidate - reference)[keep if keep.any() else slice(None)]
    centre = float(np.median(log_ratios))
    low, high = median_interval(log_ratios, rng)
    # A bootstrap of few values can miss the median by rounding; an interval that contains its value is an invariant.
    low, high = min(low, centre), max(high, centre)
    status, reason = _verdict((high - low) / 2, len(pairs) - num_rejected, num_rejected, goal)
    interval = (math.exp(low), math.exp(high))
    return Estimate(math.exp(centre), interval, status, len(pairs) - num_rejected, num_rejected, reason)
