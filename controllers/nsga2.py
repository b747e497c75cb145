"""NSGA-II (Deb et al. 2002, IEEE TEC 6(2)): a population that spreads over the front of all objectives.

Differences from the paper: variation is uniform crossover and mutation over categories, where the paper's is over real
numbers and bits; a failed trial is dominated by every other and does not enter the population, which is then filled by
random candidates until something succeeds; a child that was suggested before is moved on to a neighbour that was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controllers.constants import check_constants
from controllers.controller import Outcome, Suggestion
from controllers.domination import crowding_distances, non_dominated_ranks
from controllers.ledger import Candidate, Ledger
from controllers.variation import drawn, unknown_near
from search_spaces.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class NSGA2Config:
    """Constants of the controller. The defaults are the preset `fast`, chosen by measurement for up to 1000 samples.

    Attributes:
        population_size: how many survive a generation.
        num_initial: random candidates at the start. As many as survive in the paper.
        generation_size: children per generation. The paper has as many as survive; fewer select earlier.
        crossover_probability: of a child to have two parents. 0.9: the paper, section IV.
        num_mutations: how many decisions of a child are redrawn on average. 1: the paper, section IV (each with
            probability one over the number of variables).
    """

    population_size: int = 32
    num_initial: int = 32
    generation_size: int = 4
    crossover_probability: float = 0.9
    num_mutations: float = 1.0

    def __post_init__(self) -> None:
        check_constants(
            self, whole=("population_size", "num_initial", "generation_size"), at_most_one=("crossover_probability",)
        )


PRESETS = {
    "fast": NSGA2Config(),
    "paper": NSGA2Config(population_size=100, num_initial=100, generation_size=100),
}
"""Named configurations."""


def objective_rows(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Objectives of successful trials, a row each; all to be small.

    Where a trial was told no objectives, the negative reward is its only one. A row that is shorter than the longest is
    filled up with infinity: what was not told counts as the worst.
    """
    told = [outcome.objectives or (-outcome.reward,) for outcome in outcomes]
    rows = np.full((len(told), max(map(len, told), default=0)), np.inf)
    for row, values in zip(rows, told, strict=True):
        row[: len(values)] = values
    return rows


class NSGA2Controller:
    """Children of tournament winners by rank, then by crowding; the best of parents and children survive.

    Outcomes are folded in in the order of the asks, and each `generation_size` of them are a generation, so which trial
    ends first makes no difference.

    Args:
        choices: the decisions of the space.
        seed: non-negative; the same seed gives the same controller.
        config: constants, for example ``PRESETS["fast"]``.

    Raises:
        ValueError: there are no choices, or two share a name.
    """

    def __init__(self, choices: Sequence[Choice], seed: int, config: NSGA2Config) -> None:
        self._ledger = Ledger(choices)
        self.config = config
        self._rng = np.random.default_rng(seed)
        self._known: set[Candidate] = set()  # everything asked
        self._num_told = 0
        self._children: list[tuple[Candidate, Outcome]] = []  # of the generation that is not complete; successes only
        self._parents: list[tuple[Candidate, Outcome]] = []  # the best first

    def ask(self) -> Suggestion:
        """A child of the survivors; a random candidate at the start, or as long as nothing has succeeded."""
        num_options = self._ledger.num_options
        if self._ledger.num_asked < self.config.num_initial or not self._parents:
            candidate = drawn(num_options, self._rng)
        else:
            candidate = self._child()
        candidate = unknown_near(candidate, num_options, self._known, self._rng)
        self._known.add(candidate)
        return self._ledger.ask(candidate)

    def _child(self) -> Candidate:
        one, other = self._parent(), self._parent()
        num_options = np.array(self._ledger.num_options)
        if self._rng.random() < self.config.crossover_probability:
            one = np.where(self._rng.random(len(one)) < 0.5, one, other)
        mutates = self._rng.random(len(one)) < self.config.num_mutations / len(one)
        shift = 1 + self._rng.integers(np.maximum(num_options - 1, 1))  # to one of the other options, if there are any
        return tuple(np.where(mutates, (one + shift) % num_options, one).tolist())

    def _parent(self) -> NDArray[np.int64]:
        """The better of two: parents are sorted, so that is the one which comes first."""
        return np.array(self._parents[int(self._rng.integers(len(self._parents), size=2).min())][0])

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Enter an outcome, and select survivors for every generation that it completes.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        for told in self._ledger.tell(suggestion, outcome):
            self._num_told += 1
            if not told.outcome.failed:
                self._children.append((told.candidate, told.outcome))
            if self._num_told % self.config.generation_size == 0:
                self._parents = survivors(self._parents + self._children, self.config.population_size)
                self._children = []


def survivors(members: Sequence[tuple[Candidate, Outcome]], number: int) -> list[tuple[Candidate, Outcome]]:
    """The best `number` of `members`, the best first: by rank, within a front the least crowded first.

    Crowding is that of the whole front, as in the paper, also where only a part of it survives.
    """
    rows = objective_rows([outcome for _, outcome in members])
    ranks = non_dominated_ranks(rows)
    crowding = np.zeros(len(members))
    for rank in range(ranks.max(initial=-1) + 1):
        crowding[ranks == rank] = crowding_distances(rows[ranks == rank])
    order = np.lexsort((-crowding, ranks))  # stable: the older first among equals
    return [members[i] for i in order[:number].tolist()]
