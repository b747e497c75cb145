"""How well one way of ranking networks agrees with another: Kendall's tau, with intervals over networks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, kendalltau

Scores = NDArray[np.float64]
"""One number a network; shape (networks,)."""

NUM_RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the 95 % interval that a bootstrap over networks gives it."""

    value: float
    low: float
    high: float


def kendall_tau(one: Scores, other: Scores) -> float:
    """Tau-b (Kendall 1945, with ties), in [-1, 1]; NaN where either side has no two different numbers."""
    return float(kendalltau(one, other).statistic)


def tau_interval(scores: Scores, truth: Scores, seed: int = 0) -> Interval:
    """Tau of `scores` with `truth`, for the networks and for resamples of them."""
    return _interval(kendall_tau, (scores, truth), seed)


def tau_difference(scores: Scores, rival: Scores, truth: Scores, seed: int = 0) -> Interval:
    """How much larger the tau of `scores` is than that of `rival`, on the same networks: resampled together."""

    def difference(one: Scores, two: Scores, other: Scores) -> float:
        return kendall_tau(one, other) - kendall_tau(two, other)

    return _interval(difference, (scores, rival, truth), seed)


def _interval(statistic: Callable[..., float], columns: tuple[Scores, ...], seed: int) -> Interval:
    """Of a statistic of networks: a network drawn twice ties with itself on all sides and so counts for nothing."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(category=DegenerateDataWarning, action="ignore"):
        found = bootstrap(
            columns, statistic, paired=True, vectorized=False, n_resamples=NUM_RESAMPLES, method="percentile", rng=rng
        )
    resampled = found.bootstrap_distribution
    value = statistic(*columns)
    if np.isnan(resampled).all():
        return Interval(value, math.nan, math.nan)
    # a resample of one network alone has no tau
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
