"""Candidates that differ in size as much as those that a search will meet."""

from __future__ import annotations

import numpy as np

from search_spaces.arch import ArchSpec
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.space import SearchSpace

NUM_DRAWN = 1000
MIN_SHARE, MAX_SHARE = 0.25, 1.5
"""Of the reference's multiply-adds: a search moves around its target, and what lies beyond is not its business."""


def spread_candidates(
    space: SearchSpace, number: int, resolution: int, reference: ArchSpec, seed: int
) -> list[ArchSpec]:
    """Distinct candidates whose MACs are spaced evenly, on a logarithmic scale, between the bounds.

    Args:
        space: to draw from.
        number: how many; fewer come where the space has no more within the bounds.
        resolution: at which MACs are counted; that of deployment.
        reference: a network of about the size that is looked for.
        seed: of the draws.

    Returns:
        Ordered by MACs.

    Raises:
        ValueError: no candidate that was drawn lies within the bounds.
    """
    rng = np.random.default_rng(seed)
    drawn = (space.decode(space.sample(rng)) for _ in range(NUM_DRAWN))
    archs = {arch.key: arch for arch in drawn}
    macs = {key: count(lower(arch, resolution, 10)).macs for key, arch in archs.items()}
    middle = count(lower(reference, resolution, 10)).macs
    inside = sorted(key for key in archs if MIN_SHARE * middle <= macs[key] <= MAX_SHARE * middle)
    if not inside:
        raise ValueError(
            f"space {space.name!r}: none of {NUM_DRAWN} candidates has {MIN_SHARE:g} to {MAX_SHARE:g} times the "
            f"{middle / 1e6:.0f} M MACs of the reference network"
        )
    left = sorted(inside, key=lambda key: (macs[key], key))
    chosen: list[str] = []
    for goal in np.geomspace(macs[left[0]], macs[left[-1]], min(number, len(left))):
        nearest = min(left, key=lambda key: abs(np.log(macs[key] / goal)))
        left.remove(nearest)
        chosen.append(nearest)
    return [archs[key] for key in sorted(chosen, key=lambda key: (macs[key], key))]
