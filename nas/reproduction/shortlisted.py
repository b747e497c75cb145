"""A trial of a search that was trained again, longer, to tell which one is the seed; as ``shortlist.json`` keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shortlisted:
    """A trial that was trained again.

    Attributes:
        trial: its number.
        arch: the network as it was trained, perhaps widened.
        multiplier: of its widths; 1 where the network is the trial's own.
        searched_accuracy: what the search saw, a fraction.
        latency_ms: measured.
        num_correct: held-out images classified right after the training.
        accuracy: the same as a fraction.
        reward: of that accuracy and latency, by the search's objective.
    """

    trial: int
    arch: str
    multiplier: float
    searched_accuracy: float
    latency_ms: float
    num_correct: int
    accuracy: float
    reward: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; the inverse is the constructor."""
        return asdict(self)


def best_of(shortlist: Sequence[Shortlisted]) -> Shortlisted:
    """The one of highest reward; of equals the first."""
    return max(shortlist, key=lambda entry: entry.reward)
