"""Does the default preset beat random search, on a space the size of MnasNet's?"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from controllers.build import build_controller
from controllers.controller import Outcome
from search_spaces.choice import Choice

NUM_SEEDS, NUM_TRIALS = 5, 1000
# 7 blocks x (op, kernel, SE, skip, width, layers) = 42 decisions, 1e20 candidates
OPTIONS = {"op": 4, "kernel": 2, "se": 2, "skip": 3, "width": 5, "layers": 3}
CHOICES = [Choice(f"b{block}.{name}", tuple(range(k))) for block in range(7) for name, k in OPTIONS.items()]


class SyntheticReward:
    """A value per option and per pair of options, scaled so that random candidates have mean 0 and deviation 1."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = [len(choice.options) for choice in CHOICES]
        pairs = [(t, t + 1) for t in range(41)] + [tuple(rng.choice(42, 2, replace=False)) for _ in range(21)]
        self._single = [rng.normal(size=k) for k in sizes]
        self._pairs = [(a, b, 0.6 * rng.normal(size=(sizes[a], sizes[b]))) for a, b in pairs]
        sample = [self._raw([int(rng.integers(k)) for k in sizes]) for _ in range(1000)]
        self._mean, self._std = float(np.mean(sample)), float(np.std(sample))

    def _raw(self, taken: list[int]) -> float:
        pairs = sum(table[taken[a], taken[b]] for a, b, table in self._pairs)
        return float(sum(values[i] for values, i in zip(self._single, taken, strict=True)) + pairs)

    def __call__(self, taken: list[int]) -> float:
        return (self._raw(taken) - self._mean) / self._std


def search(name: str, seed: int) -> list[float]:
    """Noise-free values of the candidates, in the order of the asks; the controller sees them with noise."""
    reward, noise = SyntheticReward(seed), np.random.default_rng([seed, 1])
    controller, values = build_controller(name, CHOICES, seed, {}), []
    for _ in range(NUM_TRIALS):
        suggestion = controller.ask()
        values.append(reward([int(option) for option in suggestion.choices.values()]))
        accuracy = 0.7 + 0.02 * (values[-1] + 0.3 * noise.normal())
        controller.tell(suggestion, Outcome(reward=accuracy))
    return values


@pytest.fixture(scope="module")
def values() -> dict[str, NDArray[np.float64]]:
    return {name: np.array([search(name, seed) for seed in range(NUM_SEEDS)]) for name in ("random", "ppo")}


def interval(per_seed: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean over the seeds, Student's t."""
    half = 2.776 * per_seed.std(ddof=1) / NUM_SEEDS**0.5  # t(0.975) with 4 degrees of freedom
    return per_seed.mean() - half, per_seed.mean() + half


# All seeds are fixed, so the outcome does not vary from run to run.
def test_candidates_are_better_than_random_after_1000_samples(values: dict[str, NDArray[np.float64]]) -> None:
    random, ppo = (interval(values[name][:, -200:].mean(axis=1)) for name in ("random", "ppo"))
    assert random[1] < 0.5
    assert ppo[0] > 3.0


def test_the_best_candidate_is_better_than_that_of_random_search(values: dict[str, NDArray[np.float64]]) -> None:
    random, ppo = (interval(values[name].max(axis=1)) for name in ("random", "ppo"))
    assert ppo[0] > random[1]


def test_candidates_are_better_than_random_after_64_samples(values: dict[str, NDArray[np.float64]]) -> None:
    random, ppo = (interval(values[name][:, 48:64].mean(axis=1)) for name in ("random", "ppo"))
    assert ppo[0] > random[1]
