"""The process that measures: ``python -m latency.measuring_process``, one job a line on its standard input.

Imports only the standard library, numpy, onnxruntime and what in this package does the same, so that a board needs no
more. A job is a JSON line, followed by the bytes of its models:

    {"kind": "measure", "candidate_bytes": n, "reference_sha256": s, "reference_bytes": m or 0, "settings": {...}, "seed": k}
    {"kind": "profile", "model_bytes": n, "num_runs": r}
    {"kind": "ping"}

``reference_bytes`` 0 means the reference of the job before. The answer is one JSON line:
``{"sessions": ..., "environment": ...}``, or a trace, or ``{"failed": reason, "model": which}``, or ``{}`` to a ping. The
first line that the process writes describes it, or is ``{"failed": reason}`` and the last, where it cannot run the
deployment. It ends with its input, and with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import onnxruntime as ort

from latency.cores import available_cores, pin, raise_priority
from latency.deployment import CPU_PROVIDER, Deployment
from latency.device_info import DeviceInfo
from latency.kernel_trace import trace
from latency.measurement import sessions_to_lists
from latency.meter import MeterSettings, no_garbage_collection, take_sessions
from latency.runtime import LoadedModel, MissingProviderError, check_provider, session_options
from latency.system_clock import SystemClock

_PR_SET_PDEATHSIG = 1


class JobError(Exception):
    """A job that cannot be done, with the model to blame (``candidate``, ``reference`` or ``model``)."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(reason)
        self.model = model


def _cpu_pressure_us() -> int | None:
    """Microseconds for which some task of the machine waited for a core, since it started; None where unknown."""
    try:
        first = Path("/proc/pressure/cpu").read_text().split("\n")[0]
        return int(first.rpartition("total=")[2])
    except (OSError, ValueError):
        return None


class Worker:
    """Does jobs; keeps the bytes of the reference between them.

    Args:
        deployment: how the models are run.
        cores: one for each thread, the last for the thread that calls; empty when unpinned.
        niceness: priority of this process, -20 for the highest, 0 for an ordinary one.
    """

    def __init__(self, deployment: Deployment, cores: list[int], niceness: int) -> None:
        self._deployment = deployment
        self._pool_cores = cores[:-1]
        self._placement = {"core": cores[-1] if cores else None, "niceness": niceness}
        alone = deployment.num_threads == 1 and deployment.provider == CPU_PROVIDER
        self._clock = SystemClock(cores, thread_does_all=alone)
        self._reference: tuple[str, bytes] = ("", b"")

    def do(self, job: Mapping[str, Any], jobs: BinaryIO) -> dict[str, Any]:
        """The answer to `job`, whose models are read from `jobs`."""
        try:
            if job["kind"] == "measure":
                return self._measure(job, jobs)
            if job["kind"] == "profile":
                return self._profile(job, jobs)
            if job["kind"] == "ping":
                return {}
        except JobError as error:
            return {"failed": str(error), "model": error.model}
        raise ValueError(f"unknown kind of job {job['kind']!r}")

    def _measure(self, job: Mapping[str, Any], jobs: BinaryIO) -> dict[str, Any]:
        candidate = jobs.read(job["candidate_bytes"])
        given = jobs.read(job["reference_bytes"])
        if given:
            self._reference = (job["reference_sha256"], given)
        sha256, reference = self._reference
        if sha256 != job["reference_sha256"]:
            raise JobError("reference", f"reference {job['reference_sha256']} was not sent")
        start = time.perf_counter()
        pressure = _cpu_pressure_us()
        with no_garbage_collection():
            try:
                sessions = take_sessions(
                    lambda: self._load("candidate", candidate).run,
                    lambda: self._load("reference", reference).run,
                    self._clock,
                    MeterSettings.from_dict(job["settings"]),
                    job["seed"],
                )
            except JobError:
                raise
            except Exception as error:  # a model may fail on its hundredth inference, out of memory for one
                raise JobError("candidate", f"while measuring: {error}") from error
        waited = None if pressure is None else (_cpu_pressure_us() or pressure) - pressure
        blocks = [block for session in sessions for pair in session for block in (pair.candidate, pair.reference)]
        environment = {
            "pid": os.getpid(),
            **self._placement,
            "total_s": round(time.perf_counter() - start, 4),
            "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "cpu_pressure_ms": None if waited is None else round(waited / 1000, 1),
            "involuntary_switches": sum(block.involuntary_switches for block in blocks),
            "steal_ticks": sum(block.steal_ticks for block in blocks),
        }
        return {"sessions": sessions_to_lists(sessions), "environment": environment}

    def _options(self) -> ort.SessionOptions:
        return session_options(self._deployment, self._pool_cores)

    def _load(self, role: str, model: bytes) -> LoadedModel:
        try:
            loaded = LoadedModel(model, self._options(), self._deployment.provider)
            loaded.run()  # some models load and cannot run
        except Exception as error:  # ORT's exceptions share no base class, and a bad model may raise any
            raise JobError(role, f"{role}: {error}") from error
        return loaded

    def _profile(self, job: Mapping[str, Any], jobs: BinaryIO) -> dict[str, Any]:
        model = jobs.read(job["model_bytes"])
        try:
            return trace(model, job["num_runs"], self._options(), self._deployment.provider)
        except Exception as error:  # as in _load
            raise JobError("model", str(error)) from error


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the thread that started this process ends; elsewhere the end of input must do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # control-C reaches the whole terminal group; the parent decides
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _own_output() -> TextIO:
    """The standard output for answers alone: what libraries print there goes to the standard error from now on."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _send(answers: TextIO, message: Mapping[str, Any]) -> None:
    answers.write(json.dumps(message, allow_nan=False) + "\n")
    answers.flush()


def _pin_each(cores: list[int]) -> list[int]:
    """Pin the calling thread to the last of `cores`; `cores` if the system grants all of them, otherwise none.

    The runtime pins its other threads itself, when it is told where to. Asking for all of them first shows whether they
    exist: the system ignores unknown ones beside a known one.
    """
    if not cores:
        return []
    before = available_cores()
    if pin(cores) and available_cores() == sorted(cores) and pin(cores[-1:]):
        return cores
    pin(before)
    return []


def main() -> None:
    """Describe this process, then do jobs until the input ends."""
    parser = argparse.ArgumentParser(
        description="Measures the latency of ONNX models; started by latency.meter_process."
    )
    parser.add_argument(
        "--deployment", default="{}", help="JSON object with the fields of latency.deployment.Deployment"
    )
    parser.add_argument(
        "--cores", default=[], type=json.loads, help="JSON list, one core a thread, the calling one's last; or unpinned"
    )
    arguments = parser.parse_args()
    _die_with_parent()
    answers, jobs = _own_output(), sys.stdin.buffer
    deployment = Deployment.from_dict(json.loads(arguments.deployment))
    try:
        check_provider(deployment)
    except MissingProviderError as error:
        _send(answers, {"failed": str(error)})
        return
    cores = _pin_each(arguments.cores)
    worker = Worker(deployment, cores, raise_priority())
    device = DeviceInfo.collect(deployment)
    _send(answers, {"pid": os.getpid(), "core": cores[-1] if cores else None, "device": device.to_dict()})
    while line := jobs.readline():
        _send(answers, worker.do(json.loads(line), jobs))


if __name__ == "__main__":
    main()
