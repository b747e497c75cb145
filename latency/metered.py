"""Latency of an architecture, measured: spec to graph to ONNX to the meter."""

from __future__ import annotations

from types import TracebackType

from latency.kernel_profile import Kernel, profile
from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import MeterSettings
from latency.meter_process import MeterProcess
from latency.reference import Reference, calibrate
from search_spaces.arch import ArchSpec
from search_spaces.lower import lower
from search_spaces.onnx_model import emit_onnx

MAX_ATTEMPTS = 3


class MeteredLatency:
    """A `LatencySource` that measures; a context manager that owns the measuring process.

    Args:
        reference: network that ratios refer to.
        resolution: deployment resolution in pixels.
        num_classes: outputs of the classifier.
        core: to measure on, None for unpinned.
        settings: of the meter.
        reference_ms: frozen time of the reference, from an earlier calibration on this device; None calibrates now.
    """

    def __init__(
        self,
        reference: ArchSpec,
        *,
        resolution: int,
        num_classes: int,
        core: int | None,
        settings: MeterSettings | None = None,
        reference_ms: float | None = None,
    ) -> None:
        self._resolution = resolution
        self._num_classes = num_classes
        self._process = MeterProcess(core, settings)
        self._reference_model = self._model(reference)
        self._reference = Reference(self._reference_model, reference_ms) if reference_ms else None

    def __enter__(self) -> MeteredLatency:
        self._process.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, traceback)

    def close(self) -> None:
        """End the measuring process."""
        self._process.close()

    @property
    def process(self) -> MeterProcess:
        """The measuring process."""
        return self._process

    @property
    def reference(self) -> Reference:
        """The reference with its frozen time; calibrates on first use, a few seconds."""
        if self._reference is None:
            self._reference, _ = calibrate(self._process, self._reference_model)
        return self._reference

    def latency(self, arch: ArchSpec) -> Latency:
        """Measured latency of `arch`; status ``failed`` rather than an exception when it cannot be run."""
        return self.measure(arch)[0]

    def measure(self, arch: ArchSpec) -> tuple[Latency, Measurement]:
        """Latency with the raw samples behind it; a disturbed measurement is taken again.

        Where not one pair of the last attempt was fit to be used, the latency is ``failed``: there is no value to trust.
        """
        model = self._model(arch)
        for _ in range(MAX_ATTEMPTS):
            measurement = self._process.measure(model, self.reference.model)
            if measurement.status != "unstable":
                break
        if measurement.status == "unstable" and measurement.num_pairs == 0:
            return Latency.failure(f"the machine was too busy to measure: {measurement.reason}"), measurement
        return self.reference.latency(measurement), measurement

    def profile(self, arch: ArchSpec) -> list[Kernel]:
        """Executed kernels of `arch`, in order."""
        return profile(self._process, self._model(arch))

    def _model(self, arch: ArchSpec) -> bytes:
        return emit_onnx(lower(arch, self._resolution, self._num_classes))
