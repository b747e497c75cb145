"""A policy that has learned all that it will: its most likely candidate first, then draws from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controllers.controller import Outcome, Suggestion
from controllers.ledger import Candidate, Ledger
from controllers.reinforce import drawn
from controllers.variation import first_unknown, unknown_near
from search_spaces.choice import Choice

_NUM_DRAWS = 64


class SettledPolicy:
    """Asks for each candidate once, as long as there are others, and learns nothing.

    Args:
        choices: the decisions of the space.
        logits: of their options, (T, K), as `ReinforceController.logits` gives them; minus infinity beyond the options of
            a decision, finite elsewhere.
        seed: non-negative; of the draws.

    Raises:
        ValueError: there are no choices, two share a name, or the logits are not theirs.
    """

    def __init__(self, choices: Sequence[Choice], logits: NDArray[np.float64], seed: int) -> None:
        self._ledger = Ledger(choices)
        num_options = self._ledger.num_options
        shape = len(num_options), max(num_options)
        real = np.arange(shape[1]) < np.array(num_options)[:, None]
        if logits.shape != shape or not (np.isfinite(logits) == real).all():
            raise ValueError(f"logits of shape {logits.shape}: finite ones are needed for options {num_options}")
        self._logits = logits
        self._rng = np.random.default_rng(seed)
        self._known: set[Candidate] = set()

    def ask(self) -> Suggestion:
        """The most likely candidate; later one of the draws that was not asked before.

        Where all of many draws are known, a neighbour of the last one that is not.
        """
        if self._known:
            candidate = first_unknown(drawn(self._logits, _NUM_DRAWS, self._rng), self._known)
            candidate = unknown_near(candidate, self._ledger.num_options, self._known, self._rng)
        else:
            candidate = tuple(self._logits.argmax(axis=1).tolist())
        self._known.add(candidate)
        return self._ledger.ask(candidate)

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Check the outcome and forget it.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        self._ledger.tell(suggestion, outcome)
