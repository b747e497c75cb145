"""Which job a device gets next: its check where one is due, else the oldest that it may do and nobody should do instead."""

from __future__ import annotations

import secrets
import sqlite3

from nas.devices.messages import measure_request
from nas.devices.presence import Presence
from nas.devices.records import SPENT, Device, Job, add_job, attempts, devices, find_job, queued_jobs
from nas.devices.settlement import Policy


def next_job(db: sqlite3.Connection, device: Device, presence: Presence, policy: Policy, now: float) -> Job | None:
    """What `device` shall do now; a check is put into the queue for it. None when there is nothing.

    Args:
        db: an open transaction.
        device: idle.
        presence: who is here, and was checked when.
        policy: with what devices are checked.
        now: seconds since 1970, for the record.
    """
    if presence.check_due(device):
        request = measure_request(policy.yardstick, policy.yardstick, policy.check_settings)
        job_id = secrets.token_hex(16)
        add_job(db, job_id, device.pool, request, now, check_of=device.name)
        return find_job(db, job_id)
    if device.standing != "trusted":
        return None
    for job in queued_jobs(db, device.pool, device.platform):
        if device.name not in _spent_on(db, job) or not others(db, job, device, presence):
            return job
    return None


def others(db: sqlite3.Connection, job: Job, device: Device, presence: Presence) -> bool:
    """Whether a device that has not spent an attempt at `job` is here to do it instead of `device`."""
    spent_on = _spent_on(db, job)
    return any(
        other.name not in (device.name, *spent_on)
        and other.standing == "trusted"
        and job.platform in (None, other.platform)
        and presence.online(other)
        for other in devices(db, device.pool)
    )


def _spent_on(db: sqlite3.Connection, job: Job) -> set[str]:
    return {attempt.device for attempt in attempts(db, job.id) if attempt.state in SPENT}
