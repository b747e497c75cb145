"""The uniform width multiplier, brought to a latency as it is measured: what a stage of NetAdapt has to beat."""

from __future__ import annotations

from collections.abc import Callable

from latency.latency import Latency
from nas.netadapt.uniform import GRID, NoMultiplierError, multiplied
from search_spaces.arch import ArchSpec
from search_spaces.narrowing import StructureError


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
