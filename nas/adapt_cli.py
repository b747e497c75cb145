"""`nas adapt`: a network's widths refined to a latency budget, step by step."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from nas.errors import UserError
from nas.latency_cli import Json, OwnResolution, print_json

if TYPE_CHECKING:
    from nas.netadapt.cost import CostModel
    from nas.netadapt.plan import Plan
    from nas.netadapt.proposal import Proposal
    from nas.network import NamedNetwork

DEFAULT_CLASSES = 1000


class CostName(StrEnum):
    """What is reduced."""

    MACS = "macs"
    TABLE = "table"


class GroupsName(StrEnum):
    """See `nas.netadapt.proposal.GROUPS`."""

    V3 = "v3"
    ALL = "all"


def adapt_command(
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and do nothing.")] = False,
    arch: Annotated[
        str, typer.Option(help="A network of the zoo, an architecture string, or a JSON file.", metavar="ARCH")
    ] = "mnasnet_a1",
    schedule: Annotated[
        str, typer.Option(help="What each step saves: 0.01L, 0.025L*0.96, 0.5ms; L is the network's own cost.")
    ] = "0.01L",
    target: Annotated[str, typer.Option(help="Where to stop: 0.8L, 3.0ms.")] = "0.8L",
    cost: Annotated[
        CostName | None, typer.Option(help="macs, or the prices of --table; default: the table if there is one.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Latency table: see nas latency table build.", metavar="FILE")
    ] = None,
    groups: Annotated[
        GroupsName, typer.Option(help="v3: expansions and bottlenecks, as MobileNetV3; all: stem and head too.")
    ] = GroupsName.V3,
    resolution: OwnResolution = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the classifier; default: the table's, or 1000.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Refine a network's widths, one a step (NetAdapt, MobileNetV3's variant). So far it plans: give --plan.

    The plan has, for every width, the widest that saves what a step has to, with the layers that share it; what cannot
    save so much alone; the most steps that the target takes. A target out of reach is refused, with the lowest possible.
    """
    from nas.netadapt.plan import plan as planned
    from nas.netadapt.schedule import Amount, ReductionSchedule
    from nas.network import resolve

    if not plan:
        raise UserError("nas adapt only plans so far: give --plan")
    steps, goal = ReductionSchedule.parse(schedule), Amount.parse(target, "--target")
    network = resolve(arch)
    model = _cost_model(network, cost, table, resolution, num_classes)
    found = planned(network.name, network.arch, model, steps, goal, groups.value)
    if as_json:
        print_json(found.to_dict())
        return
    _print_plan(found)


def _cost_model(
    network: NamedNetwork,
    cost: CostName | None,
    table: Path | None,
    resolution: int | None,
    num_classes: int | None,
) -> CostModel:
    if table is None and cost is CostName.TABLE:
        raise UserError(
            "--cost table: which? give --table FILE; build one with: nas latency table build --arch ARCH --out FILE"
        )
    if table is not None and cost is CostName.MACS:
        raise UserError("--cost macs needs no --table; leave out one of them")
    if table is None:
        from nas.netadapt.cost import mac_cost

        return mac_cost(network.resolution if resolution is None else resolution, num_classes or DEFAULT_CLASSES)
    from nas.latency_table import read_table
    from nas.netadapt.cost import table_cost

    prices = read_table(table)
    for option, given, own in (
        ("--resolution", resolution, prices.resolution),
        ("--num-classes", num_classes, prices.num_classes),
    ):
        if given not in (None, own):
            raise UserError(f"{option} {given}: {table} is for {own}; leave it out, or build a table for {given}")
    return table_cost(prices)


def _print_plan(plan: Plan) -> None:
    console, text = Console(), plan.model.text
    console.print(
        f"{plan.network}: L = {text(plan.seed_cost)}; target {text(plan.target)}, lowest possible {text(plan.lowest)}\n"
        f"each step saves {plan.schedule}, the first {text(plan.reduction)}",
        highlight=False,
        soft_wrap=True,
    )
    rows = Table(box=None, pad_edge=False)
    for column, justify in (
        ("group", "left"),
        ("kind", "left"),
        ("from", "right"),
        ("to", "right"),
        ("saves", "right"),
    ):
        rows.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    rows.add_column("tied to it")
    for proposal in plan.offer.proposals:
        share = proposal.saving / plan.seed_cost
        saved = f"{text(proposal.saving)} ({share:.2%})"
        others = ", ".join(_other_layers(proposal))
        rows.add_row(proposal.group, proposal.kind, str(proposal.before), str(proposal.after), saved, others)
    console.print(rows)
    for group in plan.offer.infeasible:
        most = "cannot be narrowed" if group.most is None else f"saves {text(group.most.saving)} at most"
        console.print(
            f"infeasible: {group.group} ({group.kind}, {group.width}) {most}", highlight=False, soft_wrap=True
        )
    console.print(
        f"{len(plan.offer.proposals)} proposals; at most {plan.max_steps} steps, if each finds one "
        f"(planned in {plan.seconds:.1f} s)",
        highlight=False,
        soft_wrap=True,
    )


def _other_layers(proposal: Proposal) -> list[str]:
    """Members elsewhere: depthwise convolutions and gates of the same layer go without saying."""
    layer = proposal.group.rpartition(".")[0]
    return [
        member for member in proposal.members if member != proposal.group and not (layer and member.startswith(layer))
    ]
