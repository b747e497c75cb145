"""From blocks of timed inferences to a ratio with an interval: pure statistics, no clock and no runtime.

Levels, from small to large (Kalibera and Jones, ISMM 2013): a block is a few inferences of one network; a pair is a block
of the candidate beside a block of the reference; a session is the pairs taken between two loadings of both networks; a
process runs some sessions. The ratio is estimated pair by pair, so that whatever the machine does slowly happens to both
networks (Duet benchmarking, arXiv 2001.05811, is the idea; here the two alternate instead of running side by side).

* A block counts with its fastest inference: neighbours only ever add time, and what they add is not the network's.
* Pairs are rejected blind: no rule can see which of the two networks was slower.
* A session's log ratio is the Hodges-Lehmann average of its pairs, a process's that of its sessions, and the result that
  of the processes.
* The spread of sessions makes the interval. A session draws its memory layout anew; repeating pairs without loading again
  looks certain and is not.
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

MAX_LEVEL_SHIFT = 0.08
"""Pairs slower than the quieter quarter's by more than this saw the machine busy with something else."""

MAX_DISTURBED = 0.5
"""A measurement that was interrupted in more than this share of its pairs is unstable."""

_PRIOR_WEIGHT = 4
_NORMAL_QUANTILE = 1.959964  # 97.5 %


@dataclass(frozen=True, slots=True)
class Block:
    """A few consecutive inferences of one network.

    Attributes:
        fastest_ns: shortest wall time of an inference; positive.
        median_ns: median one.
        num_inferences: how many were timed; at least 1.
        cpu_ratio: CPU time over wall time, about 1 when undisturbed; None where it cannot be read.
        involuntary_switches: times the kernel took the core away; recorded, not judged (most last microseconds).
        steal_ticks: clock ticks (10 ms) that the hypervisor gave to somebody else on this core; 0 where unknown.
    """

    fastest_ns: float
    median_ns: float
    num_inferences: int
    cpu_ratio: float | None = None
    involuntary_switches: int = 0
    steal_ticks: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fastest_ns <= self.median_ns < math.inf:  # NaN fails this too
            raise ValueError(
                f"block of {self.fastest_ns} ns at best, {self.median_ns} ns in the median: must be positive, in order"
            )

    @property
    def disturbed(self) -> bool:
        """Whether the core was not this thread's own. A block lasts a few ticks, so that one stolen is over 1 %."""
        return self.steal_ticks > 0 or (self.cpu_ratio is not None and self.cpu_ratio < MIN_CPU_RATIO)


@dataclass(frozen=True, slots=True)
class Pair:
    """A block of the candidate and the block of the reference taken right before or after it."""

    candidate: Block
    reference: Block

    @property
    def disturbed(self) -> bool:
        """Whether either block was."""
        return self.candidate.disturbed or self.reference.disturbed

    @property
    def log_ratio(self) -> float:
        """Logarithm of candidate over reference."""
        return math.log(self.candidate.fastest_ns / self.reference.fastest_ns)

    @property
    def level(self) -> float:
        """Logarithm of the geometric mean of the two times; symmetric, so that it cannot see which was slower."""
        return math.log(self.candidate.fastest_ns * self.reference.fastest_ns) / 2

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


Session = tuple[Pair, ...]
"""Pairs taken between two loadings of both networks, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What is known of a device's noise before measuring; standard deviations of log ratios, not negative.

    Attributes:
        session_sd: of sessions of one process.
        process_sd: of processes and minutes, over and above that of their sessions.
    """

    session_sd: float = 0.008
    process_sd: float = 0.003

    def __post_init__(self) -> None:
        if not (0 <= self.session_sd < math.inf and 0 <= self.process_sd < math.inf):
            raise ValueError(f"standard deviations must be finite and not negative: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """When a ratio is good enough.

    Attributes:
        half_width: of the 95 % interval of the log ratio within the process; in (0, 1).
        min_sessions: below which no interval is believed; at least 2.
        spread: of the device.
    """

    half_width: float = 0.007
    min_sessions: int = 3
    spread: Spread = Spread()

    def __post_init__(self) -> None:
        if not 0 < self.half_width < 1 or self.min_sessions < 2:
            raise ValueError(
                f"half-width {self.half_width} must lie in (0, 1), min_sessions {self.min_sessions} be at least 2"
            )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio and how far to trust it; fields as in `latency.latency.Latency`."""

    ratio: float
    interval: tuple[float, float]
    status: Status
    num_pairs: int
    num_rejected: int
    reason: str | None = None


def hodges_lehmann(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Median of the means of all pairs of `values` (at least one), each with itself included.

    As robust as a median needs to be here, and nearly as efficient as the mean (Hodges and Lehmann, 1963).
    """
    numbers = np.asarray(values, np.float64)
    first, second = np.triu_indices(len(numbers))
    return float(np.median((numbers[first] + numbers[second]) / 2))


def t_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t for at least 2 degrees of freedom, to 4 % at 2 and 1 % from 3 on.

    Cornish-Fisher expansion (Abramowitz and Stegun, 26.7.5): devices have numpy but not scipy.
    """
    z, n = _NORMAL_QUANTILE, degrees
    terms = (
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return z + sum(terms)


def accepted_pairs(sessions: Sequence[Session]) -> list[NDArray[np.bool_]]:
    """Which pairs the machine left in peace, a mask for each session of a process.

    Neither block may be disturbed, and the pair's level may exceed the lower quartile of the undisturbed levels of all
    sessions by at most `MAX_LEVEL_SHIFT`. Exchanging candidate and reference changes nothing.
    """
    levels = [pair.level for session in sessions for pair in session if not pair.disturbed]
    if not levels:
        return [np.zeros(len(session), bool) for session in sessions]
    limit = float(np.quantile(levels, 0.25)) + math.log1p(MAX_LEVEL_SHIFT)
    return [np.array([not p.disturbed and p.level <= limit for p in session], bool) for session in sessions]


@dataclass(frozen=True, slots=True)
class _Process:
    """Log ratios of the sessions of one process, from accepted pairs; of all pairs where none was accepted."""

    sessions: tuple[float, ...]
    num_pairs: int
    num_accepted: int
    num_disturbed: int

    @classmethod
    def of(cls, sessions: Sequence[Session]) -> _Process:
        masks = accepted_pairs(sessions)
        num_accepted = sum(int(mask.sum()) for mask in masks)
        logs = []
        for session, mask in zip(sessions, masks, strict=True):
            used = [p.log_ratio for p, kept in zip(session, mask, strict=True) if kept or not num_accepted]
            if used:
                logs.append(hodges_lehmann(used))
        num_pairs = sum(map(len, sessions))
        disturbed = sum(pair.disturbed for session in sessions for pair in session)
        if not logs:
            raise ValueError("no pairs: at least one is needed")
        return cls(tuple(logs), num_pairs, num_accepted, disturbed)

    @property
    def centre(self) -> float:
        return hodges_lehmann(self.sessions)

    def variance(self, spread: Spread) -> float:
        """Of `centre`, from the sessions' own spread and what is known of the device, with the weight of 4 sessions."""
        n = len(self.sessions)
        squares = float(np.sum((np.array(self.sessions) - np.mean(self.sessions)) ** 2))
        return (_PRIOR_WEIGHT * spread.session_sd**2 + squares) / (_PRIOR_WEIGHT + n - 1) / n


def session_log_ratios(sessions: Sequence[Session]) -> tuple[float, ...]:
    """Log ratio of each session of a process that has accepted pairs; of all sessions where no pair was accepted."""
    return _Process.of(sessions).sessions


def reached(sessions: Sequence[Session], goal: Goal) -> bool:
    """Whether a process may stop."""
    return len(sessions) >= goal.min_sessions and _verdict([_Process.of(sessions)], goal)[0] == "ok"


def half_width(sessions: Sequence[Session], spread: Spread) -> float:
    """Half the 95 % interval of the log ratio as far as one process can tell: without the variance between processes."""
    return _interval([_Process.of(sessions)], Spread(session_sd=spread.session_sd, process_sd=0.0))[1]


def _interval(processes: Sequence[_Process], spread: Spread) -> tuple[float, float]:
    """Centre and half-width of the log ratio."""
    centres = np.array([process.centre for process in processes])
    n = len(centres)
    expected = spread.process_sd**2 + float(np.mean([process.variance(spread) for process in processes]))
    variance = (_PRIOR_WEIGHT * expected + float(np.sum((centres - centres.mean()) ** 2))) / (_PRIOR_WEIGHT + n - 1) / n
    degrees = _PRIOR_WEIGHT + max(n, min(len(process.sessions) for process in processes)) - 1
    return hodges_lehmann(centres), t_quantile(degrees) * math.sqrt(variance)


def _verdict(processes: Sequence[_Process], goal: Goal) -> tuple[Status, str | None]:
    num_pairs = sum(process.num_pairs for process in processes)
    disturbed = sum(process.num_disturbed for process in processes)
    processes = [process for process in processes if process.num_accepted] or processes
    if disturbed > MAX_DISTURBED * num_pairs:
        return "unstable", f"{disturbed} of {num_pairs} pairs were disturbed"
    fewest = min(len(process.sessions) for process in processes)
    if fewest < goal.min_sessions:
        return "wide", f"{fewest} sessions, {goal.min_sessions} wanted"
    within = Spread(
        session_sd=goal.spread.session_sd, process_sd=0.0 if len(processes) == 1 else goal.spread.process_sd
    )
    half = _interval(processes, within)[1]
    if half > goal.half_width:
        return "wide", f"half-width {half:.2%}, {goal.half_width:.2%} wanted"
    return "ok", None


def estimate(processes: Sequence[Sequence[Session]], goal: Goal | None = None) -> Estimate:
    """The ratio candidate / reference from the sessions of one process or of several.

    A pure function: whoever holds the raw pairs gets the same figures. The interval includes the variance between
    processes; ``ok`` and ``wide`` are judged without it where there is only one. A process whose pairs were all rejected does
    not count; where that holds for all, the ratio comes from all pairs, status ``unstable``.

    Raises:
        ValueError: a process without pairs, or no process.
    """
    goal = goal or Goal()
    if not processes:
        raise ValueError("no process: at least one is needed")
    runs = [_Process.of(sessions) for sessions in processes]
    used = [run for run in runs if run.num_accepted] or runs
    centre, half = _interval(used, goal.spread)
    status, reason = _verdict(runs, goal)
    num_accepted = sum(run.num_accepted for run in runs)
    num_rejected = sum(run.num_pairs for run in runs) - num_accepted
    interval = math.exp(centre - half), math.exp(centre + half)
    return Estimate(math.exp(centre), interval, status, num_accepted, num_rejected, reason)
