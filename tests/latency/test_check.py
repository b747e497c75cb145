from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from latency.check import MAX_P95, PAIRS_PER_PROCESS, Check, check
from latency.estimator import Block, Pair, Session, Spread
from latency.measurement import Measurement
from latency.meter import GRADES, MeterSettings
from latency.reference import Reference

YARDSTICK = Reference(b"reference", 2.0)


def session(log_ratio: float, steal_ticks: int = 0) -> Session:
    candidate_ns = 3e6 * math.exp(log_ratio)
    return (Pair(Block(candidate_ns, candidate_ns, 5, 1.0, 0, steal_ticks), Block(2e6, 2.2e6, 5, 1.0)),) * 4


@dataclass
class FakeTimer:
    """Session log ratios are those of `script`, or 0; a process lives until a fresh one is asked for."""

    script: list[list[float] | None] = field(default_factory=list)
    pids: list[int] = field(default_factory=lambda: [100])
    settings: list[MeterSettings] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        assert settings is not None
        self.pids.append(self.pids[-1] + fresh_process)
        self.settings.append(settings)
        self.seeds.append(seed)
        logs = self.script.pop(0) if self.script else [0.0] * 5
        shas = {"candidate_sha256": "c", "reference_sha256": hashlib.sha256(reference).hexdigest(), "device": "d"}
        if logs is None:
            return Measurement.failure("died", **shas)
        sessions = [session(x) for x in logs]
        return Measurement.from_sessions(sessions, environment={"pid": self.pids[-1]}, goal=settings.goal, **shas)


def run(timer: FakeTimer, num_pairs: int, grade: str = "search") -> Check:
    return Check(tuple(check(timer, b"candidate", YARDSTICK, GRADES[grade], num_pairs)), grade)


def test_equal_measurements_differ_by_nothing() -> None:
    found = run(FakeTimer(), 4)
    assert (found.p95_abs_log_ratio, found.status, found.num_unstable, len(found.pairs)) == (0, "ok", 0, 4)
    assert found.calibrated(YARDSTICK).reference_ms == pytest.approx(2.2)  # the median time, as people feel it


def test_a_pair_is_two_measurements_in_a_row_and_a_process_has_two_pairs() -> None:
    timer = FakeTimer()
    run(timer, 4)
    assert PAIRS_PER_PROCESS == 2
    assert timer.pids[1:] == [101] * 4 + [102] * 4
    assert len(set(timer.seeds)) == 8


def test_final_grade_takes_its_processes_for_each_measurement() -> None:
    timer = FakeTimer()
    found = run(timer, 1, "final")
    assert timer.pids[1:] == list(range(101, 101 + 2 * GRADES["final"].num_processes))
    assert len(found.pairs[0][0].measurements) == GRADES["final"].num_processes
    assert found.max_p95 == MAX_P95["final"] < MAX_P95["search"]


def test_difference_is_that_of_the_two_jobs() -> None:
    found = run(FakeTimer([[0.0] * 5, [0.03] * 5, [0.01] * 5, [0.0] * 5]), 2)
    assert sorted(found.abs_log_ratios) == pytest.approx([0.01, 0.03])
    assert found.p95_abs_log_ratio == pytest.approx(float(np.quantile([0.01, 0.03], 0.95)))
    assert found.status == "coarse"


def test_what_could_not_be_measured_is_counted_and_never_a_small_difference() -> None:
    found = run(FakeTimer([None, [0.0] * 5]), 1)
    assert found.p95_abs_log_ratio == math.inf
    assert (found.num_unstable, found.status) == (1, "unstable")


def test_no_pairs() -> None:
    with pytest.raises(ValueError, match="at least 1 pair"):
        Check((), "search")


def test_spread_is_found_from_three_processes_on() -> None:
    logs = [0.004, -0.004, 0.004, -0.004, 0.0]
    shifts = [0.0, 0.02, -0.02, 0.01]
    script: list[list[float] | None] = [[x + shift for x in logs] for shift in shifts for _ in range(4)]
    found = run(FakeTimer(script), 8).calibrated(YARDSTICK).spread
    assert found.process_sd == pytest.approx(float(np.std(shifts, ddof=1)), rel=0.05)
    assert 0.003 < found.session_sd < 0.0045
    few = Reference(b"reference", 2.0, Spread(session_sd=0.05))
    timer = FakeTimer()
    pairs = tuple(check(timer, b"candidate", few, GRADES["search"], 3))
    assert Check(pairs, "search").calibrated(few).spread == few.spread  # two processes
    assert {s.goal.spread for s in timer.settings} == {few.spread}
