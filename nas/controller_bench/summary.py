"""What a race says: best reward so far, regret, and dominated area, each the mean over seeds with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.controller_bench.race import Runs

CHECKPOINTS = (50, 100, 250, 500, 1000)
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, and its 95 % interval by Student's t; NaN bounds with one seed."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """As JSON types; null where there is no bound."""
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: None if math.isnan(value) else value for name, value in values.items()}


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Mean of one value a seed, with its interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Estimate(mean, mean - half, mean + half)


def checkpoints(num_samples: int) -> list[int]:
    """The usual numbers of samples up to `num_samples`, and that."""
    return [*(n for n in CHECKPOINTS if n < num_samples), num_samples]


def best_so_far(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """The highest reward of the samples up to each; shape (seeds, samples)."""
    return np.maximum.accumulate(rewards, axis=1)


def best_reward(runs: Runs, num_samples: int) -> Estimate:
    """The highest reward among the first `num_samples`."""
    return estimate(runs.rewards[:, :num_samples].max(axis=1))


def regret(runs: Runs, optimum: float, num_samples: int) -> Estimate:
    """What is lacking to the optimum, in points: hundredths of reward."""
    return estimate(100 * (optimum - runs.rewards[:, :num_samples].max(axis=1)))


def dominated_area(points: NDArray[np.float64], corner: Sequence[float], ideal: Sequence[float]) -> float:
    """Share of the rectangle between `ideal` and `corner` that some points dominate, both objectives to be small.

    Args:
        points: shape (points, 2); those outside the rectangle are cut off at its sides.
        corner: the worst of both objectives, no better than `ideal`.
        ideal: the best of both.
    """
    corner_, ideal_ = np.asarray(corner, dtype=float), np.asarray(ideal, dtype=float)
    points = np.maximum(points, ideal_)
    points = points[(points < corner_).all(axis=1)]
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    area, ceiling = 0.0, corner_[1]
    for first, second in points:
        if second < ceiling:
            area += (corner_[0] - first) * (ceiling - second)
            ceiling = second
    return float(area / np.prod(corner_ - ideal_))


def hypervolume(runs: Runs, corner: Sequence[float], ideal: Sequence[float], num_samples: int) -> Estimate | None:
    """`dominated_area` of the first `num_samples`; None where there is one objective."""
    if runs.objectives.shape[2] != 2:
        return None
    return estimate(np.array([dominated_area(o[:num_samples], corner, ideal) for o in runs.objectives]))
