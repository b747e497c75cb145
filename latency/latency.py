"""What a latency is: milliseconds on a named device, with an interval and how it was obtained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from search_spaces.arch import ArchSpec

Status = Literal["ok", "wide", "unstable", "failed"]
"""ok: trust it; wide: the interval is wider than asked for; unstable: the machine disturbed most of it; failed: no value."""

Source = Literal["measured", "table"]

FORMAT = 1


def finite_or_none(value: float) -> float | None:
    """`value` as JSON can hold it: infinity becomes null."""
    return value if math.isfinite(value) else None


def none_to_infinity(value: float | None) -> float:
    """Inverse of `finite_or_none`."""
    return math.inf if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one inference of one network.

    A failed latency is infinite rather than NaN: it meets no target, dominates nothing and compares equal to itself.

    Attributes:
        latency_ms: ratio times the reference's frozen time; positive, infinite if and only if `status` is ``failed``.
        interval_ms: 95 % interval, low to high, for the ratio's part; the frozen reference time counts as exact.
        ratio: time of the network over time of the reference network, measured interleaved with it.
        ratio_interval: 95 % interval of `ratio`.
        status: how far to trust it.
        source: whether this network was timed or its time computed from a table.
        num_pairs: accepted pairs of blocks behind the ratio; 0 from a table.
        num_rejected: pairs thrown away because the machine was disturbed.
        reason: why `status` is not ``ok``, for people.
    """

    latency_ms: float
    interval_ms: tuple[float, float]
    ratio: float
    ratio_interval: tuple[float, float]
    status: Status
    source: Source
    num_pairs: int = 0
    num_rejected: int = 0
    reason: str | None = None

    def __post_init__(self) -> None:
        for name, value, (low, high) in (
            ("latency_ms", self.latency_ms, self.interval_ms),
            ("ratio", self.ratio, self.ratio_interval),
        ):
            if not 0 < low <= value <= high:  # NaN fails this too
                raise ValueError(f"{name} {value} with interval ({low}, {high}): must be positive and inside it")
            if math.isfinite(value) == (self.status == "failed"):
                raise ValueError(f"{name} {value} with status {self.status!r}: infinite if and only if failed")

    @classmethod
    def failure(cls, reason: str, source: Source = "measured") -> Latency:
        """The latency of a network that could not be timed."""
        nowhere = (math.inf, math.inf)
        return cls(math.inf, nowhere, math.inf, nowhere, "failed", source, reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, with a format version; infinity becomes null."""
        return {
            "format": FORMAT,
            "latency_ms": finite_or_none(self.latency_ms),
            "interval_ms": [finite_or_none(v) for v in self.interval_ms],
            "ratio": finite_or_none(self.ratio),
            "ratio_interval": [finite_or_none(v) for v in self.ratio_interval],
            "status": self.status,
            "source": self.source,
            "num_pairs": self.num_pairs,
            "num_rejected": self.num_rejected,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Latency:
        """Inverse of `to_dict`.

        Raises:
            ValueError: another format version, or values that no latency has.
        """
        if data["format"] != FORMAT:
            raise ValueError(f"latency of format {data['format']}; this version reads {FORMAT}")
        low_ms, high_ms = (none_to_infinity(v) for v in data["interval_ms"])
        low, high = (none_to_infinity(v) for v in data["ratio_interval"])
        return cls(
            latency_ms=none_to_infinity(data["latency_ms"]),
            interval_ms=(low_ms, high_ms),
            ratio=none_to_infinity(data["ratio"]),
            ratio_interval=(low, high),
            status=data["status"],
            source=data["source"],
            num_pairs=data["num_pairs"],
            num_rejected=data["num_rejected"],
            reason=data["reason"],
        )


class LatencySource(Protocol):
    """Anything that says how long an architecture takes on the device."""

    def latency(self, arch: ArchSpec) -> Latency:
        """The latency of `arch`; status ``failed`` rather than an exception when the network cannot be run."""
        ...
