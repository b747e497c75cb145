"""Where the outcomes of `nas latency check` are kept, and meters that start from them."""

from __future__ import annotations

import os
from pathlib import Path

from latency.check import Check
from latency.device_info import DeviceInfo
from latency.device_record import DeviceRecord, find_record
from latency.meter import GRADES, Grade
from latency.metered import Meter, MeteredLatency
from latency.reference import Reference
from search_spaces.arch import ArchSpec


def state_folder() -> Path:
    """``$XDG_STATE_HOME/nas``, by default ``~/.local/state/nas``: what the program knows of this machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "nas"


def known_reference(device: DeviceInfo, model: bytes) -> Reference | None:
    """The reference as the last check on exactly this device found it; None without one.

    Raises:
        BadRecordError: the record is damaged.
    """
    unknown = Reference(model, 1.0)
    record = find_record(state_folder() / "latency", device, unknown.sha256)
    return record.reference(model) if record else None


def metered(
    meter: Meter,
    reference: ArchSpec,
    num_classes: int,
    grade: Grade = GRADES["search"],
    frozen: Reference | None = None,
) -> MeteredLatency:
    """A latency source on `meter`, calibrated: as `frozen` says, or as the last check does, or on first use.

    Raises:
        BadRecordError: the record of the last check is damaged.
    """
    source = MeteredLatency(meter, reference, num_classes=num_classes, grade=grade, frozen=frozen)
    if frozen is not None:
        return source
    known = known_reference(meter.device, source.model(reference))
    return MeteredLatency(meter, reference, num_classes=num_classes, grade=grade, frozen=known)


def keep_check(check: Check, device: DeviceInfo, reference: Reference, now_unix: float) -> Path:
    """Keep what `check` has found of `device`; where."""
    found = check.calibrated(reference)
    record = DeviceRecord(
        device=device,
        reference_sha256=reference.sha256,
        reference_ms=found.reference_ms,
        spread=found.spread,
        p95_abs_log_ratio=check.p95_abs_log_ratio,
        num_pairs=len(check.pairs),
        status=check.status,
        checked_unix=now_unix,
    )
    return record.save(state_folder() / "latency")
