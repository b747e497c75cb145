"""The proposals of a step: for every width the widest that saves enough, each an architecture of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from nas.netadapt.schedule import within
from search_spaces.arch import ArchSpec
from search_spaces.narrowing import StructureError, groups_of, narrowed
from search_spaces.width_groups import ALL_KINDS, V3_KINDS, Kind, WidthGroup

DIVISOR = 8
GROUPS: dict[str, frozenset[Kind]] = {"v3": V3_KINDS, "all": ALL_KINDS}
"""What ``--groups`` names: which kinds of widths may be narrowed."""

Cost = Callable[[ArchSpec], float]
"""What is to be reduced, of a whole network: multiply-adds, milliseconds."""

NarrowerWidths = Callable[[WidthGroup], Iterable[int]]
"""The widths that a group may be given, widest first, all of them below its own."""


def multiples_of_8(group: WidthGroup) -> Iterable[int]:
    """Every multiple of 8 below the width of `group`."""
    return range((group.width - 1) // DIVISOR * DIVISOR, 0, -DIVISOR)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One width narrowed.

    Attributes:
        group: name of the width (`search_spaces.width_groups.WidthGroup`).
        kind: of the group.
        members: operations that are narrowed together.
        before: channels of the parent.
        after: channels now.
        arch: the whole network, a layer a block.
        cost: of `arch`.
        saving: cost of the parent less `cost`.
        lacking: cost of the parent less the target; what is saved beyond it is of no use.
    """

    group: str
    kind: Kind
    members: tuple[str, ...]
    before: int
    after: int
    arch: ArchSpec
    cost: float
    saving: float
    lacking: float = math.inf

    @property
    def useful_saving(self) -> float:
        """What a rule may credit; positive."""
        return min(self.saving, self.lacking)


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A width that cannot save enough alone.

    Attributes:
        group: its name.
        kind: of the group.
        width: channels of the parent.
        most: the narrowing that saves most, the widest of equal ones, or None where it has no narrower width.
    """

    group: str
    kind: Kind
    width: int
    most: Proposal | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be done in a step.

    Attributes:
        proposals: one for each group that can save enough, in the order of the network.
        infeasible: the other groups, in the same order.
    """

    proposals: tuple[Proposal, ...]
    infeasible: tuple[Infeasible, ...]

    @property
    def most(self) -> float:
        """The most that a single width saves if nothing is asked for; not above 0 where none saves anything."""
        found = [*self.proposals, *(group.most for group in self.infeasible if group.most)]
        return max((proposal.saving for proposal in found), default=0.0)


def offer(
    arch: ArchSpec,
    cost: Cost,
    reduction: float,
    kinds: frozenset[Kind] = V3_KINDS,
    widths: NarrowerWidths = multiples_of_8,
) -> Offer:
    """For each group the widest width that saves `reduction`.

    Costs are staircases and not even monotone (a kernel likes some numbers of channels), so all widths are tried from the
    widest down, until one saves enough: no wider one costs as little, so that every channel is kept that costs nothing.

    Args:
        arch: the parent, a layer a block.
        cost: of a network.
        reduction: what a proposal has to save at least; positive.
        kinds: of the groups that may be narrowed.
        widths: what they may be narrowed to.
    """
    groups = groups_of(arch)
    parent_cost = cost(arch)
    proposals: list[Proposal] = []
    infeasible: list[Infeasible] = []
    for group in groups:
        if group.kind not in kinds:
            continue
        most = None
        for proposal in narrowings(arch, groups, group, cost, parent_cost, widths):
            if proposal.saving > 0 and within(proposal.cost, parent_cost - reduction):
                proposals.append(proposal)
                break
            if most is None or proposal.cost < most.cost:
                most = proposal
        else:
            infeasible.append(Infeasible(group.name, group.kind, group.width, most))
    return Offer(tuple(proposals), tuple(infeasible))


def narrowings(
    arch: ArchSpec,
    groups: Sequence[WidthGroup],
    group: WidthGroup,
    cost: Cost,
    parent_cost: float,
    widths: NarrowerWidths = multiples_of_8,
) -> Iterator[Proposal]:
    """`group` at each of its narrower widths, those left out at which the network would have other operations."""
    for width in widths(group):
        try:
            narrow = narrowed(arch, groups, {group.name: width})
        except StructureError:
            continue
        own = cost(narrow)
        yield Proposal(group.name, group.kind, group.members, group.width, width, narrow, own, parent_cost - own)
