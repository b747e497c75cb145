"""What is frozen before the first trial of a run, so that its rewards stay comparable when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latency.device_info import DeviceInfo
from latency.estimator import Spread
from nas.config import ObjectiveSection
from nas.latency_section import OverDevices
from nas.over_devices import DeviceObjectives


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCalibration:
    """One device.

    Attributes:
        target_ms: its resolved latency target.
        reference_ms: time of the reference network there; None when latencies come from a record.
        spread: its noise; None likewise.
        device: what it is, deployment included; None likewise.
    """

    target_ms: float
    reference_ms: float | None = None
    spread: Spread | None = None
    device: DeviceInfo | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "target_ms": self.target_ms,
            "reference_ms": self.reference_ms,
            "spread": asdict(self.spread) if self.spread else None,
            "device": self.device.to_dict() if self.device else None,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DeviceCalibration:
        """Inverse of `to_dict`.

        Raises:
            TypeError: unknown or missing fields.
        """
        spread, device = document["spread"], document["device"]
        found = {"spread": Spread(**spread) if spread else None, "device": DeviceInfo.from_dict(device) if device else None}
        return cls(**{**document, **found})


@dataclass(frozen=True, slots=True)
class Calibration:
    """All devices of a run.

    Attributes:
        devices: name -> what was found there; in the order of the recipe, at least one.
        data_fingerprint: of the data set; None when nothing is trained.
    """

    devices: Mapping[str, DeviceCalibration]
    data_fingerprint: str | None

    def objectives(self, section: ObjectiveSection, how: OverDevices) -> DeviceObjectives:
        """The recipe's objective on these devices."""
        return DeviceObjectives(
            {name: section.objective(device.target_ms) for name, device in self.devices.items()}, how
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "devices": {name: device.to_dict() for name, device in self.devices.items()},
            "data_fingerprint": self.data_fingerprint,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_dict`.

        Raises:
            KeyError: a missing field.
            TypeError: unknown or missing fields of a device.
        """
        devices = {name: DeviceCalibration.from_dict(device) for name, device in document["devices"].items()}
        return cls(devices, document["data_fingerprint"])
