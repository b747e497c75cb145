"""How well one way of ranking networks agrees with another: Kendall's tau, with intervals over networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

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
    (resampled,) = _resampled_taus((scores,), truth, seed)
    return _interval(kendall_tau(scores, truth), resampled)


def tau_difference(scores: Scores, rival: Scores, truth: Scores, seed: int = 0) -> Interval:
    """How much larger the tau of `scores` is than that of `rival`, on the same networks: resampled together."""
    ours, theirs = _resampled_taus((scores, rival), truth, seed)
    return _interval(kendall_tau(scores, truth) - kendall_tau(rival, truth), ours - theirs)


def _resampled_taus(several: Sequence[Scores], truth: Scores, seed: int) -> list[Scores]:
    """Tau of each of several scores in each of `NUM_RESAMPLES`; NaN where it has none, as where one network is drawn alone.

    A network drawn twice ties with itself on all sides and so counts for nothing. A pair of networks counts as often as
    the product of how often they were drawn, so that a matrix product does what so many sorts would.
    """
    num = len(truth)
    drawn = np.random.default_rng(seed).integers(0, num, (NUM_RESAMPLES, num))
    counts = np.zeros((NUM_RESAMPLES, num))
    np.add.at(counts, (np.arange(NUM_RESAMPLES)[:, None], drawn), 1)

    def pairs(signs: NDArray[np.float64]) -> Scores:
        weighted: Scores = ((counts @ signs) * counts).sum(1)
        return weighted

    order = np.sign(truth[:, None] - truth)
    decided = pairs(order**2)
    taus = []
    for scores in several:
        ours = np.sign(scores[:, None] - scores)
        with np.errstate(invalid="ignore"):  # 0 / 0: no tau
            taus.append(pairs(ours * order) / np.sqrt(pairs(ours**2) * decided))
    return taus


def _interval(value: float, resampled: Scores) -> Interval:
    if np.isnan(resampled).all():
        return Interval(value, math.nan, math.nan)
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
