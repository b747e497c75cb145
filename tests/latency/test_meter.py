from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from latency.estimator import Goal
from latency.meter import MeterSettings, no_garbage_collection, take_block, take_pairs, verdict, warm_up
from latency.system_clock import SystemClock


@dataclass
class FakeMachine:
    """Time passes only when a network runs; `slowness(now_ns)` multiplies its duration."""

    slowness: Callable[[int], float] = lambda now: 1.0
    cpu_share: float = 1.0
    now: int = 0
    cpu: float = 0
    log: list[str] = field(default_factory=list)

    def network(self, name: str, inference_ns: int) -> Callable[[], None]:
        def run() -> None:
            duration = int(inference_ns * self.slowness(self.now))
            self.now += duration
            self.cpu += duration * self.cpu_share
            self.log.append(name)

        return run

    def wall_ns(self) -> int:
        return self.now

    def cpu_ns(self) -> int:
        return int(self.cpu)

    def interruptions(self) -> tuple[int, int]:
        return 0, 0

    def runs(self) -> list[tuple[str, int]]:
        """The log as (network, successive inferences)."""
        found: list[tuple[str, int]] = []
        for name in self.log:
            if found and found[-1][0] == name:
                found[-1] = (name, found[-1][1] + 1)
            else:
                found.append((name, 1))
        return found


MS = 1_000_000


def test_quiet_machine_gives_the_true_ratio_with_the_fewest_pairs() -> None:
    machine = FakeMachine()
    pairs = take_pairs(machine.network("a", 6 * MS), machine.network("b", 4 * MS), machine, MeterSettings(), seed=0)
    assert len(pairs) == 16
    assert verdict(pairs, Goal(), seed=0).ratio == pytest.approx(1.5, rel=1e-12)


def test_order_is_a_bb_aa_bb_a() -> None:
    machine = FakeMachine()
    settings = MeterSettings(goal=Goal(min_pairs=4))
    take_pairs(machine.network("a", 5 * MS), machine.network("b", 5 * MS), machine, settings, seed=0)
    # b: warm-up of 5; a: warm-up of 20, then refill 2 and two blocks of 5; afterwards 12 each time
    assert machine.runs() == [("b", 5), ("a", 32), ("b", 12), ("a", 12), ("b", 12), ("a", 12)]


def test_block_sizes() -> None:
    settings = MeterSettings()
    assert settings.block_size(1 * MS) == 20  # 20 ms
    assert settings.block_size(7 * MS) == 5  # at least 5
    assert settings.block_size(20 * MS) == 2  # at most 50 ms
    assert settings.block_size(900 * MS) == 1
    assert (settings.refill_size(3 * MS), settings.refill_size(900 * MS)) == (4, 1)


def test_drift_cancels_where_sequential_measuring_is_off() -> None:
    machine = FakeMachine(slowness=lambda now: 1 + 0.05 * now / 1e9)  # 5 % a second
    pairs = take_pairs(machine.network("a", 3 * MS), machine.network("b", 3 * MS), machine, MeterSettings(), seed=0)
    assert pairs[-1].reference.median_ns / pairs[0].reference.median_ns > 1.03
    assert verdict(pairs, Goal(), seed=0).ratio == pytest.approx(1, abs=1e-4)


def test_budget_ends_an_endless_quarrel() -> None:
    period = 37 * MS
    machine = FakeMachine(slowness=lambda now: 1 + 0.08 * (now // period % 2))
    settings = MeterSettings(goal=Goal(half_width=1e-6), budget_s=1)
    pairs = take_pairs(machine.network("a", 5 * MS), machine.network("b", 5 * MS), machine, settings, seed=0)
    assert 1e9 <= machine.now < 1.3e9
    assert verdict(pairs, settings.goal, seed=0).status == "wide"


def test_one_round_even_when_a_single_inference_exceeds_the_budget() -> None:
    machine = FakeMachine()
    pairs = take_pairs(machine.network("a", 5000 * MS), machine.network("b", 5 * MS), machine, MeterSettings(), seed=0)
    assert len(pairs) == 2
    assert verdict(pairs, Goal(), seed=0).ratio == pytest.approx(1000)


def test_disturbed_pairs_prolong_the_session_and_end_unstable() -> None:
    machine = FakeMachine(cpu_share=0.5)
    pairs = take_pairs(machine.network("a", 5 * MS), machine.network("b", 5 * MS), machine, MeterSettings(), seed=0)
    assert machine.now >= 3e9
    assert verdict(pairs, Goal(), seed=0).status == "unstable"


class TestWarmUp:
    def test_lasts_until_times_settle(self) -> None:
        machine = FakeMachine(slowness=lambda now: 2.0 if now < 300 * MS else 1.0)
        assert warm_up(machine.network("a", 10 * MS), machine, 0.310, 1) == 10 * MS
        assert machine.now == 350 * MS  # 300 slow and 5 fast ones

    def test_gives_up(self) -> None:
        machine = FakeMachine(slowness=lambda now: 1 + now / 1e8)
        warm_up(machine.network("a", 10 * MS), machine, 0.1, 0.5)
        assert 500 * MS <= machine.now < 600 * MS

    def test_clock_of_coarse_steps(self) -> None:
        machine = FakeMachine()
        steps = iter(range(0, 10**12, 10**8))
        machine.wall_ns = lambda: next(steps) // 10**9 * 10**9  # type: ignore[method-assign]
        assert warm_up(machine.network("a", 0), machine, 0.001, 1) >= 1


def test_block_counts_cpu_time() -> None:
    machine = FakeMachine(cpu_share=0.8)
    block = take_block(machine.network("a", MS), 10, machine)
    assert (block.median_ns, block.num_inferences, block.cpu_ratio) == (MS, 10, 0.8)


@pytest.mark.parametrize("name", ["budget_s", "block_s", "max_block_s", "refill_s", "warmup_s", "max_warmup_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_durations_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        MeterSettings(**{name: value})  # type: ignore[arg-type]


def test_garbage_collection_stops_and_resumes_after_errors() -> None:
    def fail_inside() -> None:
        with no_garbage_collection():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert gc.isenabled()


@pytest.mark.parametrize("core", [None, 0, 4095])
def test_system_clock_counts_up(core: int | None) -> None:
    clock = SystemClock(core)  # core 4095 does not exist: no steal is known
    before, after = clock.interruptions(), clock.interruptions()
    assert all(0 <= b <= a for b, a in zip(before, after, strict=True))
    assert clock.wall_ns() <= clock.wall_ns()
