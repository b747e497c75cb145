"""What became of a trained network when it was quantised."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from latency.latency import Latency


@dataclass(frozen=True, slots=True)
class Int8Figures:
    """A quantised network.

    Attributes:
        num_correct: test images that it classifies right, at the resolution of training.
        latency: at the resolution of deployment; its ratio is to the quantised reference network.
    """

    num_correct: int
    latency: Latency

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self) | {"latency": self.latency.to_dict()}
