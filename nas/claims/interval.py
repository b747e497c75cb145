"""95 % intervals of what was measured a few times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
"""Low and high end."""

_NUM_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """Mean of paired differences with its interval (Student's t), and how many there were."""

    value: float
    interval: Interval
    number: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> MeanDifference:
        """Of at least 3 differences.

        Raises:
            ValueError: fewer.
        """
        from latency.estimator import t_quantile

        number = len(differences)
        if number < 3:
            raise ValueError(f"{number} differences: an interval needs at least 3")
        mean = float(np.mean(differences))
        half = t_quantile(number - 1) * float(np.std(differences, ddof=1)) / math.sqrt(number)
        return cls(mean, (mean - half, mean + half), number)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:+.2f} ({low:+.2f} to {high:+.2f})"


def resampled(
    statistic: Callable[[NDArray[np.float64]], float], rows: NDArray[np.float64], rng: np.random.Generator
) -> Interval:
    """Interval of `statistic` of `rows`, by drawing as many of them with replacement, again and again."""
    draws = (rows[rng.integers(len(rows), size=len(rows))] for _ in range(_NUM_RESAMPLES))
    low, high = np.quantile([statistic(draw) for draw in draws], (0.025, 0.975))
    return float(low), float(high)
