"""Who is better when there is more than one objective: the two orderings of NSGA-II (Deb et al. 2002)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Shapes below: N candidates, M objectives, all of them to be small.


def non_dominated_ranks(objectives: NDArray[np.float64]) -> NDArray[np.int64]:
    """Fast non-dominated sort (section III-A of the paper).

    Args:
        objectives: (N, M); infinities are allowed, NaN is not.

    Returns:
        (N,): 0 for those that nobody dominates, 1 for those that only rank 0 dominates, and so on. One candidate
        dominates another if it is nowhere worse and somewhere better.
    """
    one, other = objectives[:, None, :], objectives[None, :, :]
    dominates = np.logical_and((one <= other).all(axis=2), (one < other).any(axis=2))  # (N, N)
    num_dominators = dominates.sum(axis=0)
    ranks = np.full(len(objectives), -1, dtype=np.int64)
    rank = 0
    while (front := (num_dominators == 0) & (ranks < 0)).any():
        ranks[front] = rank
        num_dominators = num_dominators - dominates[front].sum(axis=0)
        rank += 1
    return ranks


def crowding_distances(objectives: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart the neighbours of each member of one front lie (section III-B of the paper).

    Args:
        objectives: (N, M), of one front.

    Returns:
        (N,): the sum over the objectives of the gap between the next smaller and the next larger value, as a share of
        the front's range; infinite for the ends. An objective that is equal for all, or infinite at one end, adds
        nothing but its ends.
    """
    distances = np.zeros(len(objectives))
    for values in objectives.T:
        order = np.argsort(values, kind="stable")
        low, high = values[order[0]], values[order[-1]]
        distances[order[[0, -1]]] = np.inf
        if low < high < np.inf:
            distances[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / (high - low)
    return distances
