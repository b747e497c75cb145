"""A Ray cluster for the searches that need not start one of their own."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas.cli import main
from tests.nas.searching import OPEN, Program


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster with one machine, which belongs to pool ``pixels``; it needs `OPEN`."""
    address = f"127.0.0.1:{(port := _free_port())}"
    ports = (f"--port={port}", f"--ray-client-server-port={_free_port()}", "--include-dashboard=false")
    command = (str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2", *ports)
    ray = Program(*command, "--resources", '{"latency:pixels": 1}', variables=OPEN)
    try:
        ray.wait_until(lambda: _answers(port))
        yield address
    finally:
        ray.kill_everything()


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`nas ARGUMENTS` in this process: exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def nas(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capfd.readouterr()

    return nas
