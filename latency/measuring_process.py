"""The process that measures: ``python -m latency.measuring_process [--core N]``, one job a line on its standard input.

Imports only the standard library, numpy, onnxruntime and what in this package does the same, so that a board needs no
more. A job is a JSON line, followed by the bytes of its models:

    {"kind": "measure", "candidate_bytes": n, "reference_sha256": s, "reference_bytes": m or 0, "settings": {...}, "seed": k}
    {"kind": "profile", "model_bytes": n, "num_runs": r}
    {"kind": "ping"}

``reference_bytes`` 0 means the reference of the job before, which stays loaded and warm. The answer is one JSON line:
``{"pairs": ..., "environment": ...}``, or a trace, or ``{"failed": reason, "model": which}``, or ``{}`` to a ping. The
first line that the process writes describes it. It ends with its input, and with its parent.
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

from latency.cores import pin, raise_priority
from latency.device_info import DeviceInfo
from latency.estimator import Goal
from latency.kernel_trace import trace
from latency.meter import MeterSettings, no_garbage_collection, take_pairs
from latency.runtime import LoadedModel
from latency.system_clock import SystemClock

_PR_SET_PDEATHSIG = 1


class JobError(Exception):
    """A job that cannot be done, with the model to blame (``candidate``, ``reference`` or ``model``)."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(reason)
        self.model = model


def settings_from_dict(data: Mapping[str, Any]) -> MeterSettings:
    """Inverse of `dataclasses.asdict` of `MeterSettings`."""
    return MeterSettings(**{**data, "goal": Goal(**data["goal"])})


def _load(role: str, model: bytes) -> LoadedModel:
    try:
        loaded = LoadedModel(model)
        loaded.run()  # some models load and cannot run
    except Exception as error:  # ORT's exceptions share no base class, and a bad model may raise any
        raise JobError(role, f"{role}: {error}") from error
    return loaded


def _cpu_pressure_us() -> int | None:
    """Microseconds for which some task of the machine waited for a core, since it started; None where unknown."""
    try:
        first = Path("/proc/pressure/cpu").read_text().split("\n")[0]
        return int(first.rpartition("total=")[2])
    except (OSError, ValueError):
        return None


class Worker:
    """Does jobs; keeps the reference loaded between them.

    Args:
        core: the core that this process is pinned to, None when unpinned.
        niceness: its priority, -20 for the highest, 0 for an ordinary one.
    """

    def __init__(self, core: int | None, niceness: int) -> None:
        self._placement = {"core": core, "niceness": niceness}
        self._clock = SystemClock(core)
        self._reference: tuple[str, LoadedModel] | None = None

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
        reference_model = jobs.read(job["reference_bytes"])
        start = time.perf_counter()
        reference = self._warm_reference(job["reference_sha256"], reference_model)
        loaded = _load("candidate", candidate)
        load_s = time.perf_counter() - start
        pressure = _cpu_pressure_us()
        with no_garbage_collection():
            try:
                pairs = take_pairs(
                    loaded.run, reference.run, self._clock, settings_from_dict(job["settings"]), job["seed"]
                )
            except Exception as error:  # a model may fail on its hundredth inference, out of memory for one
                raise JobError("candidate", f"while measuring: {error}") from error
        waited = None if pressure is None else (_cpu_pressure_us() or pressure) - pressure
        environment = {
            **self._placement,
            "load_s": round(load_s, 4),
            "total_s": round(time.perf_counter() - start, 4),
            "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "cpu_pressure_ms": None if waited is None else round(waited / 1000, 1),
            "involuntary_switches": sum(
                p.candidate.involuntary_switches + p.reference.involuntary_switches for p in pairs
            ),
            "steal_ticks": sum(p.candidate.steal_ticks + p.reference.steal_ticks for p in pairs),
        }
        return {"pairs": [pair.to_list() for pair in pairs], "environment": environment}

    def _warm_reference(self, sha256: str, model: bytes) -> LoadedModel:
        if model:
            self._reference = None  # first let go of the old one's memory
            self._reference = (sha256, _load("reference", model))
        if self._reference is None or self._reference[0] != sha256:
            raise JobError("reference", f"reference {sha256} is not loaded")
        return self._reference[1]

    def _profile(self, job: Mapping[str, Any], jobs: BinaryIO) -> dict[str, Any]:
        model = jobs.read(job["model_bytes"])
        try:
            return trace(model, job["num_runs"])
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


def main() -> None:
    """Describe this process, then do jobs until the input ends."""
    parser = argparse.ArgumentParser(
        description="Measures the latency of ONNX models; started by latency.meter_process."
    )
    parser.add_argument("--core", type=int, help="number of the core to run on; unpinned without it")
    arguments = parser.parse_args()
    _die_with_parent()
    answers, jobs = _own_output(), sys.stdin.buffer
    device = DeviceInfo.collect()
    core = arguments.core if arguments.core is not None and pin([arguments.core]) else None
    worker = Worker(core, raise_priority())
    _send(answers, {"pid": os.getpid(), "core": core, "device": device.to_dict()})
    while line := jobs.readline():
        _send(answers, worker.do(json.loads(line), jobs))


if __name__ == "__main__":
    main()
