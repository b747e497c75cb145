"""Servers and agents in processes of their own, started and killed by the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from nas.devices.database import Database
from nas.devices.tokens import add_token

ROOT = Path(__file__).parents[3]

_SERVE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from networks import LENIENT, QUICK, build_network
from nas.devices.serve import listen, run, service
with service(Path(sys.argv[1]), build_network(), policy_trust=LENIENT, check_settings=QUICK, lease_term_s=5.0) as opened:
    run(opened, listen("127.0.0.1", int(sys.argv[2])))
"""


class Processes:
    """A server and agents, started and killed by the test; all are gone in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._running: list[subprocess.Popen[bytes]] = []
        with Database(self.state) as database, database.transaction() as db:
            self.client_token = add_token(db, "laptop", "boards", "client", 0)
            self.device_token = add_token(db, "board", "boards", "device", 0)
        self.token_file = folder / "token"
        self.token_file.write_text(self.device_token)
        self.token_file.chmod(0o600)

    def _start(self, *command: str, python: str = sys.executable, log: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}  # a measuring lock of its own
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen([python, *command], cwd=self.folder, env=environment, stdout=out, stderr=out)
        self._running.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        program = _SERVE.format(tests=str(Path(__file__).parent))
        process = self._start("-c", program, str(self.state), str(self.port), log="server.log")
        self.until(self._answers, "the server does not answer", log="server.log")
        return process

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v1/devices").status_code == 401
        except httpx.TransportError:
            return False

    def agent(self, name: str, **options) -> subprocess.Popen[bytes]:
        arguments = ("--server", self.url, "--token-file", str(self.token_file), "--pool", "boards", "--name", name)
        return self._start("-m", "latency.agent", *arguments, log=f"{name}.log", **options)

    def devices(self) -> dict[str, dict]:
        headers = {"Authorization": f"Bearer {self.client_token}"}
        return {row["name"]: row for row in httpx.get(f"{self.url}/v1/devices", headers=headers).json()}

    def until(self, condition: Callable[[], bool], complaint: str, *, log: str = "server.log", seconds=25) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.05)
        pytest.fail(f"{complaint}\n{(self.folder / log).read_text()[-3000:]}")

    def until_idle(self, *names: str) -> None:
        def idle() -> bool:
            rows = self.devices()
            return all(name in rows and rows[name]["doing"] == "idle" for name in names)

        self.until(idle, f"{names} do not become idle", log=f"{names[0]}.log")

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait(10)
