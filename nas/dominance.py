"""Which of some points no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence


def front_positions(latencies_ms: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Positions of the points that no other beats in accuracy and latency both, fastest first; of equal ones the earliest.

    Args:
        latencies_ms: of the points.
        accuracies: likewise, as many. A point with a NaN, or with an infinite latency, is on no front.
    """
    points = [
        (latency_ms, -accuracy, position)
        for position, (latency_ms, accuracy) in enumerate(zip(latencies_ms, accuracies, strict=True))
        if math.isfinite(latency_ms) and math.isfinite(accuracy)
    ]
    front: list[int] = []
    best = -math.inf
    for _, negated, position in sorted(points):
        if -negated > best:
            front.append(position)
            best = -negated
    return front
