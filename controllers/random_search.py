"""Random search: every option of every decision with equal probability, whatever was told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllers.controller import Outcome, Suggestion
from controllers.ledger import Ledger
from search_spaces.choice import Choice


class RandomController:
    """Draws uniformly and independently; the baseline that any other controller has to beat.

    Args:
        choices: the decisions of the space.
        seed: non-negative; the same seed gives the same suggestions.

    Raises:
        ValueError: there are no choices, or two share a name.
    """

    def __init__(self, choices: Sequence[Choice], seed: int) -> None:
        self._ledger = Ledger(choices)
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Suggestion:
        """A uniform draw; repeats are possible."""
        return self._ledger.ask([int(self._rng.integers(len(choice.options))) for choice in self._ledger.choices])

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Check the outcome and forget it.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        self._ledger.tell(suggestion, outcome)
