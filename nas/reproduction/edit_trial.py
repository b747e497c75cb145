"""What became of one edit by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EditTrial:
    """What became of one edit.

    Attributes:
        edit: its name.
        arch: the network after it; None where it does not fit.
        kept: whether what follows builds on it.
        reason: in words.
        latency: of `arch`; None where it does not fit.
        latency_ratio: that over the latency of the network before; None likewise.
        accuracy: of `arch` on held-out images, the mean of its trainings, in [0, 1]; None likewise.
        change: of the accuracy, paired image by image; None likewise.
        half_width: of the 95 % interval of `change`, over images; None likewise.
        reward_change: of the search's objective; None likewise.
    """

    edit: str
    arch: str | None
    kept: bool
    reason: str
    latency: Mapping[str, Any] | None = None
    latency_ratio: float | None = None
    accuracy: float | None = None
    change: float | None = None
    half_width: float | None = None
    reward_change: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)
