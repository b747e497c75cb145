"""Who does which job: the queue, the leases, and when a device is checked. Knows no HTTP.

Every public method of `Dispatcher` is one transaction, or one and a sweep before it. What is kept in memory beside it
(leases, presence) changes after the commit: a full disk may undo the transaction, and both must tell the same.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from latency.device_info import DeviceInfo
from nas.devices.analysis import MalformedReportError
from nas.devices.assignment import next_job, others
from nas.devices.database import Database
from nas.devices.leases import AttemptKey, Leases
from nas.devices.messages import JobRequest, Joining, Report, Speaker
from nas.devices.model_store import ModelStore
from nas.devices.presence import Presence
from nas.devices.records import (
    Attempt,
    Device,
    Job,
    add_job,
    attempts,
    begin_attempt,
    count_devices,
    drop_jobs_ended_before,
    end_attempt,
    end_job,
    find_device,
    find_job,
    held_attempts,
    held_by,
    open_jobs,
    put_device,
    update_device,
)
from nas.devices.settlement import Held, Policy, retry_or_give_up, settle

KEEP_ENDED_JOBS_S = 30 * 86400.0
"""Ended jobs, with their raw samples, are dropped after this long when a server starts."""

MAX_DEVICES = 1000
"""In a pool; a token could make up names without end."""


class RefusedError(Exception):
    """A request that cannot be met; `status` is HTTP's.

    Args:
        status: 4xx.
        message: what is wrong and what to do.
        missing: checksums of models that must be uploaded first.
    """

    def __init__(self, status: int, message: str, missing: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Lease:
    """A job and the attempt at it that an agent is to make."""

    job: Job
    attempt: Attempt


class Dispatcher:
    """The server's state and rules.

    Args:
        database: where the state is.
        models: where models are.
        policy: how jobs are tried and devices checked.
        lease_term_s: a lease lasts so long without a heartbeat.
        clock: seconds, monotonic: for all that is waited for.
        wall_clock: seconds since 1970: for the record only.
    """

    def __init__(
        self,
        database: Database,
        models: ModelStore,
        policy: Policy,
        *,
        lease_term_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._models = models
        self._policy = policy
        self._now = wall_clock
        self._leases = Leases(lease_term_s, clock)
        self._presence = Presence(policy.trust, clock)
        self._one_caller = threading.RLock()
        with database.transaction() as db:
            for attempt in held_attempts(db):  # an earlier server's; their agents shall have time to come back
                self._leases.arm((attempt.job, attempt.number), anew=False)
            drop_jobs_ended_before(db, self._now() - KEEP_ENDED_JOBS_S)

    @property
    def lease_term_s(self) -> float:
        """How long a lease lasts without a heartbeat."""
        return self._leases.term_s

    def join(self, pool: str, joining: Joining) -> None:
        """A device begins, or begins again: it is checked before it gets a job.

        Raises:
            RefusedError: its description is of another version (422), or the pool is full (409).
        """
        try:
            platform = DeviceInfo.from_dict(joining.device).key
        except (TypeError, ValueError) as error:
            raise RefusedError(422, f"device: {error}; install the same version of this program on both") from None
        with self._one_caller:
            lost: list[Attempt] = []
            with self._database.transaction() as db:
                known = find_device(db, pool, joining.name)
                if known is None and count_devices(db, pool) >= MAX_DEVICES:
                    raise RefusedError(409, f"pool {pool!r} has {MAX_DEVICES} devices; drop some: nas device forget")
                if known is None or known.platform != platform:
                    put_device(db, pool, joining, platform, self._now())
                else:
                    now = self._now()
                    update_device(db, known, instance=joining.instance, core=joining.core, check_due=1, seen_at=now)
                if known is not None and known.instance != joining.instance:
                    lost = held_by(db, known)
                for attempt in lost:
                    self._lose(db, attempt, "its agent was started again")
            for attempt in lost:
                self._leases.drop((attempt.job, attempt.number))
            self._presence.joined(pool, joining.name)

    def lease(self, pool: str, speaker: Speaker) -> Lease | None:
        """The next job for an idle agent; None when there is none for now.

        Raises:
            RefusedError: the device is unknown (404), or another agent has its name (409).
        """
        self.sweep()
        with self._one_caller:
            with self._database.transaction() as db:
                device = self._heard(db, pool, speaker)
                for attempt in held_by(db, device):  # the answer that told it of this job was lost on the way
                    job = find_job(db, attempt.job)
                    assert job is not None
                    return Lease(job, attempt)
                job = next_job(db, device, self._presence, self._policy, self._now())
                if job is None:
                    return None
                attempt = begin_attempt(db, job, device, self._now())
            self._leases.arm((job.id, attempt.number))
            return Lease(job, attempt)

    def heartbeat(self, pool: str, speaker: Speaker, key: AttemptKey) -> bool:
        """An agent is at work on an attempt; whether anybody still waits for it.

        Raises:
            RefusedError: as `lease`.
        """
        with self._one_caller, self._database.transaction() as db:
            self._heard(db, pool, speaker)
            held = self._held(db, pool, speaker, key)
            self._leases.renew(key)
            return held.job.open and held.attempt.state == "leased"

    def report(self, pool: str, speaker: Speaker, key: AttemptKey, report: Report) -> str:
        """How an attempt ended.

        A report on an attempt that expired meanwhile counts if the job is still open: the samples are as good as others,
        and nobody need take them again. The same report twice changes nothing.

        Returns:
            ``accepted``, ``repeated``, ``late`` (the job had ended: recorded, not used) or ``refused: `` and why.

        Raises:
            RefusedError: it does not fit (422), no such attempt (404), or as `lease`.
        """
        self.sweep()
        with self._one_caller:
            with self._database.transaction() as db:
                self._heard(db, pool, speaker)
                held = self._held(db, pool, speaker, key)
                if held.attempt.state not in ("leased", "expired"):
                    return "repeated"
                answer = self._settled(db, held, report, self._leases.elapsed_s(key))
            self._leases.drop(key)
            if held.job.check_of is not None:
                self._presence.checked(pool, speaker.name)
            return answer

    def _settled(self, db: sqlite3.Connection, held: Held, report: Report, elapsed_s: float | None) -> str:
        if not held.job.open:
            end_attempt(db, held.attempt, "late", held.attempt.note, self._now())
            return "late"
        try:
            return settle(
                db,
                held,
                report,
                elapsed_s=elapsed_s,
                second_opinion=others(db, held.job, held.device, self._presence),
                policy=self._policy,
                now=self._now(),
            )
        except MalformedReportError as error:
            raise RefusedError(422, str(error)) from None

    def submit(self, pool: str, job_id: str, request: JobRequest) -> None:
        """Queue a client's job; the same id again changes nothing.

        Raises:
            RefusedError: models are missing (404), the id means another job (409), or the request cannot be stored (422).
        """
        if not request.survives_storage:
            raise RefusedError(422, "the job has figures that JSON cannot hold (NaN, infinity)")
        with self._one_caller:
            with self._database.transaction() as db:
                known = find_job(db, job_id)
                if known is not None and (known.pool, known.request) != (pool, request):
                    raise RefusedError(409, f"job {job_id} exists and is another one")
                if known is not None:
                    return
                if missing := self._models.missing(db, request.models):
                    raise RefusedError(404, "models must be uploaded first", missing)
                add_job(db, job_id, pool, request, self._now())
            self.make_room()

    def job(self, pool: str, job_id: str) -> Job:
        """A job as it stands.

        Raises:
            RefusedError: no such job in this pool.
        """
        with self._one_caller, self._database.transaction() as db:
            job = find_job(db, job_id)
            if job is None or job.pool != pool:
                raise RefusedError(404, f"no job {job_id} in pool {pool!r}")
            return job

    def cancel(self, pool: str, job_id: str) -> None:
        """Nobody waits for this job any more; nothing happens to one that is over.

        Raises:
            RefusedError: as `job`.
        """
        with self._one_caller:
            job = self.job(pool, job_id)
            if job.open:
                with self._database.transaction() as db:
                    end_job(db, job, self._now(), None, "cancelled")

    def may_read(self, pool: str, sha256: str) -> bool:
        """Whether an open job of `pool` needs this model."""
        with self._one_caller, self._database.transaction() as db:
            return any(sha256 in job.request.models for job in open_jobs(db) if job.pool == pool)

    def make_room(self) -> None:
        """Drop models that no open job needs, where they have become too many; to be called after each upload."""
        with self._one_caller:
            with self._database.transaction() as db:
                used = {sha256 for job in open_jobs(db) for sha256 in job.request.models}
            self._models.make_room(used | {self._policy.yardstick})

    def sweep(self) -> bool:
        """End the leases that have expired; whether there were any. To be called more often than twice a term."""
        with self._one_caller:
            expired = self._leases.expired()
            if not expired:
                return False
            with self._database.transaction() as db:
                for job_id, number in expired:
                    attempt = attempts(db, job_id)[number - 1]
                    if attempt.state == "leased":
                        self._lose(db, attempt, f"no sign of life for {self._leases.term_s:g} s")
            for key in expired:
                self._leases.drop(key)
            return True

    def _lose(self, db: sqlite3.Connection, attempt: Attempt, note: str) -> None:
        end_attempt(db, attempt, "expired", note, self._now())
        device, job = find_device(db, attempt.pool, attempt.device), find_job(db, attempt.job)
        if device is not None:
            update_device(db, device, check_due=1)
        if job is not None and job.open:
            retry_or_give_up(db, job, self._policy, self._now())

    def _heard(self, db: sqlite3.Connection, pool: str, speaker: Speaker) -> Device:
        device = find_device(db, pool, speaker.name)
        if device is None:
            raise RefusedError(404, f"no device {speaker.name!r} in pool {pool!r}: join first")
        if device.instance != speaker.instance:
            raise RefusedError(409, f"another agent speaks for {speaker.name!r} of pool {pool!r}; give each a --name")
        self._presence.heard(pool, speaker.name)
        update_device(db, device, seen_at=self._now())
        return device

    def _held(self, db: sqlite3.Connection, pool: str, speaker: Speaker, key: AttemptKey) -> Held:
        job_id, number = key
        job, device = find_job(db, job_id), find_device(db, pool, speaker.name)
        tried = attempts(db, job_id)
        if job is None or device is None or not 1 <= number <= len(tried):
            raise RefusedError(404, f"no attempt {number} at job {job_id}")
        attempt = tried[number - 1]
        if (attempt.pool, attempt.device) != (pool, speaker.name):
            raise RefusedError(403, f"attempt {number} at job {job_id} is not of {speaker.name!r} of pool {pool!r}")
        return Held(job, attempt, device)
