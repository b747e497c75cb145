"""Who does which job: on made-up samples and a clock that the test turns."""

from __future__ import annotations

import pytest

from latency.measurement import Measurement
from nas.devices.dispatch import RefusedError
from nas.devices.messages import Report


def test_a_device_is_checked_before_it_gets_a_job(world):
    world.join("one")
    job_id = world.submit()
    lease = world.lease("one")
    assert lease.job.check_of == "one"
    world.advance(1)
    assert world.report("one", lease, world.measured()) == "accepted"
    assert world.device("one").standing == "trusted"
    assert world.lease("one").job.id == job_id


def test_result_is_analysed_here(world):
    world.trusted("one")
    job_id = world.submit()
    lease = world.lease("one")
    told = world.measured(ratio=1.5).to_dict()
    lie = {**told, "ratio": 7.0, "interval": [6.0, 8.0], "status": "ok", "num_pairs": 10**6}
    world.advance(1)
    assert world.report("one", lease, Report(kind="measurement", answer=lie)) == "accepted"
    assert Measurement.from_dict(world.outcome(job_id)["answer"]) == Measurement.from_dict(told)


def test_two_agents_one_job(world):
    world.trusted("one", "two")
    world.submit()
    leases = [world.lease(name) for name in ("one", "two")]
    assert [lease is not None for lease in leases] == [True, False]


def test_result_sent_twice_counts_once(world):
    world.trusted("one")
    job_id = world.submit()
    lease = world.lease("one")
    world.advance(1)
    assert world.report("one", lease, world.measured(ratio=2.0)) == "accepted"
    before = world.outcome(job_id)
    assert world.report("one", lease, world.measured(ratio=3.0)) == "repeated"
    assert world.outcome(job_id) == before


def test_model_that_kills_two_devices_is_poisoned(world):
    world.trusted("one", "two", "three")
    job_id = world.submit()
    world.lease("one")
    world.advance(65, "two", "three")
    world.lease("two")
    world.advance(65, "three")
    assert world.lease("three") is None
    outcome = world.outcome(job_id)
    assert outcome["kind"] == "failed"
    assert outcome["reason"].startswith("poisoned, it killed two devices: one: expired, no sign of life for 60 s; two:")


def _crash(world):
    failed = Measurement.failure(
        "the measuring process was killed by signal 11",
        candidate_sha256=world.sha,
        reference_sha256=world.sha,
        device="x",
    )
    return Report(kind="measurement", answer=failed.to_dict(), crashed=True)


def test_crash_asks_for_a_second_opinion(world):
    world.trusted("one", "two")
    job_id = world.submit()
    assert world.report("one", world.lease("one"), _crash(world)) == "accepted"
    assert world.outcome(job_id) is None
    assert world.lease("one") is None
    assert world.report("two", world.lease("two"), _crash(world)) == "accepted"
    assert "poisoned" in world.outcome(job_id)["reason"]


def test_crash_on_the_only_device_is_the_result(world):
    world.trusted("one")
    job_id = world.submit()
    assert world.report("one", world.lease("one"), _crash(world)) == "accepted"
    assert world.outcome(job_id)["reason"].endswith("killed by signal 11 (on one; no other device to ask)")
    assert world.device("one").standing == "trusted"


def test_timeout_is_a_result(world):
    world.trusted("one", "two")
    job_id = world.submit()
    failed = Measurement.failure(
        "no answer in 60 s", candidate_sha256=world.sha, reference_sha256=world.sha, device="x"
    )
    assert world.report("one", world.lease("one"), failed) == "accepted"
    assert world.outcome(job_id)["answer"]["reason"] == "no answer in 60 s"


def test_three_losses_on_one_device_give_the_job_up(world):
    world.trusted("one")
    job_id = world.submit()
    for number in (1, 2, 3):
        lease = world.lease("one")
        assert lease.attempt.number == number
        world.advance(65)
        if number < 3:
            world.check("one")
    assert world.outcome(job_id)["kind"] == "error"
    assert "given up after 3 attempts" in world.outcome(job_id)["reason"]


def test_releases_do_not_count(world):
    world.trusted("one")
    job_id = world.submit()
    for _ in range(5):
        world.report("one", world.lease("one"), Report(kind="released", reason="agent stopped"))
    assert world.lease("one").job.id == job_id


def test_fault_quarantines_and_the_job_goes_on(world):
    world.trusted("one", "two")
    job_id = world.submit()
    world.report("one", world.lease("one"), Report(kind="fault", reason="no memory"))
    assert world.device("one").reason == "cannot measure: no memory"
    assert world.lease("two").job.id == job_id


def test_jobs_of_a_platform_stay_there(world):
    world.trusted("one")
    world.join("other", onnxruntime="1.0.0")
    world.check("other")
    platform = world.device("one").platform
    assert world.device("other").platform != platform
    job_id = world.submit(platform=platform)
    assert world.lease("other") is None
    assert world.lease("one").job.id == job_id


def test_changed_device_begins_anew(world):
    world.trusted("one")
    world.join("one", onnxruntime="1.0.0")
    assert world.device("one").standing == "new"
    assert world.check("one", reference_ms=5.0) == "accepted"  # no drift: its old frozen time was another platform's
    assert world.device("one").standing == "trusted"


def test_missing_models_are_named(world):
    from nas.devices.messages import measure_request
    from tests.nas.devices.networks import QUICK

    with pytest.raises(RefusedError) as refused:
        world.dispatcher.submit("boards", "1" * 32, measure_request("a" * 64, world.sha, QUICK))
    assert (refused.value.status, refused.value.missing) == (404, ["a" * 64])


def test_submitted_twice_is_one_job(world):
    world.trusted("one")
    world.submit(1)
    world.submit(1)
    world.report("one", world.lease("one"), Report(kind="error", reason="x"))
    assert world.lease("one") is None
    with pytest.raises(RefusedError, match="another one"):
        world.submit(1, seed=9)


def test_cancelled_job_is_not_given_out(world):
    world.trusted("one")
    world.dispatcher.cancel("boards", world.submit())
    assert world.lease("one") is None


def test_attempts_of_others_are_not_touched(world):
    world.trusted("one", "two")
    world.submit()
    lease = world.lease("one")
    with pytest.raises(RefusedError) as refused:
        world.report("two", lease, world.measured())
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "report",
    [
        Report(kind="device", answer={}),
        Report(kind="measurement", answer={"format": 1}),
        Report(kind="measurement", answer={"format": 2}),
    ],
)
def test_report_that_answers_nothing_is_refused(world, report):
    world.trusted("one")
    world.submit()
    lease = world.lease("one")
    with pytest.raises(RefusedError) as refused:
        world.report("one", lease, report)
    assert refused.value.status == 422
    world.advance(1)
    assert world.report("one", lease, world.measured()) == "accepted"  # the attempt went on


def test_measurement_of_other_models_is_refused(world):
    from tests.nas.devices.world import made_up

    world.trusted("one")
    world.submit()
    with pytest.raises(RefusedError, match="other models"):
        world.report("one", world.lease("one"), made_up("a" * 64, world.sha))
