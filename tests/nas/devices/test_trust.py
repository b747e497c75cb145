"""Devices that lie, drift or tremble."""

from __future__ import annotations

import pytest

from nas.devices.trust import Trust


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"scale": 1000.0}, "of inferences within"),
        ({"scale": 0.001}, "blocks of the"),
        ({"reference_ms": 5.0}, "5 times its frozen time"),
    ],
)
def test_liar_is_refused_and_quarantined(world, figures, reason):
    world.trusted("one", "two")
    job_id = world.submit()
    lease = world.lease("one")
    world.advance(2)
    answer = world.report("one", lease, world.measured(**figures))
    assert answer.startswith("refused: ")
    assert reason in answer
    device = world.device("one")
    assert device.standing == "quarantined"
    assert reason in device.reason
    assert world.outcome(job_id) is None
    assert world.lease("two").job.id == job_id


@pytest.mark.parametrize("scale", [1000.0, 0.001])
def test_liar_from_the_start_is_not_let_in(world, scale):
    world.join("one")
    assert world.check("one", scale=scale).startswith("refused: ")
    assert world.device("one").standing == "quarantined"


def test_liar_from_the_start_is_held_against_its_peers(world):
    world.trusted("one")
    world.join("two")
    assert "times its frozen time" in world.check("two", reference_ms=5.0)
    assert world.device("two").standing == "quarantined"


def test_quarantine_ends_with_a_passed_check(world):
    world.trusted("one")
    world.submit()
    lease = world.lease("one")
    world.report("one", lease, world.measured(scale=1000.0))
    assert world.lease("one") is None
    world.advance(61)
    world.check("one", ratio=1.2)
    assert world.device("one").standing == "quarantined"
    world.advance(61)
    assert world.check("one") == "accepted"
    assert world.device("one").standing == "trusted"
    assert world.device("one").reason is None
    assert world.lease("one").attempt.number == 2


def test_two_skewed_checks_in_a_row_quarantine(world):
    world.join("one")
    world.check("one", ratio=1.05)
    assert world.device("one").standing == "new"
    world.check("one", ratio=0.94)
    device = world.device("one")
    assert (device.standing, device.reason) == ("quarantined", "2 checks in a row were off, the last by 6.0%")


def test_one_skewed_check_is_forgiven(world):
    world.join("one")
    world.check("one", ratio=1.05)
    world.check("one", ratio=1.01)
    assert (world.device("one").standing, world.device("one").bad_checks) == ("trusted", 0)


def test_drift_of_the_yardstick_quarantines(world):
    world.trusted("one")
    world.join("one")
    world.check("one", reference_ms=1.25)
    assert world.device("one").reason == "the yardstick took 1.25 ms, its frozen time is 1 ms"


def test_drift_in_a_job_brings_a_check_on(world):
    world.trusted("one")
    job_id = world.submit()
    lease = world.lease("one")
    world.advance(1)
    assert world.report("one", lease, world.measured(reference_ms=1.3)) == "accepted"
    assert world.outcome(job_id)["kind"] == "measurement"  # the ratio stands
    world.submit(2)
    assert world.lease("one").job.check_of == "one"


def test_checks_come_with_jobs_and_with_time(make_world):
    world = make_world(trust=Trust(check_every_jobs=3, check_every_s=100))
    world.trusted("one")
    for number in range(1, 4):
        world.submit(number)
        lease = world.lease("one")
        assert lease.job.check_of is None
        world.advance(1)
        world.report("one", lease, world.measured())
    assert world.check("one") == "accepted"
    assert world.lease("one") is None
    world.advance(101)
    assert world.check("one") == "accepted"


def test_check_that_fails_or_crashes_quarantines(world):
    from latency.measurement import Measurement
    from nas.devices.messages import Report

    world.join("one")
    failed = Measurement.failure(
        "the measuring process died", candidate_sha256=world.sha, reference_sha256=world.sha, device="x"
    )
    report = Report(kind="measurement", answer=failed.to_dict(), crashed=True)
    world.report("one", world.lease("one"), report)
    assert "the measuring process died" in world.device("one").reason


def tell(world, name, **figures) -> str:
    """Let a device do the job that it is given, in time enough."""
    lease = world.lease(name)
    assert lease.job.check_of is None
    world.advance(30)
    return world.report(name, lease, world.measured(**figures))


@pytest.mark.parametrize("ratio", [1000.0, 0.001])
def test_extreme_ratio_that_two_devices_find_is_a_failed_candidate(world, ratio):
    world.trusted("one", "two")
    job_id = world.submit()
    assert tell(world, "one", ratio=ratio) == f"refused: implausible ratio {ratio:.3g}, outside [0.002, 500]"
    assert world.outcome(job_id) is None
    assert tell(world, "two", ratio=1.1 * ratio).startswith("refused: implausible ratio")
    outcome = world.outcome(job_id)
    assert outcome["kind"] == "failed"
    assert outcome["reason"] == f"implausible ratio {1.1 * ratio:.3g}, outside [0.002, 500] (on one, two)"
    assert {world.device(name).standing for name in ("one", "two")} == {"trusted"}
    world.submit(2)
    assert world.lease("one").job.check_of == "one"  # trusted, and looked at all the same


def test_extreme_ratio_on_the_only_device_is_measured_twice(world):
    world.trusted("one")
    job_id = world.submit()
    tell(world, "one", ratio=1000.0)
    assert world.outcome(job_id) is None
    assert world.check("one") == "accepted"  # before the second time
    tell(world, "one", ratio=1000.0)
    assert world.outcome(job_id)["reason"] == "implausible ratio 1e+03, outside [0.002, 500] (on one)"
    assert world.device("one").standing == "trusted"


def test_only_device_that_tells_two_tales_is_believed_after_a_check(world):
    world.trusted("one")
    job_id = world.submit()
    tell(world, "one", ratio=1000.0)
    world.check("one")
    assert tell(world, "one", ratio=2.0) == "accepted"
    assert world.outcome(job_id)["kind"] == "measurement"


def test_device_alone_in_its_claim_is_quarantined(world):
    world.trusted("one", "two")
    job_id = world.submit()
    tell(world, "one", ratio=1000.0)
    assert tell(world, "two", ratio=2.0) == "accepted"
    assert world.outcome(job_id)["device"] == "two"
    assert world.device("two").standing == "trusted"
    device = world.device("one")
    assert device.standing == "quarantined"
    assert device.reason == "not believed: implausible ratio 1e+03, outside [0.002, 500], where two measured 2"


def test_claims_of_opposite_extremes_are_no_agreement(world):
    world.trusted("one", "two", "three")
    job_id = world.submit()
    tell(world, "one", ratio=1000.0)
    tell(world, "two", ratio=0.001)
    assert world.outcome(job_id) is None
    tell(world, "three", ratio=0.001)
    assert world.outcome(job_id)["reason"].endswith("(on three, two)")


def test_extreme_ratio_in_a_check_is_a_lie(world):
    world.join("one")
    lease = world.lease("one")
    world.advance(30)
    assert world.report("one", lease, world.measured(ratio=1000.0)).startswith("refused: implausible ratio")
    assert world.device("one").standing == "quarantined"
