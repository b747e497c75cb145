"""What is known of a device from its last check, kept between runs: one small JSON file a device and reference."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latency.device_info import DeviceInfo
from latency.estimator import Spread
from latency.reference import Reference

FORMAT = "nas-device"
VERSION = 1


class BadRecordError(ValueError):
    """A file that is no device record of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """The outcome of an A/A test.

    Attributes:
        device: where it ran.
        reference_sha256: of the reference's ONNX bytes.
        reference_ms: its time.
        spread: noise between sessions and processes.
        p95_abs_log_ratio: of the test.
        num_pairs: of the test.
        status: of the test.
        checked_unix: when.
    """

    device: DeviceInfo
    reference_sha256: str
    reference_ms: float
    spread: Spread
    p95_abs_log_ratio: float
    num_pairs: int
    status: str
    checked_unix: float

    def save(self, folder: Path) -> Path:
        """Write it, whole or not at all; the file's path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = _path(folder, self.device, self.reference_sha256)
        temporary = path.with_suffix(".tmp")
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields |= {"device": self.device.to_dict(), "spread": asdict(self.spread)}
        document = {"format": FORMAT, "version": VERSION, **fields}
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        temporary.replace(path)
        return path

    def reference(self, model: bytes) -> Reference:
        """The calibrated reference of these bytes."""
        return Reference(model, self.reference_ms, self.spread)


def find_record(folder: Path, device: DeviceInfo, reference_sha256: str) -> DeviceRecord | None:
    """The record of exactly this device and reference; None when it was never checked.

    Raises:
        BadRecordError: the file is damaged.
    """
    path = _path(folder, device, reference_sha256)
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        if (document.pop("format"), document.pop("version")) != (FORMAT, VERSION):
            raise ValueError(f"not a {FORMAT} file of version {VERSION}")
        found = {"device": DeviceInfo.from_dict(document["device"]), "spread": Spread(**document["spread"])}
        return DeviceRecord(**{**document, **found})
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecordError(f"{path}: damaged ({error}); delete it, or run: nas latency check") from None


def _path(folder: Path, device: DeviceInfo, reference_sha256: str) -> Path:
    return folder / f"{device.key}-{reference_sha256[:12]}.json"
