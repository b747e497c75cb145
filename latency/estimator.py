"""From blocks of timed inferences to a ratio with an interval: pure statistics, no clock and no runtime.

A block is a few inferences of one network; a pair is a block of the candidate beside a block of the reference; a round is
two pairs in the order A B B A. The ratio is the exponential of the median over rounds of log(candidate / reference): a
drift of the machine hits both networks and cancels, and a burst of noise spoils single rounds, which the median ignores
(Duet benchmarking, arXiv 2001.05811, is the idea; here the two alternate instead of running side by side).

Why rounds: the block after a change of network runs on the other's cache, and is 1 to 3 % slower than the next one. Each
pair has one of each kind, so that single pairs spread around two values; in the mean of a round's two pairs this cancels.

Rounds are rejected blind: no rule can see which of the two networks was slower, so rejecting cannot bias the ratio.
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
"""Rounds with a pair whose common level is further than this from the session's median saw the machine in another state."""

MAX_REJECTED = 0.5
"""A session that lost more than this share of its rounds is unstable."""

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
    """A block of the candidate and the block of the reference taken right before or after it; half a round."""

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
        min_pairs: accepted pairs, two a round, below which no interval is believed; at least 2.
    """

    half_width: float = 0.007
    min_pairs: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.half_width < 1 or self.min_pairs < 2:
            raise ValueError(
                f"half-width {self.half_width} must lie in (0, 1), min_pairs {self.min_pairs} be at least 2"
            )


def _logs(pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log times of candidate and reference, each of shape (rounds, 2)."""
    if not pairs or len(pairs) % 2:
        raise ValueError(f"{len(pairs)} pairs: whole rounds of two are needed, at least one")
    candidate = np.log([pair.candidate.median_ns for pair in pairs])
    reference = np.log([pair.reference.median_ns for pair in pairs])
    return candidate.reshape(-1, 2), reference.reshape(-1, 2)


def accepted_rounds(pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Which rounds the machine left in peace.

    None of the four blocks may be disturbed, and either pair's level (geometric mean of its two times) must be within
    `MAX_LEVEL_SHIFT` of the median level of undisturbed rounds. Exchanging candidate and reference changes nothing.

    Raises:
        ValueError: no pairs, or an odd number.
    """
    candidate, reference = _logs(pairs)
    disturbed = np.array([pair.candidate.disturbed or pair.reference.disturbed for pair in pairs], bool)
    quiet = np.logical_not(disturbed.reshape(-1, 2).any(axis=1))
    if not quiet.any():
        return quiet
    level = (candidate + reference) / 2
    shift: NDArray[np.float64] = np.abs(level - np.median(level[quiet])).max(axis=1)
    return np.logical_and(quiet, shift <= math.log1p(MAX_LEVEL_SHIFT))


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
    """The ratio candidate / reference from `pairs`, in the order taken.

    A pure function of pairs, generator state and goal: whoever holds the raw pairs gets the same figures. When every round
    was disturbed the ratio comes from all of them, status ``unstable``.

    Raises:
        ValueError: no pairs, or an odd number.
    """
    goal = goal or Goal()
    keep = accepted_rounds(pairs)
    candidate, reference = _logs(pairs)
    log_ratios = (candidate - reference).mean(axis=1)[keep if keep.any() else slice(None)]
    centre = float(np.median(log_ratios))
    low, high = median_interval(log_ratios, rng)
    # A bootstrap of few values can miss the median by rounding; an interval that contains its value is an invariant.
    low, high = min(low, centre), max(high, centre)
    num_used = 2 * int(keep.sum())
    num_rejected = len(pairs) - num_used
    status, reason = _verdict((high - low) / 2, num_used, num_rejected, goal)
    return Estimate(math.exp(centre), (math.exp(low), math.exp(high)), status, num_used, num_rejected, reason)
