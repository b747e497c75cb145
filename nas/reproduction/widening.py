"""A trial that is too fast, made wider until it is slow enough to be narrowed again."""

from __future__ import annotations

import math
from collections.abc import Callable

from search_spaces.arch import ArchSpec
from search_spaces.edits import scaled

_TWENTIETHS = 20
_STEEPEST = (
    1.2  # of a time that grows with the square of the widths; a network that this does not bring there is not measured
)
_ROUNDING = 1e-9  # 1.15 x 20 is no whole number in floating point


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

    if _STEEPEST * own_ms * widest**2 < target_ms:
        return None
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
