from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from latency.estimator import Block, Goal, Pair, Session, Spread, estimate
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import GRADES, MeterSettings
from latency.meter_process import MeasuringError
from latency.reference import MAX_SLOWDOWN, Reference, calibrate, spread_of

YARDSTICK = Reference(b"model", 2.0)


def session(log_ratio: float = 0.0, reference_ms: float = 2.0, num_pairs: int = 3, steal_ticks: int = 0) -> Session:
    candidate_ns, reference_ns = reference_ms * 1e6 * math.exp(log_ratio), reference_ms * 1e6
    pair = Pair(
        Block(candidate_ns, candidate_ns, 5, 1.0, 0, steal_ticks), Block(reference_ns, reference_ns, 5, 1.0, 0, 0)
    )
    return (pair,) * num_pairs


def measured(*sessions: Session, reference: bytes = b"model") -> Measurement:
    return Measurement.from_sessions(
        sessions,
        candidate_sha256="c",
        reference_sha256=hashlib.sha256(reference).hexdigest(),
        device="d",
        environment={},
        goal=Goal(),
    )


FAILED = Measurement.failure("out of memory", candidate_sha256="c", reference_sha256=YARDSTICK.sha256, device="d")


class TestLatency:
    def test_is_the_ratio_times_the_frozen_time(self) -> None:
        log_ratio = math.log(1.5)
        found = YARDSTICK.latency(
            [measured(*[session(log_ratio, reference_ms=2.2)] * 5)]
        )  # not 2.2, the time meanwhile
        assert found.latency_ms == pytest.approx(3.0)
        assert found.ratio == pytest.approx(1.5)
        assert found.interval_ms == pytest.approx(tuple(2 * edge for edge in found.ratio_interval))
        assert (found.status, found.source, found.num_pairs, found.num_rejected) == ("ok", "measured", 15, 0)

    def test_several_measurements_are_as_many_processes(self) -> None:
        runs = [[session(x + y) for y in (-0.002, 0.0, 0.002, 0.001)] for x in (0.1, 0.105, 0.11)]
        found = YARDSTICK.latency([measured(*sessions) for sessions in runs])
        figures = estimate(runs)
        assert (found.ratio, found.ratio_interval) == (figures.ratio, figures.interval)
        assert (found.status, found.num_pairs) == (figures.status, 36)

    def test_spread_of_the_device_replaces_that_of_the_goal(self) -> None:
        run = [session()] * 5
        noisy = Reference(b"model", 2.0, Spread(session_sd=0.08, process_sd=0.0))
        found = noisy.latency([measured(*run)], Goal(spread=Spread(session_sd=0.0)))
        assert found.status == "wide"
        assert found.ratio_interval == estimate([run], Goal(spread=noisy.spread)).interval

    @pytest.mark.parametrize("slowdown", [0.5, 1.0, MAX_SLOWDOWN - 0.01])
    def test_reference_about_as_fast_as_frozen_is_fine(self, slowdown: float) -> None:
        assert YARDSTICK.latency([measured(*[session(reference_ms=2.0 * slowdown)] * 5)]).status == "ok"

    def test_slow_reference_is_unstable(self) -> None:
        found = YARDSTICK.latency([measured(*[session(math.log(1.5), reference_ms=2.8)] * 5)])
        assert (found.status, found.num_pairs) == ("unstable", 15)
        assert found.reason == "the reference runs 1.40 times slower than when the device was calibrated"
        assert found.latency_ms == pytest.approx(3.0)

    def test_one_slow_process_of_three_is_outvoted(self) -> None:
        fast, slow = measured(*[session()] * 5), measured(*[session(reference_ms=4.0)] * 5)
        assert YARDSTICK.latency([fast, slow, fast]).status == "ok"
        assert YARDSTICK.latency([slow, fast, slow]).status == "unstable"

    def test_one_failure_fails_all(self) -> None:
        assert YARDSTICK.latency([FAILED]) == Latency.failure("out of memory")
        assert YARDSTICK.latency([measured(*[session()] * 5), FAILED]) == Latency.failure("out of memory")

    def test_machine_that_was_never_quiet_is_a_failure(self) -> None:
        found = YARDSTICK.latency([measured(*[session(steal_ticks=1)] * 5)])
        assert found == Latency.failure("the machine was too busy to measure: 15 of 15 pairs were disturbed")

    def test_other_references_are_refused(self) -> None:
        other = measured(*[session()] * 5, reference=b"another")
        with pytest.raises(ValueError, match=f"against {other.reference_sha256[:12]}, this is {YARDSTICK.sha256[:12]}"):
            YARDSTICK.latency([measured(*[session()] * 5), other])

    @pytest.mark.parametrize("reference_ms", [0.0, -1.0, math.nan, math.inf])
    def test_impossible_reference_times_are_refused(self, reference_ms: float) -> None:
        with pytest.raises(ValueError, match="positive and finite"):
            Reference(b"model", reference_ms)


class TestSpread:
    @pytest.mark.parametrize(("session_sd", "process_sd"), [(0.008, 0.003), (0.004, 0.02), (0.01, 0.01)])
    def test_recovers_both_levels(self, session_sd: float, process_sd: float) -> None:
        noise = np.random.default_rng(0)  # fixed seed: never fails by chance
        runs = [
            [session(process + session_sd * noise.standard_normal(), num_pairs=1) for _ in range(5)]
            for process in process_sd * noise.standard_normal(400)
        ]
        found = spread_of(runs)
        assert found.session_sd == pytest.approx(session_sd, rel=0.05)
        assert found.process_sd == pytest.approx(process_sd, rel=0.15)

    def test_by_hand(self) -> None:
        found = spread_of([[session(0.00), session(0.02)], [session(0.10), session(0.12)]])
        assert found.session_sd == pytest.approx(math.sqrt(0.0002))
        assert found.process_sd == pytest.approx(math.sqrt(0.005 - 0.0001))  # less what the sessions explain

    def test_processes_that_agree_better_than_their_sessions_have_none(self) -> None:
        found = spread_of([[session(-0.01), session(0.01)]] * 4)
        assert (found.session_sd > 0, found.process_sd) == (True, 0.0)

    def test_processes_of_different_lengths(self) -> None:
        found = spread_of([[session(0.0)] * 2, [session(0.0)] * 7, [session(0.0)] * 3])
        assert found == Spread(session_sd=0.0, process_sd=0.0)

    @pytest.mark.parametrize("runs", [[], [[session()] * 3], [[session()] * 3, [session()]]])
    def test_too_few_are_refused(self, runs: list[list[Session]]) -> None:
        with pytest.raises(ValueError, match="at least 2 of them, with at least 2 sessions each"):
            spread_of(runs)


@dataclass
class FakeTimer:
    """Gives the measurements that it is told to give, one a call."""

    measurements: list[Measurement]
    calls: list[tuple[bytes, bytes, MeterSettings | None, int, bool]] = field(default_factory=list)

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        self.calls.append((candidate, reference, settings, seed, fresh_process))
        return self.measurements[len(self.calls) - 1]


class TestCalibrate:
    def test_freezes_the_median_time_of_fresh_processes(self) -> None:
        runs = [measured(*[session(reference_ms=ms)] * 3) for ms in (2.1, 9.0, 2.0)]
        timer = FakeTimer(runs)
        reference, found = calibrate(timer, b"model")
        assert (reference.model, reference.spread) == (b"model", Spread())
        assert reference.reference_ms == pytest.approx(2.1)
        assert found == runs
        settings = GRADES["search"].settings
        assert timer.calls == [(b"model", b"model", settings, seed, True) for seed in range(3)]

    def test_as_many_processes_as_asked_for(self) -> None:
        timer = FakeTimer([measured(session(), session())] * 7)
        assert len(calibrate(timer, b"model", num_processes=7)[1]) == len(timer.calls) == 7

    def test_noise_above_the_usual_is_kept(self) -> None:
        runs = [[session(x - 0.04), session(x + 0.04)] for x in (-0.3, 0.0, 0.3)]
        reference, _ = calibrate(FakeTimer([measured(*run) for run in runs]), b"model")
        assert reference.spread == spread_of(runs)
        assert reference.spread.session_sd > Spread().session_sd

    def test_each_level_is_at_least_the_usual_one(self) -> None:
        runs = [[session(-0.05), session(0.05)]] * 3  # processes agree to the last digit
        reference, _ = calibrate(FakeTimer([measured(*run) for run in runs]), b"model")
        assert reference.spread.session_sd == pytest.approx(0.05 * math.sqrt(2))
        assert reference.spread.process_sd == Spread().process_sd

    def test_slow_network_with_time_for_one_session_has_the_usual_spread(self) -> None:
        runs = [measured(session(0.3, reference_ms=400.0, num_pairs=2))] * 3
        reference, _ = calibrate(FakeTimer(runs), b"model")
        assert reference.spread == Spread()
        assert reference.reference_ms == pytest.approx(400.0)

    def test_a_model_that_fails_is_an_error(self) -> None:
        with pytest.raises(MeasuringError, match="cannot calibrate: out of memory"):
            calibrate(FakeTimer([measured(session(), session()), FAILED, FAILED]), b"model")

    @pytest.mark.parametrize("number", [1, 0, -1])
    def test_one_process_is_not_enough(self, number: int) -> None:
        with pytest.raises(ValueError, match=f"num_processes {number} must be at least 2"):
            calibrate(FakeTimer([]), b"model", num_processes=number)
