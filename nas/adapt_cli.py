"""`nas adapt` and `nas adapt pick`: a network's widths refined to a budget, step by step."""

from __future__ import annotations

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from nas.errors import UserError
from nas.latency_cli import Device, Json, OwnResolution, print_json
from nas.train_cli import EXIT_INTERRUPTED, check_alone

if TYPE_CHECKING:
    from nas.netadapt.adapt_request import AdaptRequest
    from nas.netadapt.plan import Plan
    from nas.netadapt.proposal import Proposal
    from nas.train_data import TrainingData

adapt_app = typer.Typer(invoke_without_command=True)

DEFAULT_CLASSES = 1000
EXIT_UNREACHABLE = 3
"""The target cannot be met; the steps before it stand."""

_STANDS_IN = "multiply-adds stand for latency here, for there is no table yet: a run makes one; or give --table FILE"


class CostName(StrEnum):
    """What is reduced."""

    MACS = "macs"
    PARAMS = "params"
    TABLE = "table"


class GroupsName(StrEnum):
    """See `nas.netadapt.proposal.GROUPS`."""

    V3 = "v3"
    ALL = "all"


class RuleName(StrEnum):
    """See `nas.netadapt.selection.RULES`."""

    SLOPE = "slope"
    ACCURACY = "accuracy"


@adapt_app.callback()
def adapt_command(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and do nothing.")] = False,
    arch: Annotated[
        str | None,
        typer.Option(help="A network of the zoo, an architecture string, or a JSON file.", metavar="ARCH"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Begin with what this search or training came to; default: the newest.", metavar="RUN"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Of --arch; our names, torchvision's or timm's.", metavar="FILE")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, FILE.npz, or FOLDER with train/CLASS/* and val/CLASS/*; default: the run's.", metavar="SPEC"
        ),
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="What each step saves: 0.01L, 0.025L*0.96, 0.5ms; L is the network's own cost.")
    ] = "0.01L",
    target: Annotated[str | None, typer.Option(help="Where to stop: 0.8L (the default), 3.0ms.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead, of one resource or several: latency=0.7L, params=3e6, macs=0.5L. Repeatable.",
            metavar="RESOURCE=AMOUNT",
        ),
    ] = None,
    cost: Annotated[
        CostName | None, typer.Option(help="What is reduced: latency by a table (the default), or numbers.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Latency table; without one it is made (see nas latency table build).", metavar="FILE"),
    ] = None,
    device: Device = None,
    groups: Annotated[
        GroupsName, typer.Option(help="v3: expansions and bottlenecks, as MobileNetV3; all: stem and head too.")
    ] = GroupsName.V3,
    select: Annotated[
        RuleName | None, typer.Option(help="slope: accuracy for cost, as MobileNetV3; accuracy: as NetAdapt.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="The published loop: every proposal with all its training. Slow.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Of training, of each accepted network; default 64, with --exact 500.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the fine-tuning, constant; default 0.01.")] = None,
    holdout: Annotated[
        float | None, typer.Option(min=0.001, max=0.9, help="Part of the training split that judges; default 0.2.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of trainings from scratch; default: the run's, else 10.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step; default 64.")] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Mirror images at random; not digits.")] = None,
    max_shift: Annotated[int | None, typer.Option(help="Move images at random, so many pixels.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A key of the trainings from scratch, as recipes have it, e.g. ema_decay=0.99. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side of the training images; default: the run's, or the data's.")
    ] = None,
    resolution: OwnResolution = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="With --plan: outputs of the classifier; default: the data's, else 1000.")
    ] = None,
    trainings: Annotated[
        int, typer.Option(min=0, help="From scratch in the end, of each network that is compared.")
    ] = 1,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Uniform multiplier and random proposals beside it.")
    ] = True,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything.")] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Of each task; with another number figures may round otherwise.")
    ] = 1,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once; default: the cores. Results do not depend on it.")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster (or 'auto').")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make; default runs/adapt-NAME-N.", metavar="RUN")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue an interrupted run.", metavar="RUN")] = None,
    as_json: Json = False,
) -> None:
    """Refine a network's widths to a budget, one a step (NetAdapt, MobileNetV3's variant).

    [bold]nas adapt --schedule 0.01L[/bold]  takes the newest finished run to 0.8 of its latency on this machine.

    [bold]nas adapt --schedule 0.01L --arch mnasnet_a1 --data photos.npz --plan[/bold]  says what would be done, in seconds.

    [bold]nas adapt pick RUN --latency 3.0ms[/bold]  gives the best network within a latency: every step is one.
    """
    if context.invoked_subcommand is not None:
        return
    console = Console(stderr=as_json)
    if resume is not None:
        check_alone(context)
        from nas.netadapt.adapt_config import read_adapt_config
        from nas.train_data import opened

        dataset = opened(read_adapt_config(resume).training.data, console)
        _carry_on(resume, dataset, console, as_json, workers, ray_address)
        return
    from nas.config import TrainingSection, assign
    from nas.netadapt.adapt_request import DEFAULT_TARGET, AdaptRequest, asked_budgets, begin
    from nas.netadapt.origin import origin
    from nas.strict_yaml import validated

    judging = {
        "exact": exact or None,
        "selection": select and select.value,
        "num_steps": steps,
        "learning_rate": learning_rate,
    }
    options = {"batch_size": batch_size, "flip": flip, "max_shift": max_shift}
    training = {key: value for key, value in options.items() if value is not None}
    for assignment in assignments or []:
        assign(training, assignment, "ema_decay=0.99")
    validated(TrainingSection, training, "options of training")
    request = AdaptRequest(
        origin=origin(arch, run, weights),
        data=data,
        schedule=schedule,
        budgets=asked_budgets(budget or [], target, cost and cost.value, table is not None),
        table=table,
        device=device,
        groups=groups.value,
        resolution=resolution,
        image_size=image_size,
        epochs=epochs,
        training=training,
        holdout=holdout,
        judging={key: value for key, value in judging.items() if value is not None},
        baselines=baselines,
        num_trainings=trainings,
        threads=threads,
        seed=seed,
    )
    if plan:
        option = None if budget else f"--target {target or DEFAULT_TARGET}"
        _plan(request, num_classes, option, as_json, needs_table=cost is CostName.TABLE)
        return
    if num_classes is not None:
        raise UserError(f"--num-classes {num_classes}: the data say how many classes there are; leave it out")
    if ray_address is not None:
        from nas.ray_cluster import check_address

        check_address(ray_address)
    folder, dataset = begin(request, out, console)
    _carry_on(folder, dataset, console, as_json, workers, ray_address)


def _carry_on(
    folder: Path, dataset: TrainingData, console: Console, as_json: bool, workers: int | None, ray_address: str | None
) -> None:
    from nas.netadapt.adapt_record import AdaptRecord
    from nas.netadapt.adapt_report import write_adapt_report
    from nas.netadapt.adapt_run import AdaptRun
    from nas.netadapt.adaptation import UnreachableError
    from nas.netadapt.adapting import carry_on
    from nas.netadapt.words import cost_text

    try:
        with AdaptRun(folder) as run:
            final = carry_on(run, dataset, console, workers, ray_address)
    except KeyboardInterrupt:
        console.print(f"interrupted; continue with: nas adapt --resume {folder}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except UnreachableError as error:
        write_adapt_report(folder)
        unit = AdaptRecord.read(folder).unit
        console.print(
            f"target {cost_text(error.target, unit)} unreachable: after {error.best.step} steps no width saves anything below "
            f"{cost_text(error.best.cost, unit)}; the steps are in {folder}/steps: nas adapt pick {folder} --cost 1L",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_UNREACHABLE) from None
    write_adapt_report(folder)
    if as_json:
        print_json(final)
        return
    from nas.netadapt.adapt_report import print_adapt_summary

    print_adapt_summary(folder, console)


def _plan(
    request: AdaptRequest, num_classes: int | None, option: str | None, as_json: bool, *, needs_table: bool
) -> None:
    """Say what would be done. Without a table it counts multiply-adds: to make one takes more than a plan's seconds.

    Args:
        request: what is asked for.
        num_classes: outputs of the classifier; None takes those of the data, of the table, or `DEFAULT_CLASSES`.
        option: that says where to stop; None where that are budgets.
        as_json: print JSON.
        needs_table: multiply-adds will not do.
    """
    from nas.data import open_dataset
    from nas.netadapt.adapt_request import deployment_section, table_of
    from nas.netadapt.budget import Goal
    from nas.netadapt.cost import table_cost
    from nas.netadapt.plan import plan as planned
    from nas.netadapt.schedule import ReductionSchedule

    source = request.data or request.origin.source
    if num_classes is None and source is not None:
        num_classes = len(open_dataset(source).class_names)
    section = deployment_section(request, num_classes)
    prices = table_of(section)
    budgets = request.budgets
    if prices is None and needs_table:
        raise UserError(
            "--cost table: which? give --table FILE; build one with: nas latency table build --arch ARCH --out FILE"
        )
    stands_in = prices is None and option is not None and budgets[0].resource == "latency"
    if stands_in:
        budgets = (replace(budgets[0], resource="macs"),)
    network = request.origin.network
    goal = Goal.of(
        budgets,
        network.arch,
        section.resolution,
        section.num_classes or DEFAULT_CLASSES,
        price_ms=table_cost(prices).cost if prices else None,
    )
    steps = ReductionSchedule.parse(request.schedule)
    found = planned(network.name, network.arch, goal.model, steps, goal.target, request.groups, option or goal.option)
    if as_json:
        print_json(found.to_dict())
        return
    _print_plan(found, _STANDS_IN if stands_in else None)


def _print_plan(plan: Plan, note: str | None = None) -> None:
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
    if note:
        console.print(note, highlight=False, soft_wrap=True)
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


@adapt_app.command("pick")
def pick_command(
    run: Annotated[Path, typer.Argument(help="Run folder of nas adapt.", metavar="RUN")],
    latency: Annotated[
        str | None, typer.Option(help="The most that it may take: 3.0ms, 0.85L.", metavar="AMOUNT")
    ] = None,
    cost: Annotated[
        str | None, typer.Option(help="Likewise, in a run that reduces something else: 0.85L, 2e8.", metavar="AMOUNT")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to make: arch.json, model.onnx, weights.safetensors.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """The most accurate network of a run within a budget: every accepted step is one, ready to be deployed."""
    from nas.netadapt.adapt_record import AdaptRecord
    from nas.netadapt.ladder import copy_rung
    from nas.netadapt.ladder import pick as picked
    from nas.netadapt.words import cost_text

    if latency is not None and cost is None:
        rung = picked(run, latency, "latency")
    elif cost is not None and latency is None:
        rung = picked(run, cost, "cost")
    else:
        raise UserError("within what? give one of --latency 3.0ms and --cost 0.85L")
    if out is not None:
        copy_rung(rung, out)
    folder = out or rung.folder
    if as_json:
        print_json(asdict(rung) | {"folder": str(folder)})
        return
    figures = (
        cost_text(rung.cost, AdaptRecord.read(run).unit) if rung.latency_ms is None else f"{rung.latency_ms:.3f} ms"
    )
    Console().print(
        f"step {rung.step}: {figures}, right about {rung.accuracy:.1%} of the held-out images\n{folder}",
        highlight=False,
        soft_wrap=True,
    )
