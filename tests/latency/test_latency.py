from __future__ import annotations

import json
import math

import pytest

from latency.device_info import DeviceInfo
from latency.estimator import Block, Goal, Pair
from latency.latency import Latency
from latency.measurement import Measurement
from latency.reference import Reference

GOOD = Latency(4.0, (3.9, 4.2), 2.0, (1.95, 2.1), "ok", "measured", num_pairs=16)


def measurement() -> Measurement:
    pairs = [Pair(Block(2e6, 5, 1.0), Block(1e6, 5, 1.0, 3))] * 16
    reference_sha256 = Reference(b"model", 1.5).sha256
    return Measurement.from_pairs(
        pairs,
        candidate_sha256="c",
        reference_sha256=reference_sha256,
        device="d",
        environment={"core": 1},
        goal=Goal(),
        seed=0,
    )


@pytest.mark.parametrize("latency", [GOOD, Latency.failure("it broke"), Latency.failure("no row", "table")])
def test_latency_survives_json(latency: Latency) -> None:
    assert Latency.from_dict(json.loads(json.dumps(latency.to_dict(), allow_nan=False))) == latency


def test_failure_is_infinite_and_says_why() -> None:
    failed = Latency.failure("it broke")
    assert (failed.latency_ms, failed.status, failed.reason) == (math.inf, "failed", "it broke")
    assert failed == Latency.failure("it broke")


@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0, math.inf, 5.0])
def test_impossible_latencies_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="latency_ms"):
        Latency(value, (3.9, 4.2), 2.0, (1.95, 2.1), "ok", "measured")


def test_finite_failure_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite if and only if failed"):
        Latency(4.0, (3.9, 4.2), 2.0, (1.95, 2.1), "failed", "measured")


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="format 99"):
        Latency.from_dict({**GOOD.to_dict(), "format": 99})
    with pytest.raises(ValueError, match="format 99"):
        Measurement.from_dict({**measurement().to_dict(), "format": 99})


def test_measurement_survives_json() -> None:
    found = measurement()
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    failed = Measurement.failure("why", candidate_sha256="c", reference_sha256="r", device="d")
    assert Measurement.from_dict(json.loads(json.dumps(failed.to_dict(), allow_nan=False))) == failed


def test_reference_turns_a_ratio_into_milliseconds() -> None:
    found = measurement()
    assert found.reference_ms == pytest.approx(1.0)
    latency = Reference(b"model", 1.5).latency(found)  # the frozen time counts, not that of the session
    assert latency.latency_ms == pytest.approx(3.0)
    assert latency.interval_ms == pytest.approx((3.0, 3.0))
    assert (latency.status, latency.num_pairs) == ("ok", 16)


def test_failed_measurement_is_a_failed_latency() -> None:
    reference = Reference(b"model", 1.5)
    failed = Measurement.failure("why", candidate_sha256="c", reference_sha256=reference.sha256, device="d")
    assert reference.latency(failed) == Latency.failure("why")
    with pytest.raises(ValueError, match="why"):
        _ = failed.reference_ms


@pytest.mark.parametrize("reference_ms", [0.0, -1.0, math.nan, math.inf])
def test_impossible_reference_times_are_refused(reference_ms: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        Reference(b"model", reference_ms)


def test_device_equality_decides_and_survives_json() -> None:
    here = DeviceInfo.collect()
    assert here == DeviceInfo.collect()
    assert here.key == DeviceInfo.collect().key
    assert DeviceInfo.from_dict(json.loads(json.dumps(here.to_dict()))) == here
    assert here != DeviceInfo.collect(resolution=96)
    assert here.key != DeviceInfo.collect(resolution=96).key
    assert here.num_cores >= 1
    assert here.cpu
    with pytest.raises(TypeError):
        DeviceInfo.from_dict({**here.to_dict(), "colour": "red"})
