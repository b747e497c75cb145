from __future__ import annotations

from collections import Counter

import pytest

from controllers.controller import Outcome
from controllers.random_search import RandomController
from search_spaces.choice import Choice


def test_every_combination_is_equally_likely() -> None:
    controller = RandomController([Choice("a", ("x", "y")), Choice("b", (1, 2, 3))], seed=0)
    counts: Counter[tuple[object, ...]] = Counter()
    for i in range(6000):
        suggestion = controller.ask()
        counts[tuple(suggestion.choices.values())] += 1
        controller.tell(suggestion, Outcome(reward=float(i)))
    assert len(counts) == 6
    # binomial(6000, 1/6) has a standard deviation of 29; 5 of them: odds of a false failure about 3e-6, once, at the
    # time of writing: the seed is fixed
    assert all(count == pytest.approx(1000, abs=145) for count in counts.values())
