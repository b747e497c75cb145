"""The two verbs of every controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from search_spaces.choice import Option


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a controller wants tried next.

    Attributes:
        id: counts the asks of one controller from 0. Two suggestions may hold the same choices; the id tells the
            draws apart, so that a policy gradient finds the log-probability of *that* draw.
        choices: choice name -> option, one entry per choice of the space.
    """

    id: int
    choices: Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a suggestion.

    Attributes:
        reward: scalar to maximise; finite. For a failed trial the objective's documented failure reward.
        objectives: values to minimise, for multi-objective controllers; empty when the trial failed.
        failed: the trial crashed, diverged or broke a constraint.
        active: names of the decisions that made a difference to the network, see `SearchSpace.active`; None: all.
    """

    reward: float
    objectives: tuple[float, ...] = ()
    failed: bool = False
    active: frozenset[str] | None = None


class Controller(Protocol):
    """Chooses candidates. Knows nothing of latency, training, Ray or disk; the caller owns the loop.

    The state of a controller is a function of its constructor arguments and of the sequence of asks and tells, so
    replaying that sequence restores it, random generator included.
    """

    def ask(self) -> Suggestion:
        """The next candidate. Never blocks; may be called again before earlier suggestions are told."""
        ...

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Report the outcome of one suggestion, once, in any order.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        ...
