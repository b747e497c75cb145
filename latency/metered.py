"""Latency of an architecture, measured: spec to model to meter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from latency.deployed_model import deployed_model
from latency.device_info import DeviceInfo
from latency.kernel_profile import Kernel, kernels
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import GRADES, Grade, MeterSettings
from latency.reference import Reference, Timer, calibrate
from search_spaces.arch import ArchSpec

MAX_ATTEMPTS = 3


class Meter(Timer, Protocol):
    """A device that times models: `latency.meter_process.MeterProcess` here, others elsewhere."""

    @property
    def device(self) -> DeviceInfo:
        """What it is, deployment included."""
        ...

    def trace(self, model: bytes, num_runs: int = 20) -> dict[str, Any]:
        """The runtime's own profile; see `latency.kernel_trace.trace`."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class MeteredLatency:
    """A `LatencySource` that measures; a context manager that closes its meter.

    Args:
        meter: the device.
        reference: network that ratios refer to.
        num_classes: outputs of the classifier.
        grade: how carefully.
        images: calibrate int8 networks; see `deployed_model`.
        frozen: time of the reference in milliseconds and the device's spread, from an earlier calibration; None
            calibrates on first use, some seconds.
    """

    def __init__(
        self,
        meter: Meter,
        reference: ArchSpec,
        *,
        num_classes: int,
        grade: Grade = GRADES["search"],
        images: Sequence[np.ndarray] | None = None,
        frozen: Reference | None = None,
    ) -> None:
        self.meter = meter
        self._num_classes = num_classes
        self._grade = grade
        self._images = images
        self._yardstick = reference
        self._reference = frozen

    def __enter__(self) -> MeteredLatency:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the meter."""
        self.meter.close()

    @property
    def reference(self) -> Reference:
        """The reference with its frozen time; calibrates on first use."""
        if self._reference is None:
            self._reference, _ = calibrate(self.meter, self.model(self._yardstick))
        return self._reference

    def against(self, reference: bytes, reference_ms: float | None = None) -> MeteredLatency:
        """The same device with another model for its reference, of a known time or calibrated now: some seconds."""
        frozen = (
            calibrate(self.meter, reference)[0]
            if reference_ms is None
            else Reference(reference, reference_ms, self.reference.spread)
        )
        return MeteredLatency(
            self.meter,
            self._yardstick,
            num_classes=self._num_classes,
            grade=self._grade,
            images=self._images,
            frozen=frozen,
        )

    def latency(self, arch: ArchSpec) -> Latency:
        """Measured latency of `arch`; status ``failed`` rather than an exception when it cannot be run."""
        return self.measure(arch)[0]

    def measure(self, arch: ArchSpec, grade: Grade | None = None) -> tuple[Latency, list[Measurement]]:
        """Latency with the raw samples behind it, one measurement a process; a disturbed one is taken again."""
        return self.measure_model(self.model(arch), grade)

    def measure_model(self, model: bytes, grade: Grade | None = None) -> tuple[Latency, list[Measurement]]:
        """Likewise of any ONNX model with static shapes, also at another resolution than the reference's."""
        grade = grade or self._grade
        goal = replace(grade.settings.goal, spread=self.reference.spread)
        settings = replace(grade.settings, goal=goal)
        taken: list[Measurement] = []
        for attempt in range(MAX_ATTEMPTS):
            taken = self._take(model, settings, grade.num_processes, attempt)
            latency = self.reference.latency(taken, goal)
            # A network that cannot be run fails again; one that the machine left not a single pair may not.
            if latency.status in ("ok", "wide") or taken[-1].status == "failed":
                break
        return latency, taken

    def _take(self, model: bytes, settings: MeterSettings, num_processes: int, attempt: int) -> list[Measurement]:
        """One measurement a process; the first that fails is the last."""
        taken: list[Measurement] = []
        for seed in range(attempt * num_processes, (attempt + 1) * num_processes):
            yardstick, fresh = self.reference.model, num_processes > 1
            taken.append(self.meter.measure(model, yardstick, settings, seed=seed, fresh_process=fresh))
            if taken[-1].status == "failed":
                break
        return taken

    def profile(self, arch: ArchSpec) -> list[Kernel]:
        """Executed kernels of `arch`, in order.

        Raises:
            MeasuringError: the network cannot be run.
        """
        model = self.model(arch)
        return kernels(model, self.meter.trace(model))

    def model(self, arch: ArchSpec) -> bytes:
        """What is measured of `arch`."""
        return deployed_model(arch, self.meter.device.deployment, self._num_classes, self._images)
