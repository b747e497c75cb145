"""The agent of a device: ``python -m latency.agent --server URL --token-file FILE --pool POOL``.

It asks a server (``nas device serve``) for jobs, one after the other, and opens no port. Beside the standard library it
needs numpy, onnxruntime and httpx. Models run in a child process, so that one that crashes takes nothing else along.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import platform
import re
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from latency.agent_bench import Bench, Report
from latency.agent_client import AgentError, ModelDamagedError, RefusedError, ServerConnection, check_server
from latency.cores import available_cores, measuring_core, pin
from latency.meter_process import MeasuringError

EXIT_USER_ERROR = 2
EXIT_STOPPED = 0

_log = logging.getLogger("latency.agent")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEPT_MODELS = 3  # the pool's yardstick, the search's reference, the candidate
_DOWNLOADS = 3


class _StoppedError(Exception):
    """The person or the system wants the agent to end."""


class ModelCache:
    """The models used last, so that a reference travels once.

    Args:
        server: where they come from.
    """

    def __init__(self, server: ServerConnection) -> None:
        self._server = server
        self._models: dict[str, bytes] = {}

    def get(self, sha256: str, num_bytes: int) -> bytes:
        """A model, downloaded where it is not at hand.

        Raises:
            ModelDamagedError: it did not arrive whole in a few tries.
            RefusedError: the server does not give it.
        """
        if sha256 not in self._models:
            self._models[sha256] = self._download(sha256, num_bytes)
        self._models[sha256] = self._models.pop(sha256)  # the youngest is last
        for oldest in list(self._models)[:-_KEPT_MODELS]:
            del self._models[oldest]
        return self._models[sha256]

    def _download(self, sha256: str, num_bytes: int) -> bytes:
        for tries_left in reversed(range(_DOWNLOADS)):
            try:
                return self._server.model(sha256, num_bytes)
            except ModelDamagedError as error:
                _log.warning("download of model %s: %s", sha256[:12], error)
                if not tries_left:
                    raise ModelDamagedError(f"model {sha256[:12]} did not arrive: {error}") from error
        raise AssertionError("unreachable: the last try returns or raises")


class Agent:
    """The loop: ask, measure, tell.

    Args:
        server: whose jobs to do.
        bench: to do them with.
    """

    def __init__(self, server: ServerConnection, bench: Bench) -> None:
        self._server = server
        self._bench = bench
        self._models = ModelCache(server)
        self._heartbeat_s = 10.0
        self._wait_s = 25.0

    def run(self) -> None:
        """Do jobs until something stops it.

        Raises:
            AgentError: the server refuses this agent for good, or nothing can be measured here.
        """
        self._join()
        while True:
            try:
                job = self._server.lease(self._wait_s)
            except RefusedError as error:
                if error.status == httpx.codes.NOT_FOUND:  # its state is another's: an older copy, or a new folder
                    self._join()
                    continue
                raise AgentError(str(error)) from None
            if job is not None:
                self._do(job)

    def _join(self) -> None:
        try:
            device, core = self._bench.describe()
        except MeasuringError as error:
            raise AgentError(f"cannot measure on this device: {error}") from None
        try:
            terms = self._server.join(device.to_dict(), core)
        except RefusedError as error:
            raise AgentError(str(error)) from None
        self._heartbeat_s, self._wait_s = terms["heartbeat_s"], terms["wait_s"]
        _log.info("joined as %s, platform %s, measuring on core %s", device.cpu, device.key, core)

    def _do(self, job: Mapping[str, Any]) -> None:
        job_id, attempt = job["job"], job["attempt"]
        _log.info("job %s, attempt %d: %s", job_id[:8], attempt, job["request"]["kind"])
        try:
            with self._heart_beating(job_id, attempt):
                report = self._attempt(job)
        except (_StoppedError, KeyboardInterrupt):
            with contextlib.suppress(RefusedError, httpx.RequestError):  # then its lease runs out
                self._server.report(job_id, attempt, {"kind": "released", "reason": "agent stopped"}, once=True)
            raise
        try:
            state = self._server.report(job_id, attempt, report)
        except RefusedError as error:
            if error.status not in (httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.REQUEST_ENTITY_TOO_LARGE):
                _log.warning("job %s: %s", job_id[:8], error)  # the server forgot it, or gave it to another agent
                return
            state = self._unreadable(job_id, attempt, error)
        _log.info("job %s, attempt %d: %s", job_id[:8], attempt, state)

    def _unreadable(self, job_id: str, attempt: int, error: RefusedError) -> str:
        reason = f"the server could not read the result: {error}"
        try:
            return self._server.report(job_id, attempt, {"kind": "fault", "reason": reason})
        except RefusedError as again:
            return f"not even a fault is taken: {again}"

    def _attempt(self, job: Mapping[str, Any]) -> Report:
        sizes = job["model_bytes"]
        try:
            return self._bench.do(job["request"], lambda sha256: self._models.get(sha256, sizes[sha256]))
        except (ModelDamagedError, RefusedError) as error:
            return {"kind": "fault", "reason": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"kind": "fault", "reason": f"job not understood ({error!r}): another version of the program?"}

    @contextlib.contextmanager
    def _heart_beating(self, job_id: str, attempt: int) -> Iterator[None]:
        """Tell the server now and then that the job is being done.

        The thread inherits this one's cores, which the measuring core is not among.
        """
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._heartbeat_s):
                try:
                    self._server.heartbeat(job_id, attempt)
                except (httpx.RequestError, RefusedError) as error:  # the report will tell; until then keep measuring
                    _log.warning("heartbeat: %s", error)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def check_private(path: Path) -> None:
    """Pass a token file that not everybody on this machine can read; a missing one too, `read_token` will tell.

    Raises:
        AgentError: everybody can; never on Windows, whose permissions are others.
    """
    if sys.platform != "win32" and path.exists() and path.stat().st_mode & stat.S_IROTH:
        raise AgentError(
            f"--token-file {path}: everybody on this machine can read it; mend that with: chmod 600 {path}"
        )


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        AgentError: no such file, or nothing in it.
    """
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"--token-file {path}: {error}") from None
    if not token or not token.isascii() or len(token.split()) != 1:
        raise AgentError(f"--token-file {path}: holds no token; make one with: nas device token add")
    return token


def _keep_off(core: int | None) -> None:
    """Leave the measuring core to the measuring process, where there is another."""
    others = [other for other in available_cores() if other != core]
    if core is not None and others:
        pin(others)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _StoppedError


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m latency.agent",
        description="Does the measurements that a server of `nas device serve` asks for.",
    )
    parser.add_argument("--server", required=True, metavar="URL", help="such as https://laptop.local:8470")
    parser.add_argument("--token-file", required=True, type=Path, metavar="FILE", help="from `nas device token add`")
    parser.add_argument("--pool", required=True, help="the pool that the token is for")
    parser.add_argument("--name", default=platform.node(), help="of this device; by default its host name")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="trust this certificate")
    parser.add_argument("--core", type=int, default=measuring_core(), help="core to measure on; by default the last")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S", help="a job that takes longer than this failed (120)"
    )
    parser.add_argument("--insecure", action="store_true", help="allow http to another machine")
    return parser.parse_args(argv)


def _run(arguments: argparse.Namespace) -> None:
    if not _NAME.fullmatch(arguments.name):
        raise AgentError(f"--name {arguments.name!r}: letters, digits, '.', '_' and '-', a letter or digit first")
    if not 0 < arguments.timeout < math.inf:
        raise AgentError(f"--timeout {arguments.timeout:g}: must be positive and finite")
    core, cores = arguments.core, available_cores()
    if core is not None and cores and core not in cores:
        raise AgentError(f"--core {core}: this process may use {', '.join(map(str, cores))}")
    check_private(arguments.token_file)
    token = read_token(arguments.token_file)
    try:
        check_server(arguments.server, insecure=arguments.insecure)
        server = ServerConnection(
            arguments.server,
            token,
            arguments.pool,
            arguments.name,
            os.urandom(16).hex(),
            ca_file=arguments.ca_file,
            complain=_log.warning,
        )
    except ValueError as error:
        raise AgentError(str(error)) from None
    _keep_off(core)
    with contextlib.closing(server), Bench(core, arguments.timeout) as bench:
        Agent(server, bench).run()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until it is stopped; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, _stop)
    try:
        _run(arguments)
    except AgentError as error:
        print(f"latency.agent: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except (_StoppedError, KeyboardInterrupt):
        _log.info("stopped")
    return EXIT_STOPPED


if __name__ == "__main__":
    sys.exit(main())
