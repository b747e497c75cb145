"""Which of the scored proposals of a step is accepted, and why: rules that ties cannot make ambiguous."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.netadapt.proposal import Proposal


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal and what it does to the accuracy.

    Attributes:
        proposal: with its saving, which is positive.
        accuracy: of the proposal, in [0, 1].
        accuracy_change: against the parent that was trained as much without being changed.
        half_width: of the 95 % interval of that change, from outcomes paired image by image; 0 where it is exact.
    """

    proposal: Proposal
    accuracy: float
    accuracy_change: float
    half_width: float = 0.0

    @property
    def slope(self) -> float:
        """Change of accuracy for each unit of cost that is saved and of use."""
        return self.accuracy_change / self.proposal.useful_saving


@dataclass(frozen=True, slots=True)
class Choice:
    """The accepted candidate.

    Attributes:
        candidate: the accepted one.
        tied: groups of others that the rule values as much; of all of them the first in the network's order was taken.
    """

    candidate: Candidate
    tied: tuple[str, ...]


Selection = Callable[[Sequence[Candidate]], Choice]
"""Takes one of at least one candidate, given in the network's order."""


def by_slope(candidates: Sequence[Candidate]) -> Choice:
    """Largest change of accuracy for each unit of cost (arXiv 1905.02244, section 4.2: dAcc / |dLatency|).

    That ratio means something only where accuracy falls: among gains it would prefer the smallest saving. So where some
    candidates lose nothing, the one of these that saves most is taken, and of equal savings the most accurate. Savings count
    as far as they are of use (`Proposal.useful_saving`).
    """
    free = [candidate for candidate in candidates if candidate.accuracy_change >= 0]
    if free:
        return _first_of_best(free, lambda candidate: (candidate.proposal.useful_saving, candidate.accuracy))
    return _first_of_best(candidates, lambda candidate: (candidate.slope, candidate.proposal.useful_saving))


def by_accuracy(candidates: Sequence[Candidate]) -> Choice:
    """Highest accuracy (arXiv 1804.03230, algorithm 1), and of equal ones the largest saving."""
    return _first_of_best(candidates, lambda candidate: (candidate.accuracy, candidate.proposal.useful_saving))


def at_random(seed: int) -> Selection:
    """Any of them, all equally likely: what the rules have to beat. The draw is a function of `seed` and the candidates."""

    def select(candidates: Sequence[Candidate]) -> Choice:
        rng = np.random.default_rng([seed, *(int(candidate.proposal.arch.key, 16) for candidate in candidates)])
        return Choice(candidates[int(rng.integers(len(candidates)))], ())

    return select


@dataclass(frozen=True, slots=True)
class Rule:
    """A selection, and by what it compares.

    Attributes:
        select: accepts one.
        weight: of a proposal's change of accuracy in that comparison.
    """

    select: Selection
    weight: Callable[[Proposal], float]

    def best(self, candidates: Sequence[Candidate], num: int) -> list[Candidate]:
        """The `num` that would be accepted one after the other, in the network's order; all of them, if there are fewer."""
        left = list(candidates)
        kept: list[Candidate] = []
        while left and len(kept) < num:
            kept.append(self.select(left).candidate)
            left = [candidate for candidate in left if candidate is not kept[-1]]
        return [candidate for candidate in candidates if any(candidate is one for one in kept)]


RULES: dict[str, Rule] = {
    "slope": Rule(by_slope, lambda proposal: 1 / proposal.useful_saving),
    "accuracy": Rule(by_accuracy, lambda proposal: 1.0),  # noqa: ARG005  (accuracies are compared as they are)
}
"""Name -> rule: MobileNetV3's and NetAdapt's."""


def _first_of_best(candidates: Sequence[Candidate], value: Callable[[Candidate], tuple[float, float]]) -> Choice:
    best = max(map(value, candidates))
    first, *others = [candidate for candidate in candidates if value(candidate) == best]
    return Choice(first, tuple(other.proposal.group for other in others))
