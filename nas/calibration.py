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


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device as it was when it was calibrated.

    Attributes:
        reference_ms: time of the reference network; positive.
        spread: its noise.
        device: what it is, deployment included.
    """

    reference_ms: float
    spread: Spread
    device: DeviceInfo

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"reference_ms": self.reference_ms, "spread": asdict(self.spread), "device": self.device.to_dict()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DeviceState:
        """Inverse of `to_dict`.

        Raises:
            KeyError: a missing field.
            TypeError: unknown or missing fields of the device.
        """
        spread, device = Spread(**document["spread"]), DeviceInfo.from_dict(document["device"])
        return cls(document["reference_ms"], spread, device)


@dataclass(frozen=True, slots=True)
class DeviceCalibration:
    """What is frozen of one device.

    Attributes:
        target_ms: its resolved latency target.
        state: None when latencies come from a record.
    """

    target_ms: float
    state: DeviceState | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types: ``target_ms`` and, where there are any, the fields of `state` beside it."""
        return {"target_ms": self.target_ms, **(self.state.to_dict() if self.state else {})}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> DeviceCalibration:
        """Inverse of `to_dict`; errors as of `DeviceState.from_dict`."""
        state = {name: value for name, value in document.items() if name != "target_ms"}
        return cls(document["target_ms"], DeviceState.from_dict(state) if state else None)


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
            TypeError: unknown or missing fields of a device, or a document of another form.
        """
        devices = {name: DeviceCalibration.from_dict(device) for name, device in document["devices"].items()}
        return cls(devices, document["data_fingerprint"])
