"""The record of one process's measurement: the raw samples first, the figures second."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latency.estimator import Goal, Pair, Session, accepted_pairs, estimate
from latency.latency import Status, finite_or_none, none_to_infinity

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Measurement:
    """A candidate timed against a reference by one process of one device; part of a line of ``latency.jsonl``.

    Attributes:
        candidate_sha256: of the candidate's ONNX bytes.
        reference_sha256: of the reference's.
        device: `DeviceInfo.key` of where it ran.
        ratio: time of the candidate over time of the reference; infinite if and only if `status` is ``failed``.
        interval: 95 % interval of the ratio.
        status: as in `latency.latency.Latency`.
        num_pairs: pairs behind the ratio.
        num_rejected: pairs thrown away.
        reason: why `status` is not ``ok``.
        sessions: raw samples, rejected ones included, in the order taken.
        environment: counters of the process: pid, core (None: not pinned), niceness, total_s, load_average,
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
    sessions: tuple[Session, ...]
    environment: Mapping[str, Any]

    @classmethod
    def from_sessions(
        cls,
        sessions: Sequence[Session],
        *,
        candidate_sha256: str,
        reference_sha256: str,
        device: str,
        environment: Mapping[str, Any],
        goal: Goal,
    ) -> Measurement:
        """What `sessions` say."""
        found = estimate([sessions], goal)
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
            tuple(sessions),
            environment,
        )

    @classmethod
    def failure(cls, reason: str, *, candidate_sha256: str, reference_sha256: str, device: str) -> Measurement:
        """A candidate that could not be timed."""
        nowhere = (math.inf, math.inf)
        return cls(candidate_sha256, reference_sha256, device, math.inf, nowhere, "failed", 0, 0, reason, (), {})

    @property
    def reference_ms(self) -> float:
        """Median time of the reference during the measurement, over accepted pairs if there are any.

        Raises:
            ValueError: a failed measurement.
        """
        if not self.sessions:
            raise ValueError(f"a failed measurement has no times: {self.reason}")
        masks = accepted_pairs(self.sessions)
        some = any(mask.any() for mask in masks)
        used = [
            pair.reference.median_ns
            for session, mask in zip(self.sessions, masks, strict=True)
            for pair, kept in zip(session, mask, strict=True)
            if kept or not some
        ]
        return statistics.median(used) / 1e6

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
            "sessions": sessions_to_lists(self.sessions),
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
        ratio, sessions = none_to_infinity(fields["ratio"]), sessions_from_lists(fields["sessions"])
        return cls(**{**fields, "ratio": ratio, "interval": (low, high), "sessions": sessions})


def sessions_to_lists(sessions: Sequence[Session]) -> list[Any]:
    """Raw samples as JSON types."""
    return [[pair.to_list() for pair in session] for session in sessions]


def sessions_from_lists(rows: Sequence[Any]) -> tuple[Session, ...]:
    """Inverse of `sessions_to_lists`.

    Raises:
        ValueError, TypeError: rows that no pair has.
    """
    return tuple(tuple(Pair.from_list(pair) for pair in session) for session in rows)
