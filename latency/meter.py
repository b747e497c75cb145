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
        budget_s: stop anyway after this long, warm-up included; positive. Exceeded by one pair at most.
        block_s: aimed duration of a block.
        max_block_s: a block of few, long inferences has fewer than `min_inferences` rather than lasting longer.
        min_inferences: timed inferences in a block of short ones.
        warmup_s: shortest warm-up of a network that has not run yet.
        max_warmup_s: longest, for one whose times do not settle.
    """

    goal: Goal = field(default_factory=Goal)
    budget_s: float = 3.0
    block_s: float = 0.020
    max_block_s: float = 0.050
    min_inferences: int = 5
    warmup_s: float = 0.100
    max_warmup_s: float = 1.0

    def __post_init__(self) -> None:
        durations = (self.budget_s, self.block_s, self.max_block_s, self.warmup_s, self.max_warmup_s)
        if not all(0 < duration < math.inf for duration in durations) or self.min_inferences < 1:
            raise ValueError(f"durations must be positive and finite, inferences at least 1: {self}")

    def block_size(self, inference_ns: float) -> int:
        """Inferences in a block of a network that takes `inference_ns`; at least 1."""
        wanted = max(self.min_inferences, math.ceil(self.block_s * 1e9 / inference_ns))
        return max(1, min(wanted, int(self.max_block_s * 1e9 / inference_ns)))


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
    """Time `num_inferences`, after one untimed that refills the caches the other network has used."""
    run()
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
    known = cpu_before is not None and cpu_after is not None and now > start
    return Block(
        median_ns=max(1.0, statistics.median(durations)),
        num_inferences=num_inferences,
        cpu_ratio=round((cpu_after - cpu_before) / (now - start), 4) if known else None,  # type: ignore[operator]
        involuntary_switches=switches - switches_before,
        steal_ticks=stolen - stolen_before,
    )


def take_pairs(candidate: Run, reference: Run, clock: Clock, settings: MeterSettings, seed: int) -> list[Pair]:
    """Pairs of blocks in A B B A order until the goal is met or the budget is over; at least one pair.

    Args:
        candidate: one inference of the network in question.
        reference: one inference of the reference, which has run before: its warm-up is short.
        clock: what to read.
        settings: when to stop.
        seed: of the bootstrap that decides whether the goal is met; `estimate` with a generator of the same seed
            reaches the same verdict.
    """
    deadline = clock.wall_ns() + settings.budget_s * 1e9
    longest_s = min(settings.max_warmup_s, settings.budget_s / 2)
    num_reference = settings.block_size(warm_up(reference, clock, settings.block_s, longest_s))
    num_candidate = settings.block_size(warm_up(candidate, clock, settings.warmup_s, longest_s))
    pairs: list[Pair] = []
    while True:
        if len(pairs) % 2 == 0:
            candidate_block = take_block(candidate, num_candidate, clock)
            reference_block = take_block(reference, num_reference, clock)
        else:
            reference_block = take_block(reference, num_reference, clock)
            candidate_block = take_block(candidate, num_candidate, clock)
        pairs.append(Pair(candidate_block, reference_block))
        if clock.wall_ns() >= deadline or _good_enough(pairs, settings.goal, seed):
            return pairs


def _good_enough(pairs: list[Pair], goal: Goal, seed: int) -> bool:
    # Only whole A B B A groups, so that a difference between going first and second favours neither network.
    if len(pairs) < goal.min_pairs or len(pairs) % 2:
        return False
    return verdict(pairs, goal, seed).status == "ok"


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
