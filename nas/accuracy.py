"""How sure an accuracy is."""

from __future__ import annotations

import math


def wilson_interval(successes: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), which keeps inside [0, 1] and is right near its ends.

    Raises:
        ValueError: no observations.
    """
    if total < 1:
        raise ValueError("an interval needs at least one observation")
    p = successes / total
    centre = p + z * z / (2 * total)
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (centre - spread) / scale, (centre + spread) / scale
