"""Rows of the database as data: devices, jobs, attempts, and the statements that change them.

Every function takes an open transaction, so that whoever calls decides what happens together.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from nas.devices.messages import JobRequest, Joining

Standing = Literal["new", "trusted", "quarantined"]
"""new: has yet to pass its first check; trusted: gets jobs; quarantined: gets checks only."""

JobState = Literal["queued", "leased", "done", "cancelled"]
AttemptState = Literal[
    "leased", "done", "crashed", "expired", "fault", "refused", "too_slow", "too_fast", "released", "late"
]
"""expired: no heartbeat; fault: the device could not; refused: not believed; too_slow, too_fast: a ratio that a second
device must confirm; released: the agent was stopped; late: told after the job had ended."""

SPENT: tuple[AttemptState, ...] = ("crashed", "expired", "fault", "refused", "too_slow", "too_fast")
"""Attempts that count: a job is given up after some of them, and goes to another device first."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it stands; columns of the table of this name.

    Attributes:
        pool: it belongs to.
        name: within the pool.
        info: `DeviceInfo.to_dict`, for the default deployment.
        platform: key of that `DeviceInfo`.
        core: that it measures on; None for unpinned.
        instance: agent process that speaks for it.
        standing: whether it gets jobs.
        reason: of a quarantine.
        bad_checks: in a row, so far.
        jobs_since_check: since the last one.
        check_due: a check before the next job.
        seen_at: last word from it, seconds since 1970.
    """

    pool: str
    name: str
    info: dict[str, Any]
    platform: str
    core: int | None
    instance: str
    standing: Standing
    reason: str | None
    bad_checks: int
    jobs_since_check: int
    check_due: bool
    seen_at: float


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands.

    Attributes:
        id: drawn by who submitted it.
        pool: it is for.
        request: what to do.
        platform: of the devices that may do it; None for any.
        check_of: name of the device that it checks; None for a client's.
        state: where it is.
        outcome: of a job that is done: ``{"kind", "answer" or "reason", "device", "platform"}``.
    """

    id: str
    pool: str
    request: JobRequest
    platform: str | None
    check_of: str | None
    state: JobState
    outcome: dict[str, Any] | None

    @property
    def open(self) -> bool:
        """Whether somebody may still do it."""
        return self.state in ("queued", "leased")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One device's try at a job."""

    job: str
    number: int
    pool: str
    device: str
    state: AttemptState
    note: str | None
    leased_at: float
    ended_at: float | None


def _device(row: sqlite3.Row) -> Device:
    return Device(**{**row, "info": json.loads(row["info"]), "check_due": bool(row["check_due"])})


def find_device(db: sqlite3.Connection, pool: str, name: str) -> Device | None:
    """The device called `name` in `pool`."""
    row = db.execute("SELECT * FROM devices WHERE pool = ? AND name = ?", (pool, name)).fetchone()
    return _device(row) if row else None


def devices(db: sqlite3.Connection, pool: str | None = None) -> list[Device]:
    """All devices, or those of one pool, by name."""
    rows = db.execute("SELECT * FROM devices WHERE ? IS NULL OR pool = ? ORDER BY pool, name", (pool, pool))
    return [_device(row) for row in rows]


def count_devices(db: sqlite3.Connection, pool: str) -> int:
    """How many devices `pool` has."""
    return int(db.execute("SELECT count(*) FROM devices WHERE pool = ?", (pool,)).fetchone()[0])


def put_device(db: sqlite3.Connection, pool: str, joining: Joining, platform: str, now: float) -> None:
    """A device new to us, or changed: its frozen times were another platform's, and it has yet to pass a check."""
    db.execute("DELETE FROM calibrations WHERE pool = ? AND device = ?", (pool, joining.name))
    db.execute(
        "INSERT OR REPLACE INTO devices (pool, name, info, platform, core, instance, standing, seen_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 'new', ?)",
        (pool, joining.name, json.dumps(joining.device), platform, joining.core, joining.instance, now),
    )


def update_device(db: sqlite3.Connection, device: Device, **changes: Any) -> None:
    """Set columns of a device."""
    columns = ", ".join(f"{name} = ?" for name in changes)
    values = (*changes.values(), device.pool, device.name)
    db.execute(f"UPDATE devices SET {columns} WHERE pool = ? AND name = ?", values)


def forget_device(db: sqlite3.Connection, pool: str, name: str) -> bool:
    """Drop a device and its frozen times; whether there was one. It joins as a new one when its agent starts again."""
    db.execute("DELETE FROM calibrations WHERE pool = ? AND device = ?", (pool, name))
    return db.execute("DELETE FROM devices WHERE pool = ? AND name = ?", (pool, name)).rowcount > 0


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        pool=row["pool"],
        request=JobRequest.model_validate_json(row["request"]),
        platform=row["platform"],
        check_of=row["check_of"],
        state=row["state"],
        outcome=json.loads(row["outcome"]) if row["outcome"] else None,
    )


def add_job(
    db: sqlite3.Connection, job_id: str, pool: str, request: JobRequest, now: float, check_of: str | None = None
) -> None:
    """Put a job into the queue."""
    db.execute(
        "INSERT INTO jobs (id, pool, request, platform, check_of, state, submitted_at) VALUES (?, ?, ?, ?, ?, 'queued', ?)",
        (job_id, pool, request.model_dump_json(), request.platform, check_of, now),
    )


def find_job(db: sqlite3.Connection, job_id: str) -> Job | None:
    """The job of this id."""
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return _job(row) if row else None


def queued_jobs(db: sqlite3.Connection, pool: str, platform: str) -> list[Job]:
    """Clients' jobs that a device of `platform` may do, the oldest first."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE pool = ? AND state = 'queued' AND check_of IS NULL"
        " AND (platform IS NULL OR platform = ?) ORDER BY number",
        (pool, platform),
    )
    return [_job(row) for row in rows]


def open_jobs(db: sqlite3.Connection) -> list[Job]:
    """All that are not ended."""
    return [_job(row) for row in db.execute("SELECT * FROM jobs WHERE state IN ('queued', 'leased')")]


def end_job(
    db: sqlite3.Connection, job: Job, now: float, outcome: dict[str, Any] | None, state: JobState = "done"
) -> None:
    """It is over, with this outcome."""
    text = None if outcome is None else json.dumps(outcome, allow_nan=False)
    db.execute("UPDATE jobs SET state = ?, outcome = ?, ended_at = ? WHERE id = ?", (state, text, now, job.id))


def drop_jobs_ended_before(db: sqlite3.Connection, oldest: float) -> None:
    """Delete the jobs that ended before `oldest`, in seconds since 1970, with their attempts."""
    db.execute("DELETE FROM attempts WHERE job IN (SELECT id FROM jobs WHERE ended_at < ?)", (oldest,))
    db.execute("DELETE FROM jobs WHERE ended_at < ?", (oldest,))


def set_job_state(db: sqlite3.Connection, job_id: str, state: JobState) -> None:
    """From queued to leased, or back."""
    db.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, job_id))


def begin_attempt(db: sqlite3.Connection, job: Job, device: Device, now: float) -> Attempt:
    """Lease `job` to `device`."""
    number = len(attempts(db, job.id)) + 1
    attempt = Attempt(job.id, number, device.pool, device.name, "leased", None, now, None)
    db.execute(
        "INSERT INTO attempts VALUES (?, ?, ?, ?, 'leased', NULL, ?, NULL)",
        (job.id, number, device.pool, device.name, now),
    )
    set_job_state(db, job.id, "leased")
    return attempt


def attempts(db: sqlite3.Connection, job_id: str) -> list[Attempt]:
    """At one job, in order."""
    return [Attempt(**row) for row in db.execute("SELECT * FROM attempts WHERE job = ? ORDER BY number", (job_id,))]


def held_attempts(db: sqlite3.Connection) -> list[Attempt]:
    """Those under way."""
    return [Attempt(**row) for row in db.execute("SELECT * FROM attempts WHERE state = 'leased'")]


def held_by(db: sqlite3.Connection, device: Device) -> list[Attempt]:
    """Those under way on `device`: one, or none."""
    return [a for a in held_attempts(db) if (a.pool, a.device) == (device.pool, device.name)]


def end_attempt(db: sqlite3.Connection, attempt: Attempt, state: AttemptState, note: str | None, now: float) -> None:
    """It is over."""
    db.execute(
        "UPDATE attempts SET state = ?, note = ?, ended_at = ? WHERE job = ? AND number = ?",
        (state, note, now, attempt.job, attempt.number),
    )


def frozen_ms(db: sqlite3.Connection, device: Device, reference: str, deployment: str) -> float | None:
    """The frozen time of a reference on `device`; None before its first measurement there."""
    row = db.execute(
        "SELECT reference_ms FROM calibrations WHERE pool = ? AND device = ? AND reference = ? AND deployment = ?",
        (device.pool, device.name, reference, deployment),
    ).fetchone()
    return None if row is None else float(row[0])


def peers_ms(db: sqlite3.Connection, device: Device, reference: str, deployment: str) -> list[float]:
    """Frozen times of a reference on the other trusted devices of the same platform and pool."""
    rows = db.execute(
        "SELECT c.reference_ms FROM calibrations c JOIN devices d ON d.pool = c.pool AND d.name = c.device"
        " WHERE c.pool = ? AND c.device != ? AND d.platform = ? AND d.standing = 'trusted'"
        " AND c.reference = ? AND c.deployment = ?",
        (device.pool, device.name, device.platform, reference, deployment),
    )
    return [float(row[0]) for row in rows]


def freeze_ms(db: sqlite3.Connection, device: Device, reference: str, deployment: str, reference_ms: float) -> None:
    """Freeze the time of a reference on `device`, unless it was before."""
    db.execute(
        "INSERT OR IGNORE INTO calibrations VALUES (?, ?, ?, ?, ?)",
        (device.pool, device.name, reference, deployment, reference_ms),
    )
