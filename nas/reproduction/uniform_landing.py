"""The uniform width multiplier, down or up to a latency as it is measured: what NetAdapt has to beat, and may begin with."""

from __future__ import annotations

import math
from collections.abc import Callable

from latency.latency import Latency
from nas.netadapt.uniform import GRID, NoMultiplierError, multiplied
from search_spaces.arch import ArchSpec
from search_spaces.edits import scaled
from search_spaces.narrowing import StructureError

_TWENTIETHS = 20
_ROUNDING = 1e-9  # 1.15 x 20 is no whole number in floating point


def landed(arch: ArchSpec, latency: Callable[[ArchSpec], Latency], target_ms: float) -> tuple[float, ArchSpec]:
    """A multiplier whose network is within `target_ms`, while that of the next larger one is not, found by bisection.

    Latency is no monotone function of the multiplier, but nearly; there may be another such multiplier.

    Args:
        arch: the network of multiplier 1.
        latency: of a network, measured.
        target_ms: positive.

    Returns:
        Multiplier in (0, 1], and network.

    Raises:
        NoMultiplierError: even the smallest one is too slow.
    """
    networks = _networks(arch)
    low, high = -1, len(networks)  # networks[low] is within the target, networks[high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if latency(networks[middle][1]).latency_ms <= target_ms:
            low = middle
        else:
            high = middle
    if low < 0:
        raise NoMultiplierError(f"no uniform width multiplier comes down to {target_ms:.3f} ms")
    return networks[low]


def widened(
    arch: ArchSpec, latency_ms: Callable[[ArchSpec], float], own_ms: float, target_ms: float, widest: float
) -> tuple[float, ArchSpec] | None:
    """The width multiplier of `arch` that makes it no faster than `target_ms`, while the next smaller one does not.

    Multipliers are twentieths above 1. The walk begins where a time that grows with the square of the widths would be the
    target, and measures a few networks.

    Args:
        arch: of plain, separable and inverted residual blocks; faster than the target.
        latency_ms: of a network, measured.
        own_ms: about the latency of `arch`; positive.
        target_ms: positive.
        widest: no larger multiplier.

    Returns:
        Multiplier and network; None where `widest` is too little.
    """
    largest = math.floor(widest * _TWENTIETHS + _ROUNDING)

    def slow_enough(twentieths: int) -> bool:
        return latency_ms(scaled(arch, twentieths / _TWENTIETHS)) >= target_ms

    number = max(_TWENTIETHS + 1, min(round(_TWENTIETHS * math.sqrt(target_ms / own_ms)), largest))
    if number > largest:
        return None
    if slow_enough(number):
        while number > _TWENTIETHS + 1 and slow_enough(number - 1):
            number -= 1
    else:
        while number < largest and not slow_enough(number + 1):
            number += 1
        number += 1
    return (number / _TWENTIETHS, scaled(arch, number / _TWENTIETHS)) if number <= largest else None


def _networks(arch: ArchSpec) -> list[tuple[float, ArchSpec]]:
    """All that differ, narrowest first, of equal ones the largest multiplier."""
    found: dict[str, tuple[float, ArchSpec]] = {}
    for hundredths in range(1, GRID + 1):
        try:
            narrow = multiplied(arch, hundredths / GRID)
        except StructureError:
            continue
        found[narrow.key] = hundredths / GRID, narrow
    return sorted(found.values(), key=lambda entry: entry[0])
