"""One evaluated candidate, and its line in the journal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from latency.latency import Latency
from nas.dominance import front_positions
from nas.jsonl import read_json_lines
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.choice import Option

FORMAT = "nas-trials"
VERSION = 2

Status = Literal["ok", "failed", "rejected"]
"""ok: trained and measured; failed: crashed, diverged or could not be measured; rejected: broke a constraint, not trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What became of one suggestion; immutable.

    Attributes:
        number: counts suggestions from 0.
        choices: choice name -> option.
        arch: the network.
        status: see `Status`.
        reward: what the controller is told; the objective's failure reward unless `status` is ``ok``.
        macs: multiply-adds at the deployment resolution.
        params: trained parameters.
        accuracy: on held-out images, in [0, 1]; None unless ``ok``.
        latency: the one that the reward used: of the device; with several devices what stands for all of them, see
            `nas.over_devices.DeviceObjectives.latency`; None when there is none.
        reason: why it failed or was rejected.
        repeat_of: number of the earlier trial of the same network whose outcome this one takes over.
        device_latencies: device name -> latency there, with several devices; empty with one, and where there is none.
        times: wall seconds and time stamps; the only fields that differ between two runs with equal outcomes.
    """

    number: int
    choices: Mapping[str, Option]
    arch: ArchSpec
    status: Status
    reward: float
    macs: int
    params: int
    accuracy: float | None = None
    latency: Latency | None = None
    reason: str | None = None
    repeat_of: int | None = None
    device_latencies: Mapping[str, Latency] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds of `latency`, where there are any."""
        return self.latency.latency_ms if self.latency and self.latency.status != "failed" else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **document,
            "choices": dict(self.choices),
            "arch": str(self.arch),
            "key": self.arch.key,
            "latency": self.latency.to_dict() if self.latency else None,
            "device_latencies": {name: latency.to_dict() for name, latency in self.device_latencies.items()},
            "times": dict(self.times),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Trial:
        """Inverse of `to_dict`."""
        fields = {name: value for name, value in document.items() if name != "key"}
        latency = fields["latency"]
        return cls(
            **{
                **fields,
                "arch": parse_arch(fields["arch"]),
                "latency": Latency.from_dict(latency) if latency else None,
                "device_latencies": {
                    name: Latency.from_dict(found) for name, found in fields["device_latencies"].items()
                },
            }
        )


def read_trials(path: Path) -> list[Trial]:
    """The trials of a journal, by number."""
    return sorted(
        (Trial.from_dict(record) for record in read_json_lines(path, FORMAT, VERSION)), key=lambda t: t.number
    )


def pareto_front(trials: list[Trial]) -> list[Trial]:
    """Trials that no other beats in accuracy and latency both, fastest first; of equal ones the earliest stays."""
    done = sorted((t for t in trials if t.status == "ok"), key=lambda t: t.number)
    latencies_ms = [math.nan if t.latency_ms is None else t.latency_ms for t in done]
    accuracies = [math.nan if t.accuracy is None else t.accuracy for t in done]
    return [done[position] for position in front_positions(latencies_ms, accuracies)]


def best_trial(trials: list[Trial]) -> Trial | None:
    """The trial of highest reward, the earliest of equals; None when none succeeded."""
    done = [t for t in trials if t.status == "ok"]
    return max(done, key=lambda t: (t.reward, -t.number)) if done else None
