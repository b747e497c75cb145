"""Who is there, what they are and what they do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from nas.devices.presence import OFFLINE_AFTER_S
from nas.devices.records import Device, devices, find_job, held_attempts


def device_rows(db: sqlite3.Connection, now: float, pool: str | None = None) -> list[dict[str, Any]]:
    """Devices as JSON types, of one pool or of all: what `Device` has, and ``doing`` in words."""
    held = {(attempt.pool, attempt.device): attempt.job for attempt in held_attempts(db)}
    return [
        {
            "pool": device.pool,
            "name": device.name,
            "platform": device.platform,
            "device": device.info,
            "core": device.core,
            "standing": device.standing,
            "reason": device.reason,
            "seen_at": device.seen_at,
            "doing": _doing(db, device, held.get((device.pool, device.name)), now),
        }
        for device in devices(db, pool)
    ]


def _doing(db: sqlite3.Connection, device: Device, job_id: str | None, now: float) -> str:
    quarantined = f"; quarantined: {device.reason}" if device.standing == "quarantined" else ""
    job = find_job(db, job_id) if job_id is not None else None
    if now - device.seen_at > OFFLINE_AFTER_S:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(device.seen_at))
        return f"offline since {since}{quarantined}"
    if job is not None and job.check_of is not None:
        return f"being checked{quarantined}"
    if job is not None:
        return f"measuring job {job.id[:8]}"
    return quarantined.removeprefix("; ") or ("idle" if device.standing == "trusted" else "waits for its check")


def device_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """`device_rows` for people."""
    table = Table("pool", "device", "CPU", "cores", "ONNX Runtime", "system", "platform", "doing")
    for row in rows:
        info = row["device"]
        hardware = (info["cpu"], info["num_cores"], info["onnxruntime"], info["system"])
        texts = (row["pool"], row["name"], *map(str, hardware), row["platform"], row["doing"])
        table.add_row(*map(_plain, texts))
    return table


def _plain(text: str) -> Text:
    """As it stands: brackets are no markup, and what devices say of themselves moves no cursor."""
    return Text("".join(letter if letter.isprintable() else " " for letter in text))
