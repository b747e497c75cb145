from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import pytest

from latency.deployed_model import deployed_model
from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.estimator import Block, Goal, Pair, Session, Spread
from latency.kernel_trace import trace
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import GRADES, MeterSettings
from latency.metered import MAX_ATTEMPTS, MeteredLatency
from latency.reference import Reference
from latency.runtime import session_options
from search_spaces.arch import ArchSpec, BlockSpec, Head, Stem

YARDSTICK = ArchSpec((BlockSpec(3, 1, 8, 8, expand_ratio=1),), Stem(8), Head(16))
CANDIDATE = ArchSpec((BlockSpec(3, 1, 8, 8, expand_ratio=2),), Stem(8), Head(16))
SMALL = Deployment(resolution=32)


def session(candidate_ms: float = 3.0, reference_ms: float = 2.0, steal_ticks: int = 0) -> Session:
    candidate_ns, reference_ns = candidate_ms * 1e6, reference_ms * 1e6
    pair = Pair(Block(candidate_ns, candidate_ns, 5, 1.0, 0, steal_ticks), Block(reference_ns, reference_ns, 5, 1.0))
    return (pair,) * 4


CALM = (session(),) * 6
DISTURBED = (session(), *(session(3.3, steal_ticks=1),) * 5)
"""Most of it, so that the ratio stands and is not to be trusted."""
DROWNED = (session(steal_ticks=1),) * 6
"""All of it."""


@dataclass(frozen=True)
class Call:
    candidate: bytes
    reference: bytes
    settings: MeterSettings
    seed: int
    fresh_process: bool


@dataclass
class FakeMeter:
    """Answers with the sessions in `script`, then with calm ones; a string in it is the reason of a failure."""

    deployment: Deployment = SMALL
    script: list[tuple[Session, ...] | str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    num_closed: int = 0

    @property
    def device(self) -> DeviceInfo:
        return DeviceInfo.collect(self.deployment)

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        settings = settings or MeterSettings()
        self.calls.append(Call(candidate, reference, settings, seed, fresh_process))
        shas = {
            "candidate_sha256": hashlib.sha256(candidate).hexdigest(),
            "reference_sha256": hashlib.sha256(reference).hexdigest(),
            "device": self.device.key,
        }
        sessions = self.script.pop(0) if self.script else CALM
        if isinstance(sessions, str):
            return Measurement.failure(sessions, **shas)
        return Measurement.from_sessions(sessions, environment={}, goal=settings.goal, **shas)

    def trace(self, model: bytes, num_runs: int = 20) -> dict[str, Any]:
        return trace(model, num_runs, session_options(self.deployment), self.deployment.provider)

    def close(self) -> None:
        self.num_closed += 1


def frozen(spread: Spread | None = None) -> Reference:
    return Reference(deployed_model(YARDSTICK, SMALL, 10), 4.0, spread or Spread())


def metered(meter: FakeMeter, **options: Any) -> MeteredLatency:
    return MeteredLatency(meter, YARDSTICK, num_classes=10, **{"frozen": frozen(), **options})


class TestSearchGrade:
    def test_one_measurement_in_the_process_that_is_there(self) -> None:
        meter = FakeMeter()
        source = metered(meter)
        latency, taken = source.measure(CANDIDATE)
        assert (latency.latency_ms, latency.status) == (pytest.approx(6.0), "ok")  # 3 / 2 of the frozen 4 ms
        (call,) = meter.calls
        assert (call.candidate, call.reference) == (source.model(CANDIDATE), source.model(YARDSTICK))
        assert (call.seed, call.fresh_process) == (0, False)
        assert [m.sessions for m in taken] == [CALM]
        assert source.latency(CANDIDATE) == latency

    def test_the_device_s_spread_decides_when_to_stop(self) -> None:
        meter, spread = FakeMeter(), Spread(session_sd=0.05, process_sd=0.01)
        assert metered(meter, frozen=frozen(spread)).latency(CANDIDATE).status == "wide"
        usual = GRADES["search"].settings
        assert meter.calls[0].settings == replace(usual, goal=replace(usual.goal, spread=spread))


class TestFinalGrade:
    def test_five_fresh_processes_of_seeds_of_their_own(self) -> None:
        meter = FakeMeter()
        latency, taken = metered(meter).measure(CANDIDATE, GRADES["final"])
        assert len(taken) == 5
        assert [(call.seed, call.fresh_process) for call in meter.calls] == [(seed, True) for seed in range(5)]
        assert {call.settings for call in meter.calls} == {GRADES["final"].settings}
        assert (latency.status, latency.num_pairs) == ("ok", 5 * 6 * 4)

    def test_may_be_the_usual_one(self) -> None:
        meter = FakeMeter()
        metered(meter, grade=GRADES["final"]).latency(CANDIDATE)
        assert len(meter.calls) == 5

    def test_outlying_process_is_outvoted(self) -> None:
        meter = FakeMeter(script=[CALM, (session(3.6),) * 6])
        assert metered(meter).measure(CANDIDATE, GRADES["final"])[0].ratio == pytest.approx(1.5)

    def test_failure_of_one_process_is_a_failure(self) -> None:
        meter = FakeMeter(script=[CALM, CALM, "out of memory"])
        assert metered(meter).measure(CANDIDATE, GRADES["final"])[0] == Latency.failure("out of memory")


class TestRetries:
    @pytest.mark.parametrize("spoiled", [DISTURBED, DROWNED])
    def test_disturbed_is_taken_again_with_another_seed(self, spoiled: tuple[Session, ...]) -> None:
        meter = FakeMeter(script=[spoiled])
        latency, taken = metered(meter).measure(CANDIDATE)
        assert (latency.status, latency.latency_ms) == ("ok", pytest.approx(6.0))
        assert [call.seed for call in meter.calls] == [0, 1]
        assert [m.sessions for m in taken] == [CALM]

    @pytest.mark.parametrize(("spoiled", "status"), [(DISTURBED, "unstable"), (DROWNED, "failed")])
    def test_never_quiet_is_given_up(self, spoiled: tuple[Session, ...], status: str) -> None:
        meter = FakeMeter(script=[spoiled] * 10)
        latency, taken = metered(meter).measure(CANDIDATE)
        assert latency.status == status
        assert [call.seed for call in meter.calls] == [0, 1, 2]
        assert len(meter.calls) == MAX_ATTEMPTS
        assert len(taken) == 1

    def test_all_processes_are_taken_again_with_other_seeds(self) -> None:
        meter = FakeMeter(script=[DISTURBED] * 5)
        latency, taken = metered(meter).measure(CANDIDATE, GRADES["final"])
        assert (latency.status, len(taken)) == ("ok", 5)
        assert [call.seed for call in meter.calls] == list(range(10))
        assert all(call.fresh_process for call in meter.calls)

    def test_slow_machine_is_taken_again(self) -> None:
        slow = (session(3.0 * 4, 2.0 * 4),) * 6  # the reference was frozen at 4 ms
        meter = FakeMeter(script=[slow])
        assert metered(meter).latency(CANDIDATE).status == "ok"
        assert len(meter.calls) == 2

    @pytest.mark.parametrize("answer", ["cannot load", (session(),) * 2])
    def test_failed_and_wide_are_not(self, answer: tuple[Session, ...] | str) -> None:
        meter = FakeMeter(script=[answer])
        assert metered(meter).latency(CANDIDATE).status == ("failed" if answer == "cannot load" else "wide")
        assert len(meter.calls) == 1


class TestReference:
    def test_calibrates_on_first_use_and_once(self) -> None:
        meter = FakeMeter()
        source = metered(meter, frozen=None)
        assert meter.calls == []
        assert source.latency(CANDIDATE).latency_ms == pytest.approx(3.0)  # the fake reference takes 2 ms
        source.latency(CANDIDATE)
        yardstick = source.model(YARDSTICK)
        calibrations = [call for call in meter.calls if call.candidate == yardstick]
        assert [call.candidate for call in meter.calls] == [yardstick] * 3 + [source.model(CANDIDATE)] * 2
        assert all(call.reference == yardstick and call.fresh_process for call in calibrations)
        assert source.reference.reference_ms == pytest.approx(2.0)

    def test_frozen_one_is_used(self) -> None:
        meter, reference = FakeMeter(), frozen()
        assert metered(meter, frozen=reference).reference is reference
        assert meter.calls == []


class TestAgainstAnotherModel:
    def test_of_a_known_time(self) -> None:
        meter = FakeMeter()
        source = metered(meter, frozen=frozen(Spread(session_sd=0.01)))
        other = source.against(source.model(CANDIDATE), 3.0)
        assert meter.calls == []
        assert other.reference == Reference(source.model(CANDIDATE), 3.0, Spread(session_sd=0.01))
        assert other.latency(YARDSTICK).latency_ms == pytest.approx(4.5)  # 3 / 2 of the 3 ms
        assert (meter.calls[0].candidate, meter.calls[0].reference) == (source.model(YARDSTICK), other.reference.model)

    def test_calibrated_where_its_time_is_unknown(self) -> None:
        meter = FakeMeter()
        source = metered(meter)
        assert source.against(source.model(CANDIDATE)).reference.reference_ms == pytest.approx(2.0)
        assert len(meter.calls) == 3

    def test_images_calibrate_there_too(self) -> None:
        images = [np.full((1, 3, 32, 32), value, np.float32) for value in (-9.0, 9.0)]
        meter = FakeMeter(replace(SMALL, dtype="int8"))
        source = metered(meter, images=images)
        other = source.against(source.model(CANDIDATE), 3.0)
        assert other.model(YARDSTICK) == source.model(YARDSTICK) != metered(meter).model(YARDSTICK)


def test_closes_the_meter() -> None:
    meter = FakeMeter()
    with pytest.raises(KeyError), metered(meter):
        raise KeyError
    assert meter.num_closed == 1


def test_profile_lists_kernels_in_order() -> None:
    rows = metered(FakeMeter()).profile(CANDIDATE)
    assert rows[0].origin == "stem"
    assert rows[-1].origin == "classifier"


class TestModel:
    @staticmethod
    def shapes(model: bytes) -> tuple[list[int], list[int]]:
        graph = onnx.load_from_string(model).graph
        of_input, of_output = (
            [size.dim_value for size in value.type.tensor_type.shape.dim] for value in (graph.input[0], graph.output[0])
        )
        return of_input, of_output

    @staticmethod
    def operators(model: bytes) -> Counter[str]:
        return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)

    def test_has_the_deployment_s_resolution_batch_and_classes(self) -> None:
        source = metered(FakeMeter(Deployment(resolution=40, batch=3)))
        assert self.shapes(source.model(CANDIDATE)) == ([3, 3, 40, 40], [3, 10])

    def test_is_the_same_each_time(self) -> None:
        source = metered(FakeMeter())
        assert source.model(CANDIDATE) == source.model(CANDIDATE)
        assert source.model(CANDIDATE) != source.model(YARDSTICK)

    def test_int8_is_quantized(self) -> None:
        meter = FakeMeter(replace(SMALL, dtype="int8", batch=2))
        model = metered(meter).model(CANDIDATE)
        assert self.shapes(model) == ([2, 3, 32, 32], [2, 10])
        assert self.operators(model)["QuantizeLinear"] > 0
        assert self.operators(metered(FakeMeter()).model(CANDIDATE))["QuantizeLinear"] == 0

    def test_int8_is_calibrated_on_the_images_given(self) -> None:
        meter = FakeMeter(replace(SMALL, dtype="int8"))
        images = [np.full((1, 3, 32, 32), value, np.float32) for value in (-9.0, 9.0)]
        by_noise, by_images, again = (metered(meter, images=given).model(CANDIDATE) for given in (None, images, images))
        assert by_images == again
        assert by_images != by_noise

    def test_int8_is_what_is_measured(self) -> None:
        meter = FakeMeter(replace(SMALL, dtype="int8"))
        metered(meter, frozen=None).latency(CANDIDATE)
        assert all(self.operators(call.candidate)["QuantizeLinear"] for call in meter.calls)
        assert all(self.operators(call.reference)["QuantizeLinear"] for call in meter.calls)


def test_goal_of_a_grade_reaches_the_verdict() -> None:
    strict = replace(GRADES["search"], settings=MeterSettings(goal=Goal(half_width=0.001)))
    assert metered(FakeMeter()).measure(CANDIDATE, strict)[0].status == "wide"
