"""The uniform width multiplier: what an adaptation has to beat at the same cost."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from nas.netadapt.proposal import DIVISOR, Cost
from nas.netadapt.schedule import within
from search_spaces.arch import ArchSpec
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.narrowing import StructureError, narrowed
from search_spaces.values import make_divisible
from search_spaces.width_groups import ALL_KINDS, WidthGroup, width_groups

GRID = 100
"""Multipliers are hundredths: 1.00, 0.99, ... 0.01."""

_ROOMY = 1024
"""Pixels, into which the windows of any network fit; widths are the same at all resolutions."""


class NoMultiplierError(ValueError):
    """No multiplier of the grid comes down to the target."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """A network with all widths narrowed alike.

    Attributes:
        multiplier: in (0, 1], of the grid.
        arch: the network, a layer a block.
        cost: of `arch`.
    """

    multiplier: float
    arch: ArchSpec
    cost: float


def uniform(seed: ArchSpec, cost: Cost, target: float) -> Uniform:
    """The network of the largest multiplier of the grid whose cost is within `target`.

    Costs are staircases and not even monotone, so the grid is scanned from the widest down. The network can be cut from the
    seed's weights (`search_spaces.slicing.check_narrower`).

    Args:
        seed: the network of multiplier 1.
        cost: of a network.
        target: the most that it may cost.

    Raises:
        NoMultiplierError: none comes down to `target`.
    """
    lowest = None
    for multiplier, arch in _grid(seed):
        found = Uniform(multiplier, arch, cost(arch))
        if within(found.cost, target):
            return found
        if lowest is None or found.cost < lowest.cost:
            lowest = found
    least = f": the lowest cost is {lowest.cost:g}, at {lowest.multiplier:g}" if lowest else ""
    raise NoMultiplierError(f"no uniform width multiplier comes down to {target:g}{least}")


def bisected(seed: ArchSpec, cost: Cost, target: float, seed_cost: float) -> Uniform:
    """As `uniform`, of a cost that is dear to know, a measured one: a few networks are asked for.

    Its network is within the target, that of the next larger multiplier is not. Latency is no monotone function of the
    multiplier, but nearly; there may be another such network. The walk begins where a cost that grows with the square of the
    widths would be the target; its strides double until the target is passed, then what is left is halved.

    Args:
        seed: the network of multiplier 1.
        cost: of a network.
        target: the most that it may cost; positive.
        seed_cost: about what the seed costs; positive.

    Raises:
        NoMultiplierError: even the smallest one costs more.
    """
    largest: dict[str, tuple[float, ArchSpec]] = {}  # network -> of the multipliers that make it the largest
    for multiplier, arch in _grid(seed):
        largest.setdefault(arch.key, (multiplier, arch))
    networks = list(largest.values())
    number, stride = sum(multiplier > math.sqrt(target / seed_cost) for multiplier, _ in networks), 1
    found, low, high = None, -1, len(networks)  # widest first: networks[low] is above the target, networks[high] is not
    while high - low > 1:
        number = min(max(number, low + 1), high - 1)
        multiplier, arch = networks[number]
        asked = Uniform(multiplier, arch, cost(arch))
        if within(asked.cost, target):
            found, high = asked, number
        else:
            low = number
        if found is not None and low >= 0:
            number = (low + high) // 2
        else:
            number, stride = number + (stride if found is None else -stride), 2 * stride
    if found is None:
        raise NoMultiplierError(f"no uniform width multiplier comes down to {target:g}")
    return found


def _grid(seed: ArchSpec) -> Iterator[tuple[float, ArchSpec]]:
    """Multipliers and networks, widest first; those at which the network would have other operations are left out."""
    widths = _Widths.of(one_layer_blocks(seed))
    for hundredths in range(GRID, 0, -1):
        with contextlib.suppress(StructureError):
            yield hundredths / GRID, widths.times(hundredths / GRID)


def multiplied(seed: ArchSpec, multiplier: float) -> ArchSpec:
    """`seed` with every width that may be narrowed times `multiplier`, a layer a block.

    Widths are rounded as those of MobileNetV2 and V3 (`search_spaces.values.make_divisible`): to the nearest multiple of 8, at
    least 8 and at least 90 %. None exceeds the seed's own, so one that is no multiple of 8 may stay as it is. An expansion
    that would come out as wide as what it expands, and be left out, steps aside to the next multiple.

    Args:
        seed: the network.
        multiplier: in (0, 1].

    Raises:
        StructureError: the network would have other operations all the same.
    """
    return _Widths.of(one_layer_blocks(seed)).times(multiplier)


@dataclass(frozen=True, slots=True)
class _Widths:
    """The widths of a network.

    Attributes:
        arch: the network, a layer a block.
        groups: all of its widths.
        expansions: expansion of an inverted residual -> the groups of what it expands.
    """

    arch: ArchSpec
    groups: tuple[WidthGroup, ...]
    expansions: dict[str, list[WidthGroup]]

    @classmethod
    def of(cls, arch: ArchSpec) -> _Widths:
        graph = lower(arch, _ROOMY, 1)
        channels = width_groups(graph)
        inputs = {op.name: op.inputs for op in graph.ops}
        expansions: dict[str, list[WidthGroup]] = {}
        for group in channels.of_kinds(frozenset({"expansion"})):
            if group.name.endswith(".expand"):
                given = set(channels.of[inputs[group.name][0]].tolist())
                expansions[group.name] = [other for other in channels.groups if given.issuperset(other.channels)]
        return cls(arch, channels.groups, expansions)

    def times(self, multiplier: float) -> ArchSpec:
        """See `multiplied`."""
        own = {group.name: group.width for group in self.groups}
        widths = {
            group.name: min(group.width, make_divisible(multiplier * group.width, DIVISOR))
            for group in self.groups
            if group.kind in ALL_KINDS
        }
        for name, given in self.expansions.items():
            num_given = sum(widths.get(group.name, group.width) for group in given)
            if widths[name] == num_given:
                widths[name] = min(own[name], num_given + DIVISOR)
        return narrowed(self.arch, self.groups, widths)
