"""Regularised evolution (arXiv 1802.01548): the oldest dies, not the worst.

Differences from the paper: a failed trial is never born into the population, so that it can neither be a parent nor push
out one that works; and a child that was suggested before is moved on to a neighbour that was not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controllers.constants import check_constants
from controllers.controller import Outcome, Suggestion
from controllers.ledger import Candidate, Ledger
from controllers.variation import drawn, unknown_near
from search_spaces.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class EvolutionConfig:
    """Constants of the controller. The defaults are the preset `fast`, chosen by measurement for up to 1000 samples.

    Attributes:
        population_size: P of the paper: how many of the youngest may be parents.
        num_initial: random candidates at the start. P in the paper.
        tournament_size: S of the paper: the parent is the best of so many drawn from the population.
    """

    population_size: int = 64
    num_initial: int = 16
    tournament_size: int = 16

    def __post_init__(self) -> None:
        check_constants(self, whole=("population_size", "num_initial", "tournament_size"))


PRESETS = {
    "fast": EvolutionConfig(),
    "paper": EvolutionConfig(
        population_size=100, num_initial=100, tournament_size=25
    ),  # section 3.1 and appendix A: P = 100, S = 25
}
"""Named configurations."""


class EvolutionController:
    """Mutates one decision of the best of a few drawn from the youngest candidates.

    Outcomes are folded in in the order of the asks, so ages are those of the asks and which trial ends first makes no
    difference.

    Args:
        choices: the decisions of the space.
        seed: non-negative; the same seed gives the same controller.
        config: constants, for example ``PRESETS["fast"]``.

    Raises:
        ValueError: there are no choices, or two share a name.
    """

    def __init__(self, choices: Sequence[Choice], seed: int, config: EvolutionConfig) -> None:
        self._ledger = Ledger(choices)
        self.config = config
        self._rng = np.random.default_rng(seed)
        self._known: set[Candidate] = set()  # everything asked
        self._population: deque[tuple[float, Candidate]] = deque(maxlen=config.population_size)  # the oldest first

    def ask(self) -> Suggestion:
        """A child of the population; a random candidate at the start, or as long as nothing has succeeded."""
        num_options = self._ledger.num_options
        if self._ledger.num_asked < self.config.num_initial or not self._population:
            candidate = drawn(num_options, self._rng)
        else:
            candidate = self._parent()  # which is known, so that the next step mutates it
        candidate = unknown_near(candidate, num_options, self._known, self._rng)
        self._known.add(candidate)
        return self._ledger.ask(candidate)

    def _parent(self) -> Candidate:
        """The best of a sample with replacement (algorithm 1 of the paper); the oldest of those drawn among equals."""
        drawn_ages = self._rng.integers(len(self._population), size=self.config.tournament_size)
        _, candidate = max((self._population[age] for age in sorted(drawn_ages.tolist())), key=lambda member: member[0])
        return candidate

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Enter an outcome. It joins the population once all earlier suggestions are told, unless it failed.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        for told in self._ledger.tell(suggestion, outcome):
            if not told.outcome.failed:
                self._population.append((told.outcome.reward, told.candidate))
