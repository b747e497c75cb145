"""What an adaptation would do, said before it begins: proposals of its first step, what is out of reach, how many steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from nas.errors import UserError
from nas.netadapt.cost import CostModel, Resource, amount_text
from nas.netadapt.proposal import GROUPS, Cost, NarrowerWidths, Offer, Proposal, multiples_of_8, narrowings, offer
from nas.netadapt.schedule import Amount, ReductionSchedule, within
from search_spaces.arch import ArchSpec
from search_spaces.edits import one_layer_blocks
from search_spaces.narrowing import groups_of
from search_spaces.width_groups import Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """Of an adaptation that has not begun.

    Attributes:
        network: what the seed is called.
        arch: the seed, a layer a block; names of groups refer to it.
        model: the cost.
        seed_cost: L.
        schedule: of reductions.
        target: cost to come down to.
        groups: which widths may be narrowed: a key of `GROUPS`.
        reduction: what a proposal of the first step has to save.
        offer: the first step's.
        max_steps: most steps that it takes, as long as each finds a proposal that saves what is asked for.
        lowest: the least cost that narrowing width after width reaches.
        seconds: that planning took.
    """

    network: str
    arch: ArchSpec
    model: CostModel
    seed_cost: float
    schedule: ReductionSchedule
    target: float
    groups: str
    reduction: float
    offer: Offer
    max_steps: int
    lowest: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; costs and savings in the unit of the cost."""
        return {
            "network": self.network,
            "arch": str(self.arch),
            "cost": self.model.name,
            "unit": self.model.unit,
            "seed_cost": self.seed_cost,
            "schedule": str(self.schedule),
            "reduction": self.reduction,
            "target": self.target,
            "lowest": self.lowest,
            "groups": self.groups,
            "proposals": [_proposal(proposal) for proposal in self.offer.proposals],
            "infeasible": [
                {
                    "group": group.group,
                    "kind": group.kind,
                    "width": group.width,
                    "most": _proposal(group.most) if group.most else None,
                }
                for group in self.offer.infeasible
            ],
            "max_steps": self.max_steps,
            "seconds": self.seconds,
        } | self._budgets()

    def _budgets(self) -> dict[str, Any]:
        """Of each resource what the seed takes and what it may take, in its unit, where there are several."""
        if not self.model.budgets:
            return {}
        reading = self.model.reading(self.arch)
        budgets = [
            {"resource": resource, "seed": reading[resource], "budget": budget}
            for resource, budget in self.model.budgets.items()
        ]
        return {"budgets": budgets}


def _proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "group": proposal.group,
        "kind": proposal.kind,
        "from": proposal.before,
        "to": proposal.after,
        "saving": proposal.saving,
        "members": list(proposal.members),
    }


def plan(
    network: str,
    arch: ArchSpec,
    model: CostModel,
    schedule: ReductionSchedule,
    target: Amount,
    groups: str = "v3",
    option: str | None = None,
) -> Plan:
    """Plan the adaptation of `arch`.

    Args:
        network: what it is called.
        arch: the seed.
        model: the cost to reduce.
        schedule: what each step has to save.
        target: cost to come down to.
        groups: a key of `GROUPS`.
        option: what asked for the target (`nas.netadapt.budget.Goal.option`); None is ``--target``.

    Raises:
        UserError: the target is met already, or is out of reach of the schedule or of the network.
    """
    started = time.perf_counter()
    option = option or f"--target {target}"
    seed, kinds = one_layer_blocks(arch), GROUPS[groups]
    seed_cost = model.cost(seed)
    target_cost = model.amount(target, seed_cost, "--target")
    lacking = seed_cost - target_cost
    reduction = min(model.amount(schedule.first, seed_cost, "--schedule"), lacking)
    if within(seed_cost, target_cost):
        raise UserError(f"{option}: {network} has {model.reading_text(seed)}, which is no more; give a lower target")
    if lacking >= (total := schedule.total(seed_cost)):
        raise UserError(
            f"{option}: the steps of --schedule {schedule} save {model.text(total)} in all, so the lowest that they "
            f"are sure to reach is {_sure(model, seed, seed_cost - total)}; let them decay less"
        )
    lowest_cost = lowest(seed, model.cost, kinds)
    if not within(lowest_cost, target_cost):
        more = "" if groups == "all" else "; --groups all narrows stem and head too"
        raise UserError(f"{option}: {network} at its narrowest has {_narrowest(model, seed, lowest_cost, kinds)}{more}")
    return Plan(
        network=network,
        arch=seed,
        model=model,
        seed_cost=seed_cost,
        schedule=schedule,
        target=target_cost,
        groups=groups,
        reduction=reduction,
        offer=offer(seed, model.cost, reduction, kinds),
        max_steps=schedule.max_steps(lacking, seed_cost),
        lowest=lowest_cost,
        seconds=time.perf_counter() - started,
    )


def _sure(model: CostModel, seed: ArchSpec, cost: float) -> str:
    """`cost` in the unit of the resource that is furthest above its budget."""
    reading = model.reading(seed)
    worst = max(reading, key=lambda resource: reading[resource] / model.budgets.get(resource, 1.0))
    return _with_share(worst, cost * model.budgets.get(worst, 1.0), reading[worst])


def _narrowest(model: CostModel, seed: ArchSpec, lowest_cost: float, kinds: frozenset[Kind]) -> str:
    """The lowest cost; of several resources, of each that is out of reach even alone."""
    reading = model.reading(seed)
    beyond = dict.fromkeys(reading, lowest_cost)
    if model.budgets:
        lows = {resource: lowest(seed, cost, kinds) for resource, cost in model.amounts.items()}
        beyond = {resource: low for resource, low in lows.items() if not within(low, model.budgets[resource])}
    if not beyond:
        return f"{model.text(lowest_cost)}: each budget can be kept alone, but not all of them together"
    texts = [_with_share(resource, low, reading[resource]) for resource, low in beyond.items()]
    return f"{' and '.join(texts)}, the lowest that is possible"


def _with_share(resource: Resource, amount: float, seed_amount: float) -> str:
    return f"{amount_text(resource, amount)} ({amount / seed_amount:.3f}L)"


def lowest(arch: ArchSpec, cost: Cost, kinds: frozenset[Kind], widths: NarrowerWidths = multiples_of_8) -> float:
    """The least cost of `arch` with each width in turn at its cheapest, again and again until none gets cheaper.

    Args:
        arch: a layer a block.
        cost: of a network.
        kinds: of the widths that may be narrowed.
        widths: what they may be narrowed to.
    """
    least, cheaper = cost(arch), True
    names = [group.name for group in groups_of(arch) if group.kind in kinds]
    while cheaper:
        cheaper = False
        for name in names:
            groups = groups_of(arch)
            group = next(group for group in groups if group.name == name)
            for proposal in narrowings(arch, groups, group, cost, least, widths):
                if proposal.cost < least:
                    arch, least, cheaper = proposal.arch, proposal.cost, True
    return least
