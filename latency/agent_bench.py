"""Jobs of the agent, done with the measuring process.

Runs on the device: imports what `latency.measuring_process` does, and the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.measurement import Measurement
from latency.meter import MeterSettings
from latency.meter_process import MeasuringError, MeterProcess

Report = dict[str, Any]
"""What the server is told; see `nas.devices.messages.Report`."""

GetModel = Callable[[str], bytes]
"""Checksum -> ONNX bytes."""

_DEATH = "the measuring process "
"""How `MeterProcess` begins the reason when its child died of a model, by itself or by a signal."""


def died(reason: str | None) -> bool:
    """Whether a failure says that the measuring process died; a timeout or an invalid model is none."""
    return reason is not None and reason.startswith(_DEATH)


class Bench:
    """One measuring process, started anew when a job wants another deployment; a context manager.

    Use it in one thread, which lives as long as it (see `MeterProcess`).

    Args:
        core: to measure on; None for unpinned.
        timeout_s: a job that takes longer, its budget not counted, is a failed one.
    """

    def __init__(self, core: int | None, timeout_s: float) -> None:
        self._core = core
        self._timeout_s = timeout_s
        self._process: MeterProcess | None = None
        self._worked: set[Deployment] = set()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the measuring process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def describe(self) -> tuple[DeviceInfo, int | None]:
        """This device at the default deployment, and the core that it measures on.

        Raises:
            MeasuringError: the measuring process cannot be started.
        """
        process = self._started(Deployment())
        return process.device, process.core

    def do(self, job: Mapping[str, Any], get_model: GetModel) -> Report:
        """Do a job as leased; the report for the server.

        Args:
            job: kind, deployment and the other fields of `nas.devices.messages.JobRequest`.
            get_model: fetches what the job names.

        Raises:
            KeyError, TypeError: a job of another version.
        """
        deployment = Deployment() if job["deployment"] is None else Deployment.from_dict(job["deployment"])
        try:
            process = self._started(deployment)
        except (MeasuringError, ValueError) as error:
            # One that has worked here before should work again: then it is the device's fault, not the job's.
            return {"kind": "fault" if deployment in self._worked else "error", "reason": str(error)}
        if job["kind"] == "describe":
            return {"kind": "device", "answer": process.device.to_dict()}
        candidate = get_model(job["candidate"])
        try:
            if job["kind"] == "trace":
                return {"kind": "trace", "answer": process.trace(candidate, job["num_runs"])}
            if job["kind"] == "measure":
                return _measured(
                    process.measure(
                        candidate,
                        get_model(job["reference"]),
                        MeterSettings.from_dict(job["settings"]),
                        seed=job["seed"],
                        fresh_process=job["fresh_process"],
                    )
                )
        except MeasuringError as error:
            return {"kind": "error", "reason": str(error), "crashed": died(str(error))}
        raise KeyError(f"unknown kind of job {job['kind']!r}")

    def _started(self, deployment: Deployment) -> MeterProcess:
        if self._process is None or self._process.deployment != deployment:
            self.close()
            self._process = MeterProcess(self._core, deployment, timeout_s=self._timeout_s)
        _ = self._process.device  # starts it
        self._worked.add(deployment)
        return self._process


def _measured(measurement: Measurement) -> Report:
    crashed = measurement.status == "failed" and died(measurement.reason)
    return {"kind": "measurement", "answer": measurement.to_dict(), "crashed": crashed}
