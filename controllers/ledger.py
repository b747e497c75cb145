"""The book of asks and tells: one place where every controller checks what it is told."""

from __future__ import annotations

import math
from collections.abc import Sequence

from controllers.controller import Outcome, Suggestion
from search_spaces.choice import Choice


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
        self._num_asked = 0
        self._open: dict[int, Suggestion] = {}

    def ask(self, indices: Sequence[int]) -> Suggestion:
        """Enter a new suggestion.

        Args:
            indices: for each choice the position of the option taken.

        Returns:
            The suggestion, with the next free id.
        """
        taken = {choice.name: choice.options[i] for choice, i in zip(self.choices, indices, strict=True)}
        suggestion = Suggestion(id=self._num_asked, choices=taken)
        self._open[suggestion.id] = suggestion
        self._num_asked += 1
        return suggestion

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Close a suggestion.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite. The ledger is
                then unchanged.
        """
        if self._open.get(suggestion.id) != suggestion:
            if 0 <= suggestion.id < self._num_asked and suggestion.id not in self._open:
                raise ValueError(f"suggestion {suggestion.id} was told already; each is told once")
            raise ValueError(f"suggestion {suggestion.id} with these choices was never asked of this controller")
        if not math.isfinite(outcome.reward):
            raise ValueError(
                f"suggestion {suggestion.id} was told the reward {outcome.reward}; rewards are finite, "
                "a failed trial is told the objective's failure reward"
            )
        del self._open[suggestion.id]
