from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from latency.estimator import Block, Goal, Pair, Session, estimate
from latency.latency import Latency
from latency.measurement import Measurement

GOOD = Latency(4.0, (3.9, 4.2), 2.0, (1.95, 2.1), "ok", "measured", num_pairs=16)
CALM = Pair(Block(2e6, 2.2e6, 5, 1.0), Block(1e6, 1.1e6, 5, 1.0, 3))
STOLEN = Pair(Block(2e6, 2.2e6, 5, 1.0), Block(1e6, 9e6, 5, 1.0, 0, 1))


def measured(*sessions: Session, goal: Goal | None = None) -> Measurement:
    return Measurement.from_sessions(
        sessions,
        candidate_sha256="c",
        reference_sha256="r",
        device="d",
        environment={"core": 1, "load_average": None},
        goal=goal or Goal(),
    )


FAILED = Measurement.failure("why", candidate_sha256="c", reference_sha256="r", device="d")


class TestLatency:
    @pytest.mark.parametrize("latency", [GOOD, Latency.failure("it broke"), Latency.failure("no row", "table")])
    def test_survives_json(self, latency: Latency) -> None:
        assert Latency.from_dict(json.loads(json.dumps(latency.to_dict(), allow_nan=False))) == latency

    def test_failure_is_infinite_and_says_why(self) -> None:
        failed = Latency.failure("it broke")
        assert (failed.latency_ms, failed.status, failed.reason) == (math.inf, "failed", "it broke")
        assert failed == Latency.failure("it broke")

    @pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, math.inf, 5.0])
    def test_impossible_values_are_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="latency_ms"):
            Latency(value, (3.9, 4.2), 2.0, (1.95, 2.1), "ok", "measured")

    def test_finite_failure_is_refused(self) -> None:
        with pytest.raises(ValueError, match="infinite if and only if failed"):
            Latency(4.0, (3.9, 4.2), 2.0, (1.95, 2.1), "failed", "measured")

    def test_other_formats_are_refused(self) -> None:
        with pytest.raises(ValueError, match="format 99"):
            Latency.from_dict({**GOOD.to_dict(), "format": 99})


class TestMeasurement:
    def test_has_the_figures_that_its_sessions_give(self) -> None:
        goal = Goal(half_width=0.02)
        sessions = ((CALM,) * 3, (CALM, STOLEN), (CALM,) * 2)
        found, figures = measured(*sessions, goal=goal), estimate([sessions], goal)
        assert found.ratio == pytest.approx(2)
        assert (found.ratio, found.interval, found.status) == (figures.ratio, figures.interval, "ok")
        assert (found.num_pairs, found.num_rejected, found.reason) == (6, 1, None)
        assert found.sessions == sessions

    @pytest.mark.parametrize("found", [measured((CALM,) * 2, (CALM, STOLEN)), FAILED])
    def test_survives_json(self, found: Measurement) -> None:
        assert Measurement.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found

    def test_other_formats_are_refused(self) -> None:
        with pytest.raises(ValueError, match="format 99"):
            Measurement.from_dict({**FAILED.to_dict(), "format": 99})

    def test_reference_time_is_the_median_of_accepted_blocks(self) -> None:
        slow = replace(CALM, reference=Block(1e6, 1.3e6, 5, 1.0))
        assert measured((CALM, CALM, STOLEN), (STOLEN, STOLEN, slow)).reference_ms == pytest.approx(1.1)

    def test_reference_time_of_a_machine_that_was_never_quiet(self) -> None:
        assert measured((STOLEN, STOLEN)).reference_ms == pytest.approx(9)

    def test_failure_has_no_times(self) -> None:
        assert (FAILED.ratio, FAILED.status, FAILED.sessions) == (math.inf, "failed", ())
        with pytest.raises(ValueError, match="no times: why"):
            _ = FAILED.reference_ms
