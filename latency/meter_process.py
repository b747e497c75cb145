"""The client of the measuring process: starts it, gives it jobs, and starts it again when a model kills it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from latency.cores import available_cores
from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.measurement import Measurement, sessions_from_lists
from latency.measuring_lock import measuring_lock
from latency.meter import MeterSettings

_PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_START_TIMEOUT_S = 60.0
_STDERR_TAIL_BYTES = 2000


class MeasuringError(RuntimeError):
    """The measuring process itself or the reference is at fault, not a candidate."""


class _ChildDiedError(Exception):
    """The child ended, or was ended, before it answered."""


class MeterProcess:
    """A process that measures on a core of its own; a context manager.

    Start it in a thread that lives as long as it: on Linux the kernel kills the child when the *thread* that started it
    ends. A child found dead between jobs is started again silently. Calls from several threads, and from other processes
    of the machine, wait for each other.

    Args:
        core: number of the core to measure on, None for unpinned; `latency.cores.measuring_core()` is the usual choice.
            Several threads take as many cores: this one, and the last before it that this process may use now.
        deployment: how the models are run; by default as `Deployment()`. That they are made for its resolution, batch
            and dtype is up to the caller.
        timeout_s: kill the child when a job takes longer than this and twice the budget of its settings; positive.

    Raises:
        ValueError: a timeout that is not positive, or more threads than cores.
    """

    def __init__(self, core: int | None, deployment: Deployment | None = None, *, timeout_s: float = 60.0) -> None:
        if not 0 < timeout_s < math.inf:
            raise ValueError(f"timeout_s {timeout_s} must be positive and finite")
        self.deployment = deployment or Deployment()
        self._cores = _cores_up_to(core, self.deployment.num_threads)
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] = io.BytesIO()  # the child's, a file once there is one
        self._hello: Mapping[str, Any] = {}
        self._reference_sha256: str | None = None  # the one that the child has loaded
        self._one_caller = threading.RLock()

    def __enter__(self) -> MeterProcess:
        try:
            self._ensure_started()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def core(self) -> int | None:
        """The core that the child's calling thread really is pinned to; None when not (not Linux, or refused)."""
        self._ensure_started()
        core: int | None = self._hello["core"]
        return core

    @property
    def device(self) -> DeviceInfo:
        """Where and how it measures, as the child sees it."""
        self._ensure_started()
        return DeviceInfo.from_dict(self._hello["device"])

    @property
    def pid(self) -> int:
        """Process id of the child."""
        self._ensure_started()
        pid: int = self._hello["pid"]
        return pid

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        """Time `candidate` against `reference`, both ONNX models with static shapes.

        A candidate that cannot be loaded or run, that crashes the child or keeps it beyond the timeout gives status
        ``failed`` with a reason, and the next call works. Holds the machine-wide measuring lock meanwhile.

        Args:
            candidate: the network in question.
            reference: what to compare with; its bytes stay with the child from call to call.
            settings: how long to measure; by default as `MeterSettings()`.
            seed: draws where in memory the networks come to lie.
            fresh_process: end the child and start another one first. Where a process's memory happens to lie moves its
                times; a new one draws that anew.

        Raises:
            MeasuringError: the reference cannot be run, or the child cannot be started.
        """
        settings = settings or MeterSettings()
        shas = {"candidate_sha256": _sha256(candidate), "reference_sha256": _sha256(reference)}
        with self._one_caller, measuring_lock():
            if fresh_process:
                self._kill()
            self._ensure_ready()
            shas["device"] = self.device.key
            known = shas["reference_sha256"] == self._reference_sha256
            job = {
                "kind": "measure",
                "candidate_bytes": len(candidate),
                "reference_sha256": shas["reference_sha256"],
                "reference_bytes": 0 if known else len(reference),
                "settings": settings.to_dict(),
                "seed": seed,
            }
            try:
                answer = self._ask(job, candidate, b"" if known else reference, budget_s=settings.budget_s)
            except _ChildDiedError as error:
                return Measurement.failure(str(error), **shas)
            # Also after a failed candidate: the child keeps the reference before it loads either.
            self._reference_sha256 = None if answer.get("model") == "reference" else shas["reference_sha256"]
        if answer.get("model") == "reference":
            raise MeasuringError(answer["failed"])
        if "failed" in answer:
            return Measurement.failure(answer["failed"], **shas)
        sessions = sessions_from_lists(answer["sessions"])
        return Measurement.from_sessions(sessions, environment=answer["environment"], goal=settings.goal, **shas)

    def trace(self, model: bytes, num_runs: int = 20) -> dict[str, Any]:
        """The runtime's own profile of `model`; what `latency.kernel_trace.trace` returns.

        Raises:
            MeasuringError: the model cannot be run, or the child died of it.
            ValueError: fewer than one run.
        """
        if num_runs < 1:
            raise ValueError(f"num_runs {num_runs} must be at least 1")
        with self._one_caller, measuring_lock():
            self._ensure_ready()
            try:
                answer = self._ask({"kind": "profile", "model_bytes": len(model), "num_runs": num_runs}, model)
            except _ChildDiedError as error:
                raise MeasuringError(str(error)) from error
        if "failed" in answer:
            raise MeasuringError(answer["failed"])
        return answer

    def close(self) -> None:
        """End the child. The object starts another one if it is used again."""
        with self._one_caller:
            self._kill()

    def _ensure_started(self) -> None:
        with self._one_caller:
            if self._child is not None and self._child.poll() is None:
                return
            self._kill()
            self._child = self._spawn()
            try:
                self._hello = self._read(_START_TIMEOUT_S)
            except _ChildDiedError as error:
                raise MeasuringError(f"the measuring process did not start: {error}") from error
            if "failed" in self._hello:
                self._kill()
                raise MeasuringError(self._hello["failed"])

    def _ensure_ready(self) -> None:
        """Started, and answering: a process that is being killed looks alive for some milliseconds."""
        self._ensure_started()
        try:
            self._ask({"kind": "ping"})
        except _ChildDiedError:
            self._ensure_started()

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = ["--deployment", json.dumps(self.deployment.to_dict()), "--cores", json.dumps(self._cores)]
        path = os.pathsep.join(filter(None, (_PACKAGE_ROOT, os.environ.get("PYTHONPATH"))))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed in _kill; a file cannot fill up as a pipe does)
        return subprocess.Popen(
            # -P: a folder named latency in the working directory is not ours
            [sys.executable, "-P", "-m", "latency.measuring_process", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )

    def _ask(self, job: Mapping[str, Any], *models: bytes, budget_s: float = 0.0) -> dict[str, Any]:
        assert self._child is not None
        assert self._child.stdin is not None
        return self._read(self._timeout_s + 2 * budget_s, json.dumps(job).encode() + b"\n", *models)

    def _read(self, timeout_s: float, *to_send: bytes) -> dict[str, Any]:
        """Send, then wait for one line of JSON; past the timeout the child is killed, which ends both."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        timed_out = threading.Event()

        def give_up() -> None:
            timed_out.set()
            child.kill()

        timer = threading.Timer(timeout_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            for data in to_send:
                child.stdin.write(data)
            child.stdin.flush()
            answer: dict[str, Any] = json.loads(child.stdout.readline())
            return answer
        except (OSError, ValueError) as error:  # a broken pipe; an empty or torn line
            child.kill()
            reason = f"no answer in {timeout_s:g} s" if timed_out.is_set() else self._cause_of_death(child)
            self._kill()
            raise _ChildDiedError(reason) from error
        finally:
            timer.cancel()

    def _cause_of_death(self, child: subprocess.Popen[bytes]) -> str:
        code = child.wait()
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_TAIL_BYTES))
        last_lines = self._stderr.read().decode(errors="replace").strip().splitlines()[-3:]
        end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return " | ".join([f"the measuring process {end}", *last_lines])

    def _kill(self) -> None:
        child, self._child, self._reference_sha256 = self._child, None, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # unsent bytes in the buffer of a broken pipe
                pipe.close()
        self._stderr.close()


def _cores_up_to(last: int | None, num_threads: int) -> list[int]:
    """A core for each thread, ascending: `last` and those before it that this process may use; none without `last`.

    Raises:
        ValueError: there are not so many.
    """
    if last is None:
        return []
    cores = [*(core for core in available_cores() if core < last), last]
    if len(cores) < num_threads:
        raise ValueError(
            f"num_threads {num_threads} needs as many cores, core {last} and others before it; "
            f"this process may use {', '.join(map(str, cores))} of them"
        )
    return cores[-num_threads:]


def _sha256(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()
