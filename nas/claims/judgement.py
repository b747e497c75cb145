"""From an interval that was measured to a verdict: what excludes what."""

from __future__ import annotations

import math

from nas.claims.claim import Verdict
from nas.claims.interval import Interval

TOLERANCE = 0.1
"""How far a ratio may lie from the published one and still be of its size: another processor makes a large difference."""


def around(published: float) -> Interval:
    """Ratios of the size of `published`: within `TOLERANCE` of it, and half to twice as far from 1, on a log scale.

    The second part matters for small differences: a saving of 10 % does not confirm one of 2 %. Around 1 itself there is
    the first part alone.
    """
    near = published * (1 - TOLERANCE), published * (1 + TOLERANCE)
    if published == 1:
        return near
    half, twice = sorted((math.sqrt(published), published**2))
    return max(near[0], half), min(near[1], twice)


def judged(measured: Interval, claimed: Interval, neutral: float = 1.0) -> Verdict:
    """The verdict on a claim that a quantity lies in `claimed`, of which `measured` is a 95 % interval.

    Args:
        measured: low to high.
        claimed: low to high. All on one side of `neutral`, ends included, it claims a direction and a size; with
            `neutral` inside, it claims that there is no difference worth the name.
        neutral: where there is no difference at all: 1 for a ratio, 0 for a difference.

    Returns:
        With a direction: ``not separated`` if `measured` holds `neutral`, ``fails here`` if it lies on the other side;
        else ``holds`` where it meets `claimed`, ``holds in direction`` where it does not. Of no difference: ``holds`` if
        `measured` lies inside `claimed`, ``fails here`` if outside, ``not separated`` if across an end.
    """
    (low, high), (least, most) = measured, claimed
    meets = low <= most and high >= least
    if least < neutral < most:
        inside = least <= low and high <= most
        return "holds" if inside else "not separated" if meets else "fails here"
    if low <= neutral <= high:
        return "not separated"
    if (high < neutral) != (most <= neutral):
        return "fails here"
    return "holds" if meets else "holds in direction"
