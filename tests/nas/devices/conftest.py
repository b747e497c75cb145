"""Small models, a dispatcher on a clock that the test turns, and servers and agents in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from latency.device_info import DeviceInfo
from latency.estimator import Block, Goal, Pair
from latency.measurement import Measurement
from latency.meter import MeterSettings
from nas.devices.database import Database
from nas.devices.dispatch import Dispatcher, Lease
from nas.devices.messages import Joining, Report, Speaker, measure_request
from nas.devices.model_store import ModelStore
from nas.devices.settlement import Policy
from nas.devices.tokens import add_token
from nas.devices.trust import Trust

ROOT = Path(__file__).parents[3]
QUICK = MeterSettings(
    goal=Goal(half_width=0.2, min_sessions=2),
    budget_s=0.2,
    session_s=0.03,
    block_s=0.002,
    warmup_s=0.005,
    refill_s=0.001,
)
# Tiny networks on a shared core are off by more than 3 % now and then; what is too much has tests on made-up samples.
LENIENT = Trust(max_ratio=1e6, max_log_ratio=5, max_drift=50, max_factor=100, recheck_s=0.2)


def build_network(channels: int = 16, size: int = 32) -> bytes:
    """A convolution and an activation."""
    weight = np.random.default_rng(0).standard_normal((channels, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "weight"], ["pre"], name="conv", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["pre"], ["output"], name="relu"),
    ]
    return build_model(nodes, [1, 3, size, size], [onnx.numpy_helper.from_array(weight, "weight")])


def build_model(nodes, shape, weights=(), domains=()) -> bytes:
    """Any model of these nodes from ``input`` to ``output``."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * len(shape))],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture(scope="session")
def network() -> bytes:
    return build_network()


@pytest.fixture(scope="session")
def larger_network() -> bytes:
    return build_network(channels=32, size=64)


@pytest.fixture
def make_model():
    return build_model


@pytest.fixture
def quick() -> MeterSettings:
    return QUICK


DEVICE = DeviceInfo.collect()


def made_up(candidate: str, reference: str, *, ratio=1.0, reference_ms=1.0, scale=1.0, sessions=3) -> Measurement:
    """A measurement with these figures; `scale` multiplies both times and nothing else, as a wrong clock does."""
    honest = np.array([ratio, 1.0]) * reference_ms * 1e6
    sizes = [QUICK.block_size(ns) for ns in honest]
    blocks = [Block(ns * scale, ns * scale, size, 1.0) for ns, size in zip(honest, sizes, strict=True)]
    return Measurement.from_sessions(
        ((Pair(*blocks),) * 3,) * sessions,
        candidate_sha256=candidate,
        reference_sha256=reference,
        device=DEVICE.key,
        environment={},
        goal=QUICK.goal,
    )


@dataclass
class World:
    """A dispatcher with devices that do what the test says."""

    folder: Path
    yardstick: bytes
    trust: Trust = field(default_factory=Trust)
    now: float = 1000.0
    wall: float = 1.7e9

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Also after `stop`: the server again."""
        self.database = Database(self.folder)
        self.models = ModelStore(self.folder, self.database, lambda: self.wall, 10**9)
        self.sha = self.models.add(self.yardstick)
        policy = Policy(yardstick=self.sha, check_settings=QUICK, trust=self.trust)
        self.dispatcher = Dispatcher(
            self.database, self.models, policy, clock=lambda: self.now, wall_clock=lambda: self.wall
        )

    def stop(self) -> None:
        self.database.close()

    def speaker(self, name: str) -> Speaker:
        return Speaker(pool="boards", name=name, instance=name.encode().hex().rjust(32, "0"))

    def join(self, name: str, instance: str | None = None, **changes) -> None:
        speaker = self.speaker(name)
        self.dispatcher.join(
            "boards",
            Joining(
                protocol=1,
                pool="boards",
                name=name,
                instance=instance or speaker.instance,
                core=0,
                device={**DEVICE.to_dict(), **changes},
            ),
        )

    def lease(self, name: str) -> Lease | None:
        return self.dispatcher.lease("boards", self.speaker(name))

    def report(self, name: str, lease: Lease, report: Report | Measurement) -> str:
        if isinstance(report, Measurement):
            report = Report(kind="measurement", answer=json.loads(json.dumps(report.to_dict())))
        key = (lease.job.id, lease.attempt.number)
        return self.dispatcher.report("boards", self.speaker(name), key, report)

    def check(self, name: str, **figures) -> str:
        """Let a device do the check that it is due."""
        lease = self.lease(name)
        assert lease is not None
        assert lease.job.check_of == name
        self.advance(1)
        return self.report(name, lease, made_up(self.sha, self.sha, **figures))

    def trusted(self, *names: str) -> None:
        for name in names:
            self.join(name)
            assert self.check(name) == "accepted"

    def submit(self, number: int = 1, **fields) -> str:
        job_id = f"{number:032x}"
        self.dispatcher.submit("boards", job_id, measure_request(self.sha, self.sha, QUICK, **fields))
        return job_id

    def outcome(self, job_id: str):
        return self.dispatcher.job("boards", job_id).outcome

    def measured(self, **figures) -> Measurement:
        return made_up(self.sha, self.sha, **figures)

    def device(self, name: str):
        from nas.devices.records import find_device

        with self.database.transaction() as db:
            return find_device(db, "boards", name)

    def advance(self, seconds: float, *awake: str) -> None:
        """Let time pass with the sweeps that a server makes; `awake` devices are heard from meanwhile."""
        for _ in range(max(1, round(seconds / 5))):
            self.now += seconds / max(1, round(seconds / 5))
            self.wall += seconds / max(1, round(seconds / 5))
            for name in awake:
                with contextlib.suppress(Exception):
                    self.dispatcher.heartbeat("boards", self.speaker(name), ("0" * 32, 1))
            self.dispatcher.sweep()


@pytest.fixture
def world(tmp_path: Path, network: bytes) -> Iterator[World]:
    made = World(tmp_path / "state", network)
    yield made
    made.stop()


@pytest.fixture
def make_world(tmp_path: Path, network: bytes) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**fields) -> World:
        worlds.append(World(tmp_path / f"state{len(worlds)}", network, **fields))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


_SERVE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import LENIENT, QUICK, build_network
from nas.devices.serve import run, service
with service(Path(sys.argv[1]), build_network(), policy_trust=LENIENT, check_settings=QUICK, lease_term_s=5.0) as opened:
    run(opened, "127.0.0.1", int(sys.argv[2]))
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


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.stop()
