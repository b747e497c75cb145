"""What follows from an agent's report, or from its silence: for the job, and for the device's standing."""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from latency.measurement import Measurement
from latency.meter import MeterSettings
from nas.devices.analysis import MalformedReportError, analysed
from nas.devices.messages import JobRequest, Report
from nas.devices.records import (
    SPENT,
    Attempt,
    AttemptState,
    Device,
    Job,
    attempts,
    end_attempt,
    end_job,
    find_device,
    freeze_ms,
    frozen_ms,
    peers_ms,
    set_job_state,
    update_device,
)
from nas.devices.trust import Trust, drifted, extreme, implausible, skewed

_ANSWERS = {"measure": "measurement", "trace": "trace", "describe": "device"}
_EXTREMES: tuple[AttemptState, ...] = ("too_slow", "too_fast")
_KILLED: tuple[AttemptState, ...] = ("crashed", "expired")
_KILLS_THAT_POISON = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How jobs are tried and devices checked.

    Attributes:
        yardstick: sha256 of the network that devices are checked with.
        check_settings: of the meter for that.
        trust: how much devices are believed.
        max_attempts: tries that count before a job is given up; at least 1.
    """

    yardstick: str
    check_settings: MeterSettings = field(default_factory=MeterSettings)
    trust: Trust = field(default_factory=Trust)
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt under way, or one that ended without a word, with all that belongs to it."""

    job: Job
    attempt: Attempt
    device: Device


def settle(
    db: sqlite3.Connection,
    held: Held,
    report: Report,
    *,
    elapsed_s: float | None,
    second_opinion: bool,
    policy: Policy,
    now: float,
) -> str:
    """Do what the report calls for.

    Args:
        db: an open transaction.
        held: what was tried, where.
        report: how it went.
        elapsed_s: since the lease, by the server's clock; None where unknown.
        second_opinion: another device could try too.
        policy: the rules.
        now: seconds since 1970, for the record.

    Returns:
        ``accepted``, or ``refused: `` and why the device is not believed.

    Raises:
        MalformedReportError: it does not fit the job.
    """
    if report.kind in ("fault", "released"):
        state: AttemptState = "fault" if report.kind == "fault" else "released"
        end_attempt(db, held.attempt, state, report.reason, now)
        if report.kind == "fault":
            quarantine(db, held.device, f"cannot measure: {report.reason}")
        retry_or_give_up(db, held.job, policy, now)
        return "accepted"
    if report.kind not in (_ANSWERS[held.job.request.kind], "error"):
        raise MalformedReportError(f"a job of kind {held.job.request.kind} is not answered by a {report.kind}")
    if report.kind == "measurement":
        return _settle_measurement(db, held, report, elapsed_s, second_opinion, policy, now)
    if report.crashed and held.job.check_of is None:
        _settle_crash(db, held, report.reason or "no reason given", second_opinion, policy, now)
        return "accepted"
    end_attempt(db, held.attempt, "done", report.reason, now)
    if held.job.check_of is not None:
        quarantine(db, held.device, f"its check failed: {report.reason}")
    _end(db, held, report.kind, now, answer=report.answer, reason=report.reason)
    return "accepted"


def _settle_measurement(
    db: sqlite3.Connection,
    held: Held,
    report: Report,
    elapsed_s: float | None,
    second_opinion: bool,
    policy: Policy,
    now: float,
) -> str:
    found = analysed(report.answer or {}, held.job.request)
    if report.crashed and held.job.check_of is None:
        _settle_crash(db, held, found.reason or "no reason given", second_opinion, policy, now)
        return "accepted"
    if found.status != "failed":
        expected_ms = _expected_ms(db, held)
        problem = implausible(found, held.job.request.meter_settings, expected_ms, elapsed_s, policy.trust)
        side = extreme(found, policy.trust)
        if side and not problem:
            problem = (
                f"implausible ratio {found.ratio:.3g}, outside [{policy.trust.min_ratio:g}, {policy.trust.max_ratio:g}]"
            )
            if held.job.check_of is None:
                _settle_extreme(db, held, side, problem, second_opinion, policy, now)
                return f"refused: {problem}"
        if problem:
            end_attempt(db, held.attempt, "refused", problem, now)
            quarantine(db, held.device, f"not believed: {problem}")
            retry_or_give_up(db, held.job, policy, now)
            return f"refused: {problem}"
    end_attempt(db, held.attempt, "done", None, now)
    if held.job.check_of is not None:
        _settle_check(db, held, found, policy)
    elif found.status != "failed":
        _settle_job(db, held, found, policy)
        _contradict(db, held, found)
    _end(db, held, "measurement", now, answer=found.to_dict())
    return "accepted"


def _settle_check(db: sqlite3.Connection, held: Held, found: Measurement, policy: Policy) -> None:
    device, trust = held.device, policy.trust
    if found.status == "failed":
        quarantine(db, device, f"its check failed: {found.reason}")
        return
    expected_ms = _expected_ms(db, held)
    if drifted(found, expected_ms, trust):
        quarantine(
            db, device, f"the yardstick took {found.reference_ms:.3g} ms, its frozen time is {expected_ms:.3g} ms"
        )
        return
    if skewed(found, trust):
        bad = device.bad_checks + 1
        update_device(db, device, bad_checks=bad, check_due=1)
        if bad >= trust.bad_checks:
            quarantine(db, device, f"{bad} checks in a row were off, the last by {abs(found.ratio - 1):.1%}")
        return
    freeze_ms(db, device, policy.yardstick, _deployment_key(held.job.request), found.reference_ms)
    update_device(db, device, standing="trusted", reason=None, bad_checks=0, jobs_since_check=0, check_due=0)


def _settle_job(db: sqlite3.Connection, held: Held, found: Measurement, policy: Policy) -> None:
    device, request = held.device, held.job.request
    assert request.reference is not None
    due = device.check_due or drifted(found, _expected_ms(db, held), policy.trust)
    freeze_ms(db, device, request.reference, _deployment_key(request), found.reference_ms)
    update_device(db, device, jobs_since_check=device.jobs_since_check + 1, check_due=int(due))


def _settle_extreme(
    db: sqlite3.Connection,
    held: Held,
    side: Literal["too_slow", "too_fast"],
    problem: str,
    second_opinion: bool,
    policy: Policy,
    now: float,
) -> None:
    """A claim that two must make: two devices, or one twice, with a check in between, where there is no other."""
    end_attempt(db, held.attempt, side, problem, now)
    claims = [attempt for attempt in attempts(db, held.job.id) if attempt.state == side]
    told = {attempt.device for attempt in claims}
    if len(told) > 1 or (len(claims) > 1 and not second_opinion):
        _end(db, held, "failed", now, reason=f"{problem} (on {', '.join(sorted(told))})")
        return
    update_device(db, held.device, check_due=1)
    retry_or_give_up(db, held.job, policy, now)


def _contradict(db: sqlite3.Connection, held: Held, found: Measurement) -> None:
    """Quarantine the devices that were alone in their claim of an extreme ratio for this job."""
    for attempt in attempts(db, held.job.id):
        if attempt.state not in _EXTREMES or attempt.device == held.device.name:
            continue
        alone = find_device(db, attempt.pool, attempt.device)
        if alone is not None:
            reason = f"not believed: {attempt.note}, where {held.device.name} measured {found.ratio:.3g}"
            quarantine(db, alone, reason)


def _settle_crash(
    db: sqlite3.Connection, held: Held, reason: str, second_opinion: bool, policy: Policy, now: float
) -> None:
    """A model that kills its process is told so; where there is another device, that one is asked first."""
    end_attempt(db, held.attempt, "crashed", reason, now)
    killed = {attempt.device for attempt in attempts(db, held.job.id) if attempt.state in _KILLED}
    if second_opinion or len(killed) >= _KILLS_THAT_POISON:
        retry_or_give_up(db, held.job, policy, now)
    else:
        _end(db, held, "failed", now, reason=f"{reason} (on {held.device.name}; no other device to ask)")


def retry_or_give_up(db: sqlite3.Connection, job: Job, policy: Policy, now: float) -> None:
    """Queue `job` again, unless it has killed two devices or used up its attempts. A check is not repeated: it is due anew."""
    tried = attempts(db, job.id)
    spent = [attempt for attempt in tried if attempt.state in SPENT]
    story = "; ".join(f"{attempt.device}: {attempt.state}, {attempt.note}" for attempt in spent)
    if any(attempt.state == "leased" for attempt in tried):
        return  # this one had expired, and another device is at work since: what it finds decides
    if job.check_of is not None:
        end_job(db, job, now, None, "cancelled")
    elif len({attempt.device for attempt in tried if attempt.state in _KILLED}) >= _KILLS_THAT_POISON:
        end_job(db, job, now, {"kind": "failed", "reason": f"poisoned, it killed two devices: {story}"})
    elif len(spent) >= policy.max_attempts:
        end_job(db, job, now, {"kind": "error", "reason": f"given up after {len(spent)} attempts: {story}"})
    else:
        set_job_state(db, job.id, "queued")


def quarantine(db: sqlite3.Connection, device: Device, reason: str) -> None:
    """From now on `device` gets checks only, until it passes one."""
    update_device(db, device, standing="quarantined", reason=reason, bad_checks=0)


def _end(
    db: sqlite3.Connection,
    held: Held,
    kind: str,
    now: float,
    *,
    answer: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    outcome = {
        "kind": kind,
        "answer": answer,
        "reason": reason,
        "device": held.device.name,
        "platform": held.device.platform,
    }
    end_job(db, held.job, now, outcome)


def _expected_ms(db: sqlite3.Connection, held: Held) -> float | None:
    """Frozen time of the job's reference on this device; on its peers where it has none yet."""
    reference, deployment = held.job.request.reference, _deployment_key(held.job.request)
    assert reference is not None
    own = frozen_ms(db, held.device, reference, deployment)
    peers = peers_ms(db, held.device, reference, deployment)
    return own if own is not None else statistics.median(peers) if peers else None


def _deployment_key(request: JobRequest) -> str:
    return json.dumps(request.deployment, sort_keys=True)
