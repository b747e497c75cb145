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
        searched_accuracy: what the search saw, a fraction.
        multiplier: of its widths; 1 where the seed would be the trial's own network.
        arch: the seed that it would be.
        fitted_multiplier: uniform, of the widths of `arch`, brings it to the target.
        fitted: the network that it makes: the one that was trained.
        fitted_ms: latency of that, measured.
        num_correct: held-out images classified right after the training.
        accuracy: the same as a fraction.
    """

    trial: int
    searched_accuracy: float
    multiplier: float
    arch: str
    fitted_multiplier: float
    fitted: str
    fitted_ms: float
    num_correct: int
    accuracy: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; the inverse is the constructor."""
        return asdict(self)


def best_of(shortlist: Sequence[Shortlisted]) -> Shortlisted:
    """The one of highest accuracy; of equals the first."""
    return max(shortlist, key=lambda entry: entry.accuracy)
