"""A meter that remembers: what it has measured once on a device, it does not measure again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from latency.device_info import DeviceInfo
from latency.measurement import Measurement
from latency.meter import MeterSettings
from latency.metered import Meter

FORMAT = "nas-measurement"
VERSION = 1
_WORTH_KEEPING = ("ok", "wide")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/nas``, by default ``~/.cache/nas``: what can be had again at the cost of time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas"


class CachedMeter:
    """A `Meter` around another one; a measurement is one file, written whole or not at all.

    Remembered are those that went well, by device (runtime and deployment included), both models, settings and seed.

    Args:
        meter: measures what is not known.
        folder: of the files; by default in `cache_folder`.
        fresh: measures everything anew, and remembers that instead.
    """

    def __init__(self, meter: Meter, folder: Path | None = None, *, fresh: bool = False) -> None:
        self._meter = meter
        self._folder = folder or cache_folder() / "measurements"
        self._fresh = fresh

    @property
    def device(self) -> DeviceInfo:
        """Of the meter."""
        return self._meter.device

    def trace(self, model: bytes, num_runs: int = 20) -> dict[str, Any]:
        """Of the meter; never remembered."""
        return self._meter.trace(model, num_runs)

    def close(self) -> None:
        """Close the meter."""
        self._meter.close()

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        """As the meter does, or as it did."""
        settings = settings or MeterSettings()
        key = {
            "device": self.device.key,
            "candidate": hashlib.sha256(candidate).hexdigest(),
            "reference": hashlib.sha256(reference).hexdigest(),
            "settings": settings.to_dict(),
            "seed": seed,
            "fresh_process": fresh_process,
        }
        key = json.loads(json.dumps(key))  # as it comes back from the file
        path = self._folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.json"
        if not self._fresh and (known := _read(path, key)) is not None:
            return known
        measured = self._meter.measure(candidate, reference, settings, seed=seed, fresh_process=fresh_process)
        if measured.status in _WORTH_KEEPING:
            _write(path, {"format": FORMAT, "version": VERSION, "key": key, "measurement": measured.to_dict()})
        return measured


def _read(path: Path, key: dict[str, Any]) -> Measurement | None:
    """The measurement in `path`; None where there is none, or not of this version: a cache may be written anew."""
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    wanted = {"format": FORMAT, "version": VERSION, "key": key}
    if not isinstance(document, dict) or {name: document.get(name) for name in wanted} != wanted:
        return None
    return Measurement.from_dict(document["measurement"])


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(document, separators=(",", ":"), allow_nan=False))
    temporary.replace(path)
