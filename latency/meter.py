"""Times a candidate against the reference, inside the process that measures.

A process measures in sessions: load both networks, warm them up, then short blocks of each in turn. Within a session the
alternation cancels what the machine does slowly; from session to session the networks lie elsewhere in memory, so that the
spread of sessions tells how far one session can be trusted. Loading takes some 20 ms and is worth it: beside
busy neighbours four short sessions repeated twice as well as a long one of the same time (docs/latency.md).
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from latency.estimator import Block, Goal, Pair, Session, Spread, half_width, reached
from latency.system_clock import Clock

Run = Callable[[], None]
"""One inference."""

Load = Callable[[], Run]
"""Load a network anew; it lives as long as what is returned."""

_STEADY_WINDOW = 5
_STEADY_SPREAD = 1.05
_NUM_PADS = 8
_MAX_PAD_BYTES = 1 << 16
_BAD_MOMENT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """How long to measure.

    Attributes:
        goal: when the ratio is good enough to stop.
        budget_s: stop anyway after this long, loading included; positive. Exceeded by one session at most; twice as long
            where the half-width is still over twice the goal's, for some measurements hit a bad moment.
        session_s: aimed duration of a session's blocks; at least two pairs.
        refill_s: untimed inferences after each change of network, at least one: they load the caches again. Measured on
            MobileNetV2 against itself, the first inference is 9 % slower than the tenth, the second 4 %, the fourth 1 %.
        block_s: aimed duration of a block.
        min_inferences: timed inferences in a block of networks that take longer than a share of `block_s`,
        max_block_s: as long as this is not exceeded by it.
        warmup_s: shortest warm-up after loading.
        max_warmup_s: longest, for a network whose times do not settle.
    """

    goal: Goal = field(default_factory=Goal)
    budget_s: float = 1.15
    session_s: float = 0.14
    refill_s: float = 0.005
    block_s: float = 0.015
    max_block_s: float = 0.060
    min_inferences: int = 4
    warmup_s: float = 0.015
    max_warmup_s: float = 0.5

    def __post_init__(self) -> None:
        names = ("budget_s", "session_s", "refill_s", "block_s", "max_block_s", "warmup_s", "max_warmup_s")
        durations = [getattr(self, name) for name in names]
        if not all(0 < duration < math.inf for duration in durations) or self.min_inferences < 1:
            raise ValueError(f"durations must be positive and finite, inferences at least 1: {self}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MeterSettings:
        """Inverse of `to_dict`.

        Raises:
            TypeError: unknown fields.
            ValueError: as the class.
        """
        goal = {**data["goal"], "spread": Spread(**data["goal"]["spread"])}
        return cls(**{**data, "goal": Goal(**goal)})

    def block_size(self, inference_ns: float) -> int:
        """Inferences in a block of a network that takes `inference_ns`; at least 1."""
        wanted = max(self.min_inferences, math.ceil(self.block_s * 1e9 / inference_ns))
        return max(1, min(wanted, int(self.max_block_s * 1e9 / inference_ns)))

    def refill_size(self, inference_ns: float) -> int:
        """Untimed inferences before a block; at least 1."""
        return max(1, math.ceil(self.refill_s * 1e9 / inference_ns))


@dataclass(frozen=True, slots=True)
class Grade:
    """How carefully a network is measured.

    Attributes:
        settings: of each process.
        num_processes: 1 uses the process that is there; more are started afresh, one after the other.
    """

    settings: MeterSettings
    num_processes: int = 1

    def __post_init__(self) -> None:
        if self.num_processes < 1:
            raise ValueError(f"num_processes {self.num_processes} must be at least 1")


GRADES = {
    "search": Grade(MeterSettings()),
    "final": Grade(MeterSettings(goal=Goal(half_width=0.005, min_sessions=4), budget_s=2.2), num_processes=5),
}
"""About 1.3 seconds a network, and about 14."""


def warm_up(run: Run, clock: Clock, shortest_s: float, longest_s: float) -> float:
    """Run until times settle: at least 5 inferences and `shortest_s`, the last 5 within 5 % of each other.

    Returns:
        Median of the last 5 times, in nanoseconds; of fewer when `longest_s` was over before.
    """
    durations: list[int] = []
    start = now = clock.wall_ns()
    while True:
        run()
        previous, now = now, clock.wall_ns()
        durations.append(max(1, now - previous))  # a clock of coarse steps may read 0
        last = durations[-_STEADY_WINDOW:]
        steady = len(last) == _STEADY_WINDOW and max(last) <= _STEADY_SPREAD * min(last)
        if (steady and now - start >= shortest_s * 1e9) or now - start >= longest_s * 1e9:
            return statistics.median(last)


def take_block(run: Run, num_inferences: int, clock: Clock) -> Block:
    """Time `num_inferences`, at least 1."""
    switches_before, stolen_before = clock.interruptions()
    durations: list[int] = []
    cpu_before = clock.cpu_ns()
    start = now = clock.wall_ns()
    for _ in range(num_inferences):
        run()
        previous, now = now, clock.wall_ns()
        durations.append(now - previous)
    cpu_after = clock.cpu_ns()
    switches, stolen = clock.interruptions()
    cpu_ratio = None
    if cpu_before is not None and cpu_after is not None and now > start:
        cpu_ratio = round((cpu_after - cpu_before) / (now - start), 4)
    return Block(
        fastest_ns=max(1.0, min(durations)),
        median_ns=max(1.0, statistics.median(durations)),
        num_inferences=num_inferences,
        cpu_ratio=cpu_ratio,
        involuntary_switches=switches - switches_before,
        steal_ticks=stolen - stolen_before,
    )


@dataclass(frozen=True, slots=True)
class _Network:
    """How to run one of the two, in blocks of its own size."""

    run: Run
    refill: int
    size: int

    @classmethod
    def warmed_up(cls, run: Run, clock: Clock, settings: MeterSettings) -> _Network:
        inference_ns = warm_up(run, clock, settings.warmup_s, min(settings.max_warmup_s, settings.budget_s / 2))
        return cls(run, settings.refill_size(inference_ns), settings.block_size(inference_ns))

    def block(self, clock: Clock) -> Block:
        for _ in range(self.refill):
            self.run()
        return take_block(self.run, self.size, clock)


def _take_session(
    load_candidate: Load, load_reference: Load, clock: Clock, settings: MeterSettings, reference_first: bool
) -> Session:
    """One session; the order of loading and of the blocks in a pair alternates, so that a drift cancels over sessions."""
    if reference_first:
        second_run, first_run = load_reference(), load_candidate()
    else:
        first_run, second_run = load_candidate(), load_reference()
    candidate, reference = (_Network.warmed_up(run, clock, settings) for run in (first_run, second_run))
    deadline = clock.wall_ns() + settings.session_s * 1e9
    pairs: list[Pair] = []
    while len(pairs) < 2 or clock.wall_ns() < deadline:
        if reference_first:
            other = reference.block(clock)
            pairs.append(Pair(candidate.block(clock), other))
        else:
            pairs.append(Pair(candidate.block(clock), reference.block(clock)))
    return tuple(pairs)


def take_sessions(
    load_candidate: Load, load_reference: Load, clock: Clock, settings: MeterSettings, seed: int
) -> list[Session]:
    """Sessions until the goal is met or the budget is over; at least one.

    Args:
        load_candidate: loads the network in question.
        load_reference: loads the reference.
        clock: what to read.
        settings: when to stop.
        seed: draws blocks of memory that are held during a session, so that the networks come to lie elsewhere.
    """
    rng = np.random.default_rng(seed)
    budget_ns = settings.budget_s * 1e9
    deadline = clock.wall_ns() + budget_ns
    sessions: list[Session] = []
    while True:
        pads = [bytearray(int(size)) for size in rng.integers(1, _MAX_PAD_BYTES, _NUM_PADS)]
        sessions.append(_take_session(load_candidate, load_reference, clock, settings, len(sessions) % 2 == 1))
        del pads
        now = clock.wall_ns()
        if reached(sessions, settings.goal) or now >= deadline + budget_ns:
            return sessions
        if now >= deadline and half_width(sessions, settings.goal.spread) <= _BAD_MOMENT * settings.goal.half_width:
            return sessions


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not again until the end."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
