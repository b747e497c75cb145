"""A settled policy: its most likely candidate first, then fresh draws; nothing that it is told changes what it asks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from controllers.controller import Outcome
from controllers.settled_policy import SettledPolicy
from search_spaces.choice import Choice

CHOICES = (Choice("op", ("a", "b", "c")), Choice("kernel", (3, 5)), Choice("only", (1,)))
LOGITS = np.array([[0.0, 3.0, 1.0], [2.0, 0.0, -np.inf], [0.5, -np.inf, -np.inf]])
BEST = {"op": "b", "kernel": 3, "only": 1}


def asked(logits: NDArray[np.float64], number: int, seed: int = 0, reward: float = 0.0) -> list[dict[str, object]]:
    policy = SettledPolicy(CHOICES, logits, seed)
    found = []
    for _ in range(number):
        suggestion = policy.ask()
        policy.tell(suggestion, Outcome(reward * suggestion.id))
        found.append(dict(suggestion.choices))
    return found


def test_the_most_likely_comes_first_and_everything_comes_once() -> None:
    for seed in range(5):
        found = asked(LOGITS, 6, seed)
        assert found[0] == BEST
        assert len({tuple(choices.values()) for choices in found}) == 6  # all that there are


def test_a_policy_without_doubts_goes_on_with_neighbours() -> None:
    certain = np.where(np.isfinite(LOGITS), 1e6 * LOGITS, LOGITS)
    first, second, *_ = asked(certain, 6)
    assert first == BEST
    assert sum(first[name] != second[name] for name in first) == 1


def test_draws_follow_the_probabilities() -> None:
    seconds = [asked(LOGITS, 2, seed)[1] for seed in range(300)]
    p_op, p_kernel = np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum(), np.exp(LOGITS[1]) / np.exp(LOGITS[1]).sum()
    expected = p_op[1] * p_kernel[1] / (1 - p_op[1] * p_kernel[0])  # of b with 5, given that it is not the best
    share = np.mean([choices["op"] == "b" and choices["kernel"] == 5 for choices in seconds])
    assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 300) ** 0.5)


def test_it_learns_nothing_and_is_a_function_of_its_seed() -> None:
    assert asked(LOGITS, 6, seed=1) == asked(LOGITS, 6, seed=1, reward=9.0)
    assert len({str(asked(LOGITS, 6, seed)) for seed in range(9)}) > 1


def test_tells_are_checked() -> None:
    policy = SettledPolicy(CHOICES, LOGITS, 0)
    suggestion = policy.ask()
    with pytest.raises(ValueError, match="reward nan"):
        policy.tell(suggestion, Outcome(float("nan")))
    policy.tell(suggestion, Outcome(1.0))
    with pytest.raises(ValueError, match="told already"):
        policy.tell(suggestion, Outcome(1.0))


@pytest.mark.parametrize("logits", [LOGITS[:2], LOGITS[:, :2], np.zeros((3, 3)), np.full((3, 3), -np.inf)])
def test_logits_of_another_space_are_refused(logits: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="logits of shape"):
        SettledPolicy(CHOICES, logits, 0)
