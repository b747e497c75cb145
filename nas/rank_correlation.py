"""How well one way of ranking networks agrees with another: Kendall's tau, with intervals over networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    return float(_tau(_signs(one), _signs(other)))


def tau_interval(scores: Scores, truth: Scores, seed: int = 0) -> Interval:
    """Tau of `scores` with `truth`, for the networks and for resamples of them."""
    one, other = _signs(scores), _signs(truth)
    taus = [_tau(one[pick], other[pick]) for pick in _resamples(len(truth), seed)]
    return _interval(float(_tau(one, other)), taus)


def tau_difference(scores: Scores, rival: Scores, truth: Scores, seed: int = 0) -> Interval:
    """How much larger the tau of `scores` is than that of `rival`, on the same networks: resampled together."""
    one, two, other = _signs(scores), _signs(rival), _signs(truth)
    differences = [_tau(one[pick], other[pick]) - _tau(two[pick], other[pick]) for pick in _resamples(len(truth), seed)]
    return _interval(float(_tau(one, other) - _tau(two, other)), differences)


Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def _resamples(count: int, seed: int) -> list[Pairs]:
    rng = np.random.default_rng(seed)
    return [np.ix_(drawn, drawn) for drawn in rng.integers(count, size=(NUM_RESAMPLES, count))]


def _signs(scores: Scores) -> NDArray[np.int8]:
    """Who is above whom; a network drawn twice ties with itself on both sides and so counts for nothing."""
    signs: NDArray[np.int8] = np.sign(scores[:, None] - scores[None, :]).astype(np.int8)
    return signs


def _tau(one: NDArray[np.int8], other: NDArray[np.int8]) -> float:
    decided = np.sqrt(float(np.count_nonzero(one)) * float(np.count_nonzero(other)))
    return float(np.sum(one * other, dtype=np.int64) / decided) if decided else float("nan")


def _interval(value: float, resampled: list[float]) -> Interval:
    if np.isnan(resampled).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
