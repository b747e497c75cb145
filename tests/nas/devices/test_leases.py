"""Who holds a job for how long: silence, restarts, leaps of the clock, and a disk that fills up meanwhile."""

from __future__ import annotations

import sqlite3

import pytest

from latency.measurement import Measurement
from nas.devices.dispatch import RefusedError
from nas.devices.messages import Report


def test_lease_whose_answer_was_lost_is_given_again(world):
    world.trusted("one")
    world.submit()
    first, second = world.lease("one"), world.lease("one")
    assert (first.job.id, first.attempt.number) == (second.job.id, second.attempt.number)


def test_expired_lease_goes_to_the_other_device(world):
    world.trusted("one", "two")
    job_id = world.submit()
    world.lease("one")
    world.advance(65, "two")
    assert world.device("one").check_due
    lease = world.lease("two")
    assert (lease.job.id, lease.attempt.number) == (job_id, 2)


def test_device_that_lost_a_job_leaves_it_to_another(world):
    world.trusted("one", "two")
    job_id = world.submit()
    world.lease("one")
    world.advance(65, "one", "two")
    assert world.check("one") == "accepted"  # it is back, and sound
    assert world.lease("one") is None
    assert world.lease("two").job.id == job_id


def test_heartbeats_keep_a_lease(world):
    world.trusted("one")
    world.submit()
    lease = world.lease("one")
    for _ in range(20):
        world.advance(20)
        assert world.dispatcher.heartbeat("boards", world.speaker("one"), (lease.job.id, 1))
    assert world.lease("one").attempt.number == 1


def test_late_result_counts_while_the_job_is_open(world):
    world.trusted("one", "two")
    job_id = world.submit()
    first = world.lease("one")
    world.advance(65, "two")
    second = world.lease("two")
    assert world.report("one", first, world.measured(ratio=2.0)) == "accepted"
    assert world.outcome(job_id)["device"] == "one"
    assert not world.dispatcher.heartbeat("boards", world.speaker("two"), (job_id, 2))
    assert world.report("two", second, world.measured(ratio=3.0)) == "late"
    assert Measurement.from_dict(world.outcome(job_id)["answer"]).ratio == pytest.approx(2.0)


def test_agent_started_again_loses_its_job_at_once(world):
    world.trusted("one", "two")
    job_id = world.submit()
    world.lease("one")
    world.join("one", instance="f" * 32)
    assert world.lease("two").job.id == job_id
    with pytest.raises(RefusedError, match="another agent speaks") as refused:
        world.lease("one")
    assert refused.value.status == 409


def test_restarted_server_waits_for_agents_to_come_back(world):
    world.trusted("one")
    job_id = world.submit()
    lease = world.lease("one")
    world.stop()
    world.now, world.wall = 5.0, world.wall + 86400  # another boot: the monotonic clock began anew
    world.start()
    world.advance(50)
    assert world.dispatcher.heartbeat("boards", world.speaker("one"), (job_id, 1))
    assert world.report("one", lease, world.measured()) == "accepted"
    assert world.outcome(job_id)["kind"] == "measurement"


def test_restarted_server_does_not_wait_for_ever(world):
    world.trusted("one", "two")
    job_id = world.submit()
    world.lease("one")
    world.stop()
    world.start()
    world.advance(65, "two")
    assert world.check("two") == "accepted"  # since when it was checked last, the new server cannot know
    assert world.lease("two").job.id == job_id


@pytest.mark.parametrize("leap_s", [7200.0, -900.0])
def test_leap_of_the_clock_costs_no_lease(world, leap_s):
    world.trusted("one")
    job_id = world.submit()
    lease = world.lease("one")
    world.now += leap_s
    world.wall += leap_s
    assert not world.dispatcher.sweep()
    assert world.report("one", lease, world.measured()) == "accepted"
    assert world.outcome(job_id)["kind"] == "measurement"


def test_leap_of_the_wall_clock_means_nothing(world):
    world.trusted("one")
    job_id = world.submit()
    world.lease("one")
    world.wall += 10 * 365 * 86400
    world.advance(20)
    assert world.dispatcher.heartbeat("boards", world.speaker("one"), (job_id, 1))


def test_after_a_leap_leases_still_expire(world):
    world.trusted("one", "two")
    job_id = world.submit()
    world.lease("one")
    world.now += 7200
    world.advance(65, "two")
    assert world.check("two") == "accepted"  # two hours later
    assert world.lease("two").job.id == job_id


class BrokenCommit:
    """A connection that works until the commit, as on a disk that fills up; `mended` when the test says so."""

    def __init__(self, connection) -> None:
        self._connection, self.mended = connection, False

    def execute(self, statement, *values):
        if statement == "COMMIT" and not self.mended:
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._connection, name)


@pytest.fixture
def broken(world):
    """Break the next commits of the world; mend them with ``.mended = True``."""

    def break_it() -> BrokenCommit:
        world.database._connection = BrokenCommit(world.database._connection)
        return world.database._connection

    return break_it


def test_lease_that_could_not_be_written_is_none(world, broken):
    world.trusted("one", "two")
    job_id = world.submit()
    disk = broken()
    with pytest.raises(sqlite3.OperationalError):
        world.lease("one")
    disk.mended = True
    world.dispatcher.cancel("boards", job_id)
    world.advance(130, "two")  # nothing is left that could expire
    world.submit(2)
    assert world.lease("two").job.id == f"{2:032x}"


def test_expiry_that_could_not_be_written_comes_again(world, broken):
    world.trusted("one", "two")
    job_id = world.submit()
    world.lease("one")
    world.advance(55, "two")
    disk = broken()
    world.now += 10
    with pytest.raises(sqlite3.OperationalError):
        world.dispatcher.sweep()
    disk.mended = True
    assert world.dispatcher.sweep()
    assert world.lease("two").job.id == job_id


def test_result_that_could_not_be_written_leaves_the_lease(world, broken):
    world.trusted("one", "two")
    job_id = world.submit()
    lease = world.lease("one")
    world.advance(1)
    disk = broken()
    with pytest.raises(sqlite3.OperationalError):
        world.report("one", lease, world.measured())
    disk.mended = True
    world.advance(65, "two")  # the agent dies before it tells again
    assert world.lease("two").job.id == job_id


@pytest.mark.parametrize("kind", ["released", "fault"])
def test_late_excuse_does_not_give_a_job_out_twice(world, kind):
    world.trusted("one", "two", "three")
    job_id = world.submit()
    first = world.lease("one")
    world.advance(65, "two", "three")
    second = world.lease("two")
    assert world.report("one", first, Report(kind=kind, reason="stopped")) == "accepted"
    assert world.lease("three") is None
    world.advance(1)
    assert world.report("two", second, world.measured(ratio=2.0)) == "accepted"
    assert world.outcome(job_id)["device"] == "two"
