from __future__ import annotations

import gc
import itertools
import json
import math
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from latency.estimator import Estimate, Goal, Session, Spread, estimate
from latency.meter import GRADES, Grade, Load, MeterSettings, no_garbage_collection, take_block, take_sessions, warm_up
from latency.system_clock import SystemClock

MS = 1_000_000
SHORT = MeterSettings(goal=Goal(half_width=0.9, min_sessions=2), session_s=0.001, refill_s=0.010)
"""Two sessions of two pairs, with 2 untimed and 4 timed inferences of 5 ms before and in each block."""


@dataclass
class FakeMachine:
    """Time passes only when a network is loaded or runs; `slowness(now_ns)` multiplies its duration."""

    slowness: Callable[[int], float] = lambda now: 1.0
    cpu_share: float = 1.0
    load_ns: int = 0
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

    def loader(self, name: str, inference_ns: int) -> Load:
        def load() -> Callable[[], None]:
            self.now += self.load_ns
            self.log.append(f"load {name}")
            return self.network(name, inference_ns)

        return load

    def wall_ns(self) -> int:
        return self.now

    def cpu_ns(self) -> int:
        return int(self.cpu)

    def interruptions(self) -> tuple[int, int]:
        return 0, 0

    def runs(self) -> list[tuple[str, int]]:
        """The log as (event, how often in succession)."""
        found: list[tuple[str, int]] = []
        for name in self.log:
            if found and found[-1][0] == name:
                found[-1] = (name, found[-1][1] + 1)
            else:
                found.append((name, 1))
        return found

    def sessions(self, candidate_ns: int, reference_ns: int, settings: MeterSettings | None = None) -> list[Session]:
        """What the meter takes of networks ``a``, the candidate, and ``b``."""
        loaders = self.loader("a", candidate_ns), self.loader("b", reference_ns)
        return take_sessions(*loaders, self, settings or MeterSettings(), seed=0)


def found_in(sessions: list[Session], settings: MeterSettings | None = None) -> Estimate:
    return estimate([sessions], (settings or MeterSettings()).goal)


class TestSessions:
    def test_quiet_machine_gives_the_true_ratio(self) -> None:
        settings = MeterSettings(budget_s=30)
        sessions = FakeMachine().sessions(6 * MS, 4 * MS, settings)
        found = found_in(sessions, settings)
        assert found.ratio == pytest.approx(1.5, rel=1e-12)
        assert (found.status, found.num_rejected) == ("ok", 0)
        assert found_in(sessions[:-1], settings).status == "wide"  # it stopped as soon as it could

    def test_fewest_sessions_on_a_quiet_device(self) -> None:
        goal = Goal(min_sessions=3, spread=Spread(session_sd=0.0))
        assert len(FakeMachine().sessions(6 * MS, 4 * MS, MeterSettings(goal=goal))) == 3

    def test_order_of_loading_warm_up_refill_and_blocks(self) -> None:
        machine = FakeMachine()
        machine.sessions(5 * MS, 5 * MS, SHORT)
        candidate_first = [("load a", 1), ("load b", 1), ("a", 5), ("b", 5), ("a", 6), ("b", 6), ("a", 6), ("b", 6)]
        # The warm-up of b ends where its first block begins: 5, then 2 and 4.
        reference_first = [("load b", 1), ("load a", 1), ("a", 5), ("b", 11), ("a", 6), ("b", 6), ("a", 6)]
        assert machine.runs() == candidate_first + reference_first

    def test_order_alternates_from_session_to_session(self) -> None:
        machine = FakeMachine()
        sessions = machine.sessions(5 * MS, 5 * MS, replace(SHORT, goal=Goal(half_width=0.9, min_sessions=5)))
        loaded = [name[-1] for name in machine.log if name.startswith("load")]
        assert len(sessions) == 5
        assert "".join(loaded) == "abbaabbaab"

    def test_blocks_belong_to_their_network_in_either_order(self) -> None:
        sessions = FakeMachine().sessions(6 * MS, 4 * MS, SHORT)
        assert [len(session) for session in sessions] == [2, 2]
        for pair in (pair for session in sessions for pair in session):
            assert (pair.candidate.fastest_ns, pair.reference.fastest_ns) == (6 * MS, 4 * MS)
            assert (pair.candidate.num_inferences, pair.reference.num_inferences) == (4, 4)

    def test_session_lasts_as_long_as_told(self) -> None:
        machine = FakeMachine()
        first, *_ = machine.sessions(5 * MS, 5 * MS, replace(SHORT, session_s=0.3))
        assert len(first) == 5  # of 60 ms each

    def test_each_session_loads_both_anew_and_lets_the_old_ones_go(self) -> None:
        machine, alive = FakeMachine(), weakref.WeakSet[Callable[[], None]]()
        alive_when_loading: list[int] = []

        def loader(name: str) -> Load:
            def load() -> Callable[[], None]:
                alive_when_loading.append(len(alive))
                network = machine.loader(name, 5 * MS)()
                alive.add(network)
                return network

            return load

        with no_garbage_collection():  # as in the measuring process: nothing may wait for a collection
            sessions = take_sessions(loader("a"), loader("b"), machine, SHORT, seed=0)
        assert alive_when_loading == [0, 1] * len(sessions)
        assert not alive

    def test_memory_is_held_while_loading_other_memory_each_time(self) -> None:
        def held(seed: int) -> list[int]:
            machine, seen = FakeMachine(), []

            def load() -> Callable[[], None]:
                seen.append(tracemalloc.get_traced_memory()[0] // 1000)  # kB: the log grows by some bytes meanwhile
                return machine.network("", 5 * MS)

            tracemalloc.start()
            try:
                take_sessions(load, load, machine, SHORT, seed)
            finally:
                tracemalloc.stop()
            return seen[::2]

        first, again, other = held(0), held(0), held(1)
        assert min(*first, *other) > 50
        assert first == pytest.approx(again, abs=5)
        assert abs(first[0] - first[1]) > 10
        assert abs(first[0] - other[0]) > 10


class TestBudget:
    def test_ends_an_endless_quarrel(self) -> None:
        period = 37 * MS
        machine = FakeMachine(slowness=lambda now: 1 + 0.08 * (now // period % 2))
        settings = MeterSettings(goal=Goal(half_width=1e-6), budget_s=1)
        sessions = machine.sessions(5 * MS, 5 * MS, settings)
        one_session = 2 * 5 * 5.4 * MS + settings.session_s * 1e9 + 2 * 5 * 5.4 * MS  # warm-up, blocks, the last pair
        assert 2e9 <= machine.now < 2e9 + one_session  # so far from the goal, twice the budget
        assert found_in(sessions, settings).status == "wide"

    @pytest.mark.parametrize(("goal", "budgets"), [(0.010, 1), (0.002, 2)])
    def test_is_doubled_for_a_bad_moment_alone(self, goal: float, budgets: int) -> None:
        machine = FakeMachine()  # equal sessions: the interval is the prior one, some 1.1 % after a second
        settings = MeterSettings(goal=Goal(half_width=goal, spread=Spread(session_sd=0.016)), budget_s=1)
        sessions = machine.sessions(5 * MS, 5 * MS, settings)
        assert found_in(sessions, settings).status == "wide"
        assert budgets * 1e9 <= machine.now < (budgets + 0.5) * 1e9

    def test_counts_loading(self) -> None:
        machine = FakeMachine(load_ns=300 * MS)
        assert len(machine.sessions(5 * MS, 5 * MS, MeterSettings(budget_s=1))) == 2

    def test_half_of_it_at_most_for_a_warm_up_that_does_not_settle(self) -> None:
        slowness = itertools.cycle((1.0, 2.0))
        machine = FakeMachine(slowness=lambda now: next(slowness))
        machine.sessions(10 * MS, 5 * MS, replace(SHORT, budget_s=0.2))
        assert machine.runs()[2] == ("a", 7)  # 10, 20, 10, 20, 10, 20 and 10 ms

    def test_one_session_of_two_pairs_even_when_a_single_inference_exceeds_it(self) -> None:
        sessions = FakeMachine().sessions(5000 * MS, 5 * MS)
        assert [len(session) for session in sessions] == [2]
        assert found_in(sessions).ratio == pytest.approx(1000)

    def test_disturbed_pairs_use_it_up_and_end_unstable(self) -> None:
        machine = FakeMachine(cpu_share=0.5)
        sessions = machine.sessions(5 * MS, 5 * MS)
        assert machine.now >= MeterSettings().budget_s * 1e9
        assert found_in(sessions).status == "unstable"


def test_drift_cancels_where_sequential_measuring_is_off() -> None:
    machine = FakeMachine(slowness=lambda now: 1 + 0.05 * now / 1e9)  # 5 % a second
    settings = MeterSettings(goal=Goal(half_width=0.5, min_sessions=4))
    sessions = machine.sessions(3 * MS, 3 * MS, settings)
    assert len(sessions) == 4
    assert sessions[-1][-1].reference.fastest_ns / sessions[0][0].reference.fastest_ns > 1.03
    first = sessions[0][0]
    assert first.reference.fastest_ns / first.candidate.fastest_ns > 1.0005  # it is slower that comes second
    assert found_in(sessions, settings).ratio == pytest.approx(1, abs=1e-4)


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


class TestBlock:
    def test_counts_cpu_time(self) -> None:
        machine = FakeMachine(cpu_share=0.8)
        block = take_block(machine.network("a", MS), 10, machine)
        assert (block.fastest_ns, block.median_ns, block.num_inferences, block.cpu_ratio) == (MS, MS, 10, 0.8)

    def test_keeps_the_fastest_and_the_median_inference(self) -> None:
        slowness = iter([3.0, 1.0, 2.0, 5.0, 4.0])
        machine = FakeMachine(slowness=lambda now: next(slowness))
        block = take_block(machine.network("a", MS), 5, machine)
        assert (block.fastest_ns, block.median_ns) == (MS, 3 * MS)

    def test_counts_interruptions(self) -> None:
        machine = FakeMachine()
        machine.interruptions = lambda: (machine.now // MS, 2 * machine.now // MS)  # type: ignore[method-assign]
        block = take_block(machine.network("a", MS), 10, machine)
        assert (block.involuntary_switches, block.steal_ticks) == (10, 20)

    def test_clock_that_stood_still(self) -> None:
        block = take_block(FakeMachine().network("a", 0), 3, FakeMachine())
        assert (block.fastest_ns, block.cpu_ratio) == (1, None)


class TestSettings:
    def test_block_sizes(self) -> None:
        settings = MeterSettings()
        assert settings.block_size(1 * MS) == 15  # 15 ms
        assert settings.block_size(7 * MS) == 4  # at least 4
        assert settings.block_size(20 * MS) == 3  # at most 60 ms
        assert settings.block_size(900 * MS) == 1
        assert [settings.refill_size(ms * MS) for ms in (1, 3, 900)] == [5, 2, 1]

    @pytest.mark.parametrize(
        "name", ["budget_s", "session_s", "refill_s", "block_s", "max_block_s", "warmup_s", "max_warmup_s"]
    )
    @pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
    def test_impossible_durations_are_refused(self, name: str, value: float) -> None:
        with pytest.raises(ValueError, match="positive and finite"):
            MeterSettings(**{name: value})  # type: ignore[arg-type]

    def test_blocks_without_inferences_are_refused(self) -> None:
        with pytest.raises(ValueError, match="inferences at least 1"):
            MeterSettings(min_inferences=0)

    def test_survive_json(self) -> None:
        settings = MeterSettings(goal=Goal(min_sessions=7, spread=Spread(process_sd=0.1)), budget_s=9, min_inferences=2)
        assert MeterSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
        with pytest.raises(TypeError):
            MeterSettings.from_dict({**settings.to_dict(), "colour": "red"})

    def test_grades(self) -> None:
        assert GRADES["search"].num_processes == 1
        assert GRADES["final"].num_processes == 5
        assert GRADES["final"].settings.goal.half_width < GRADES["search"].settings.goal.half_width
        with pytest.raises(ValueError, match="num_processes 0"):
            Grade(MeterSettings(), num_processes=0)


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
