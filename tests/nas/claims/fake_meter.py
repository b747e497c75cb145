"""A meter that finds what it is told to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from latency.device_info import DeviceInfo
from latency.latency import Status
from latency.measurement import Measurement
from latency.meter import MeterSettings


@dataclass
class FakeMeter:
    """Attributes: what each measurement finds, the last one again and again; the seeds it was asked with."""

    outcomes: Sequence[tuple[float, Status]] = ((1.0, "ok"),)
    half_width: float = 0.01
    seeds: list[int] = field(default_factory=list)
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def device(self) -> DeviceInfo:
        return DeviceInfo.collect()

    def measure(
        self,
        candidate: bytes,
        reference: bytes,
        settings: MeterSettings | None = None,
        *,
        seed: int = 0,
        fresh_process: bool = False,
    ) -> Measurement:
        ratio, status = self.outcomes[min(len(self.seeds), len(self.outcomes) - 1)]
        self.seeds.append(seed)
        self.pairs.append((candidate, reference))
        if status == "failed":
            return Measurement.failure("no such operator", candidate_sha256="a", reference_sha256="b", device="d")
        interval = (ratio * math.exp(-self.half_width), ratio * math.exp(self.half_width))
        return Measurement("a", "b", "d", ratio, interval, status, 9, 0, None, (), {})

    def trace(self, model: bytes, num_runs: int = 20) -> dict[str, Any]:
        raise NotImplementedError

    def close(self) -> None:
        pass
