"""The record of one measurement: the raw samples first, the figures second."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latency.estimator import Goal, Pair, accepted_rounds
from latency.latency import Status, finite_or_none, none_to_infinity
from latency.meter import verdict

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """A candidate timed against a reference on one device; a line of ``latency.jsonl``.

    Attributes:
        candidate_sha256: of the candidate's ONNX bytes.
        reference_sha256: of the reference's.
        device: `DeviceInfo.key` of where it ran.
        ratio: time of the candidate over time of the reference; infinite if and only if `status` is ``failed``.
        interval: 95 % interval of the ratio.
        status: as in `latency.latency.Latency`.
        num_pairs: pairs behind the ratio, two a round.
        num_rejected: pairs thrown away.
        reason: why `status` is not ``ok``.
        pairs: raw samples, rejected ones included, in the order taken.
        environment: counters of the session: core (None: not pinned), niceness, load_s and total_s, load_average,
            cpu_pressure_ms, involuntary_switches, steal_ticks.
    """

    candidate_sha256: str
    reference_sha256: str
    device: str
    ratio: float
    interval: tuple[float, float]
    status: Status
    num_pairs: int
    num_rejected: int
    reason: str | None
    pairs: tuple[Pair, ...]
    environment: Mapping[str, Any]

    @classmethod
    def from_pairs(
        cls,
        pairs: list[Pair],
        *,
        candidate_sha256: str,
        reference_sha256: str,
        device: str,
        environment: Mapping[str, Any],
        goal: Goal,
        seed: int,
    ) -> Measurement:
        """What `pairs` say; `seed` draws the bootstrap."""
        found = verdict(pairs, goal, seed)
        return cls(
            candidate_sha256,
            reference_sha256,
            device,
            found.ratio,
            found.interval,
            found.status,
            found.num_pairs,
            found.num_rejected,
            found.reason,
            tuple(pairs),
            environment,
        )

    @classmethod
    def failure(cls, reason: str, *, candidate_sha256: str, reference_sha256: str, device: str) -> Measurement:
        """A candidate that could not be timed."""
        nowhere = (math.inf, math.inf)
        return cls(candidate_sha256, reference_sha256, device, math.inf, nowhere, "failed", 0, 0, reason, (), {})

    @property
    def reference_ms(self) -> float:
        """Median time of the reference during the measurement, over accepted rounds if there are any.

        Raises:
            ValueError: a failed measurement.
        """
        if not self.pairs:
            raise ValueError(f"a failed measurement has no times: {self.reason}")
        keep = accepted_rounds(self.pairs).repeat(2)
        used = [pair for pair, kept in zip(self.pairs, keep, strict=True) if kept or not keep.any()]
        return statistics.median(pair.reference.median_ns for pair in used) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, with a format version; infinity becomes null."""
        return {
            "format": FORMAT,
            "candidate_sha256": self.candidate_sha256,
            "reference_sha256": self.reference_sha256,
            "device": self.device,
            "ratio": finite_or_none(self.ratio),
            "interval": [finite_or_none(v) for v in self.interval],
            "status": self.status,
            "num_pairs": self.num_pairs,
            "num_rejected": self.num_rejected,
            "reason": self.reason,
            "pairs": [pair.to_list() for pair in self.pairs],
            "environment": dict(self.environment),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Inverse of `to_dict`.

        Raises:
            ValueError: another format version.
        """
        fields = dict(data)
        if (found := fields.pop("format")) != FORMAT:
            raise ValueError(f"measurement of format {found}; this version reads {FORMAT}")
        low, high = (none_to_infinity(v) for v in fields["interval"])
        pairs = tuple(Pair.from_list(rows) for rows in fields["pairs"])
        return cls(**{**fields, "ratio": none_to_infinity(fields["ratio"]), "interval": (low, high), "pairs": pairs})
