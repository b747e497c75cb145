"""A network of a search's final comparison, as ``final.json`` keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latency.latency import Latency
from nas.accuracy import wilson_interval

WINNER = "winner"
FINAL_VERSION = 2


@dataclass(frozen=True, slots=True)
class Finalist:
    """One network of the final comparison.

    Attributes:
        name: ``winner`` or the zoo's name.
        arch: its string.
        macs: at the deployment resolution.
        params: trained parameters.
        num_test: images of the test split.
        num_correct: of these, classified right.
        latency: measured beside the others, as a dict; with several devices what stands for all, as in a trial; None
            when the run measures nothing.
        training_s: wall seconds.
        inherited: training began with the supernet's weights, not from scratch.
        device_latencies: device name -> latency there, as dicts, with several devices; empty with one.
    """

    name: str
    arch: str
    macs: int
    params: int
    num_test: int
    num_correct: int
    latency: Mapping[str, Any] | None
    training_s: float
    device_latencies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inherited: bool = False

    @property
    def accuracy(self) -> float:
        """On the test split, in [0, 1]."""
        return self.num_correct / self.num_test

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 % interval over test images; training again with another seed varies more."""
        return wilson_interval(self.num_correct, self.num_test)

    @property
    def measured(self) -> Latency | None:
        """Latency, where it was measured."""
        return Latency.from_dict(self.latency) if self.latency else None

    def measured_on(self, device: str) -> Latency | None:
        """Latency on one of several devices, where it was measured."""
        found = self.device_latencies.get(device)
        return Latency.from_dict(found) if found else None
