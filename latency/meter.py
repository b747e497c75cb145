"""Times a candidate against the reference, inside the process that measures.

A session goes A B B A: each network runs a short block in turn, so that whatever the machine does slowly happens to both.
Order and length of blocks: Kalibera and Jones (ISMM 2013) for the levels, and Duet (arXiv 2001.05811) for comparing what
ran at the same time; one inference a block would be best against noise, but would time an evicted cache.
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from latency.estimator import Block, Estimate, Goal, Pair, estimate
from latency.system_clock import Clock

Run = Callable[[], None]
"""One inference."""

_STEADY_WINDOW = 5
_STEADY_SPREAD = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """How long to measure.

    Attributes:
        goal: when the ratio is good enough to stop.
        budget_s: stop anyway after this long, warm-up included; positive. Exceeded by one round at most.
        refill_s: untimed inferences after each change of network, at least one: they load the caches again. Measured on
            MobileNetV2 against itself, the first inference is 9 % slower than the tenth, the second 4 %, the fourth 1 %.
        block_s: aimed duration of a block.
        max_block_s: a block of few, long inferences has fewer than `min_inferences` rather than lasting longer.
        min_inferences: timed inferences in a block of short ones.
        warmup_s: shortest warm-up of a network that has not run yet.
        max_warmup_s: longest, for one whose times do not settle.
    """

    goal: Goal = field(default_factory=Goal)
    budget_s: float = 3.0
    refill_s: float = 0.010
    block_s: float = 0.020
    max_block_s: float = 0.050
    min_inferences: int = 5
    warmup_s: float = 0.100
    max_warmup_s: float = 1.0

    def __post_init__(self) -> None:
        durations = (self.budget_s, self.refill_s, self.block_s, self.max_block_s, self.warmup_s, self.max_warmup_s)
        if not all(0 < duration < math.inf for duration in durations) or self.min_inferences < 1:
            raise ValueError(f"durations must be positive and finite, inferences at least 1: {self}")

    def block_size(self, inference_ns: float) -> int:
        """Inferences in a block of a network that takes `inference_ns`; at least 1."""
        wanted = max(self.min_inferences, math.ceil(self.block_s * 1e9 / inference_ns))
        return max(1, min(wanted, int(self.max_block_s * 1e9 / inference_ns)))

    def refill_size(self, inference_ns: float) -> int:
        """Untimed inferences before a block that follows the other network's; at least 1."""
        return max(1, math.ceil(self.refill_s * 1e9 / inference_ns))


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
    def warmed_up(cls, run: Run, clock: Clock, settings: MeterSettings, shortest_s: float) -> _Network:
        inference_ns = warm_up(run, clock, shortest_s, min(settings.max_warmup_s, settings.budget_s / 2))
        return cls(run, settings.refill_size(inference_ns), settings.block_size(inference_ns))

    def two_blocks(self, clock: Clock) -> tuple[Block, Block]:
        for _ in range(self.refill):
            self.run()
        return take_block(self.run, self.size, clock), take_block(self.run, self.size, clock)


def take_pairs(candidate: Run, reference: Run, clock: Clock, settings: MeterSettings, seed: int) -> list[Pair]:
    """Pairs of blocks, two a round, until the goal is met or the budget is over; at least one round.

    The blocks run as A | B B | A A | B B | A: every change of network is followed by two blocks of it, so that a round
    A B B A takes the candidate once right after a change and once later, and the reference likewise.

    Args:
        candidate: one inference of the network in question.
        reference: one inference of the reference, which has run before: its warm-up is short.
        clock: what to read.
        settings: when to stop.
        seed: of the bootstrap that decides whether the goal is met; `verdict` with the same seed agrees.
    """
    deadline = clock.wall_ns() + settings.budget_s * 1e9
    b = _Network.warmed_up(reference, clock, settings, settings.block_s)
    a = _Network.warmed_up(candidate, clock, settings, settings.warmup_s)
    pairs: list[Pair] = []
    _, first = a.two_blocks(clock)
    while True:
        pair_blocks = b.two_blocks(clock)
        last, following = a.two_blocks(clock)
        pairs += [Pair(first, pair_blocks[0]), Pair(last, pair_blocks[1])]
        first = following
        enough = len(pairs) >= settings.goal.min_pairs and verdict(pairs, settings.goal, seed).status == "ok"
        if enough or clock.wall_ns() >= deadline:
            return pairs


def verdict(pairs: list[Pair], goal: Goal, seed: int) -> Estimate:
    """`estimate` with a fresh generator of `seed`: the meter's and the client's figures are the same to the bit."""
    return estimate(pairs, np.random.default_rng(seed), goal)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not again until the end."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
