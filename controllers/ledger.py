"""The book of asks and tells: one place where every controller checks what it is told, and puts it in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controllers.controller import Outcome, Suggestion
from search_spaces.choice import Choice

Candidate = tuple[int, ...]
"""For each choice, in the order of the space, the position of the option taken."""


@dataclass(frozen=True, slots=True)
class Told:
    """A suggestion and what became of it."""

    id: int
    candidate: Candidate
    outcome: Outcome


class Ledger:
    """Numbers the suggestions of one controller and checks that each is told once.

    Args:
        choices: the decisions of the space, at least one, in the order in which the controller indexes them.

    Raises:
        ValueError: there are no choices, or two share a name.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        names = [choice.name for choice in choices]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if not names:
            raise ValueError("a space without choices leaves a controller nothing to choose")
        if repeated:
            raise ValueError(f"choice names must be unique; repeated: {repeated}")
        self.choices = tuple(choices)
        self.num_options = tuple(len(choice.options) for choice in choices)
        self.num_asked = 0  # and the id of the next suggestion
        self._num_due = 0  # suggestions that `tell` has returned
        self._open: dict[int, tuple[Suggestion, Candidate]] = {}
        self._waiting: dict[int, Told] = {}  # told before one that was asked earlier

    def ask(self, candidate: Sequence[int]) -> Suggestion:
        """Enter a new suggestion.

        Args:
            candidate: for each choice the position of the option taken.

        Returns:
            The suggestion, with the next free id.
        """
        taken = {choice.name: choice.options[i] for choice, i in zip(self.choices, candidate, strict=True)}
        suggestion = Suggestion(id=self.num_asked, choices=taken)
        self._open[suggestion.id] = suggestion, tuple(candidate)
        self.num_asked += 1
        return suggestion

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> list[Told]:
        """Close a suggestion.

        A controller that learns from what this returns, and from nothing else, does not depend on which trial ended
        first. It also means that a suggestion which is never told stops the learning: a trial that is lost must be told
        as failed.

        Returns:
            What may be learnt now, in the order of the asks: this one and those that waited for it, or nothing as long
            as an earlier suggestion is open.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite. The ledger is
                then unchanged.
        """
        asked, candidate = self._open.get(suggestion.id, (None, ()))
        if asked != suggestion:
            if asked is None and 0 <= suggestion.id < self.num_asked:
                raise ValueError(f"suggestion {suggestion.id} was told already; each is told once")
            raise ValueError(f"suggestion {suggestion.id} with these choices was never asked of this controller")
        if not math.isfinite(outcome.reward):
            raise ValueError(
                f"suggestion {suggestion.id} was told the reward {outcome.reward}; rewards are finite, "
                "a failed trial is told the objective's failure reward"
            )
        del self._open[suggestion.id]
        self._waiting[suggestion.id] = Told(suggestion.id, candidate, outcome)
        due = []
        while self._num_due in self._waiting:
            due.append(self._waiting.pop(self._num_due))
            self._num_due += 1
        return due
