"""A dispatcher on a clock that the test turns, with devices that do what the test says."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latency.device_info import DeviceInfo
from latency.estimator import Block, Pair
from latency.measurement import Measurement
from nas.devices.database import Database
from nas.devices.dispatch import Dispatcher, Lease
from nas.devices.messages import Joining, Report, Speaker, measure_request
from nas.devices.model_store import ModelStore
from nas.devices.records import find_device
from nas.devices.settlement import Policy
from nas.devices.trust import Trust
from tests.nas.devices.networks import QUICK

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
