"""An adaptation as a person asks for it, and what becomes of that: a complete configuration in a new run folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from latency.table import LatencyTable
from nas.errors import UserError
from nas.latency_check import absolute, check_one_device, read_device
from nas.latency_section import LatencySection
from nas.latency_table import read_table
from nas.netadapt.adapt_config import AdaptConfig, JudgingSection
from nas.netadapt.adapt_run import create_run
from nas.netadapt.budget import Budget, Goal, parse_budgets
from nas.netadapt.cost import Resource
from nas.netadapt.origin import Origin
from nas.netadapt.plan import plan
from nas.netadapt.schedule import Amount, ReductionSchedule
from nas.netadapt.seed_network import loaded_weights
from nas.run_folder import check_free, next_folder
from nas.strict_yaml import validated
from nas.train_config import NetworkSection, TrainRequest, misfit, resolve_config
from nas.train_data import TrainingData, check_holdout, load_for
from search_spaces.edits import one_layer_blocks

DEFAULT_TARGET = "0.8L"
DEFAULT_HOLDOUT = 0.2
DEFAULT_EPOCHS = 10
EXACT_STEPS = 500
"""Of training of each proposal in the published loop, as the scripts of netadapt's code have it; MobileNetV3's paper
says 10 000 (section 4.2)."""

RESOURCES: dict[str, Resource] = {"table": "latency", "macs": "macs", "params": "params"}
"""What ``--cost`` names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptRequest:
    """What is None is chosen by `begin`.

    Attributes:
        origin: the network.
        data: what it is adapted on; its own data, or the digits.
        schedule: what each step saves.
        budgets: where to stop; see `asked_budgets`.
        table: prices of latencies.
        device: where they are measured: ``local``, or a file, see `nas.latency_check.read_device`; where its run has measured.
        groups: a key of `nas.netadapt.proposal.GROUPS`.
        resolution: side in pixels at which it is deployed.
        image_size: side in pixels of the training images.
        epochs: of trainings from scratch.
        training: keys of `nas.config.TrainingSection` that are asked for.
        holdout: part of the training split that judges, in (0, 1).
        judging: keys of `JudgingSection` that are asked for.
        baselines: whether there are any.
        num_trainings: from scratch, of each network in the end.
        threads: of each task.
        seed: of everything.
    """

    origin: Origin
    data: str | None = None
    schedule: str = "0.01L"
    budgets: tuple[Budget, ...] = ()
    table: Path | None = None
    device: str | None = None
    groups: str = "v3"
    resolution: int | None = None
    image_size: int | None = None
    epochs: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    holdout: float | None = None
    judging: Mapping[str, Any] = field(default_factory=dict)
    baselines: bool = True
    num_trainings: int = 1
    threads: int = 1
    seed: int | None = None


def asked_budgets(texts: list[str], target: str | None, cost: str | None, has_table: bool) -> tuple[Budget, ...]:
    """The budgets that the options mean.

    Args:
        texts: of ``--budget``.
        target: of ``--target``: of the cost.
        cost: of ``--cost``: a key of `RESOURCES`; latency if not given.
        has_table: whether ``--table`` is given.

    Raises:
        UserError: options that exclude each other, or cannot be read.
    """
    if texts and (target is not None or cost is not None):
        raise UserError("--budget says what is reduced and how far; leave out --target and --cost")
    if texts:
        return parse_budgets(texts)
    resource = RESOURCES[cost or "table"]
    if has_table and resource != "latency":
        raise UserError(f"--cost {cost} needs no --table; leave out one of them")
    return (
        Budget(resource, Amount.parse(target or DEFAULT_TARGET, "--target", "ms" if resource == "latency" else "")),
    )


def begin(request: AdaptRequest, out: Path | None, console: Console) -> tuple[Path, TrainingData]:
    """Check what is asked for and make its run folder.

    Args:
        request: what to adapt, and how.
        out: the folder; ``runs/adapt-NAME-N`` if not given.
        console: says what has to be known.

    Returns:
        The folder, and the data.

    Raises:
        UserError: something does not work; nothing has been made then.
    """
    origin = request.origin
    ReductionSchedule.parse(request.schedule)
    name = re.sub(r"[^\w.@-]+", "-", origin.network.name)[:40]
    folder = out or next_folder(f"adapt-{name}")
    check_free(folder, "nas adapt")
    if origin.note:
        console.print(origin.note, highlight=False, soft_wrap=True)
    training = _training(request)
    source = request.data or origin.source or "digits"
    dataset, resolution = load_for(training, source, console)
    where = source if source == "digits" else str(absolute(source))
    trained = resolve_config(training, where, resolution, None, None)
    check_holdout(trained, dataset)
    if origin.weights and (origin.source, origin.holdout, origin.seed) != (where, trained.data.holdout, trained.seed):
        note = "may have been trained on the images that are held out here: accuracies of the steps flatter them"
        console.print(f"note      {origin.weights} {note}", highlight=False, soft_wrap=True)
    if origin.weights:
        loaded_weights(origin.weights, origin.network.arch, resolution, dataset)
    latency = deployment_section(request, dataset.num_classes)
    if problem := misfit(origin.network.arch, latency.resolution):
        raise UserError(f"deployed at {latency.resolution} px: {problem}; give another --resolution")
    config = AdaptConfig(
        seed=request.seed or 0,
        network=NetworkSection(
            name=origin.network.name,
            arch=str(one_layer_blocks(origin.network.arch)),
            training_of=origin.training_of,
        ),
        weights=absolute(str(origin.weights)) if origin.weights else None,
        training=trained,
        schedule=request.schedule,
        budgets=[str(budget) for budget in request.budgets],
        groups=request.groups,  # type: ignore[arg-type]  # the command line offers no other
        latency=latency,
        judging=_judging(request),
        baselines=request.baselines,
        num_trainings=request.num_trainings,
        threads=request.threads,
    )
    check_reachable(config, dataset.num_classes)
    create_run(folder, config, dataset.fingerprint)
    return folder, dataset


def _judging(request: AdaptRequest) -> JudgingSection:
    steps = {"num_steps": EXACT_STEPS} if request.judging.get("exact") else {}
    return validated(JudgingSection, steps | dict(request.judging), "options")


def check_reachable(config: AdaptConfig, num_classes: int) -> None:
    """Raise UserError where schedule or network do not reach the target, as far as that is known without a device."""
    if config.judging.exact and config.judging.num_steps == 0:
        raise UserError("--exact --steps 0: the published loop trains every proposal; give it some steps")
    if config.prices_latency:
        return
    goal = Goal.of(config.parsed_budgets, config.arch, config.latency.resolution, num_classes)
    plan(config.network.name, config.arch, goal.model, config.reductions, goal.target, config.groups, goal.option)


def _training(request: AdaptRequest) -> TrainRequest:
    """Of the seed, if it has no weights, and of all that are compared."""
    origin = request.origin
    known = origin.training.model_dump() if origin.training else {}
    epochs = request.epochs or known.pop("epochs", DEFAULT_EPOCHS)
    known.pop("epochs", None)
    seed = request.seed if request.seed is not None else origin.seed
    return TrainRequest(
        network=origin.network,
        training_of=origin.training_of,
        resolution=request.image_size or origin.resolution,
        epochs=epochs,
        overrides=known | dict(request.training),
        holdout=request.holdout or origin.holdout or DEFAULT_HOLDOUT,
        seed=seed or 0,
    )


def deployment_section(request: AdaptRequest, num_classes: int | None) -> LatencySection:
    """How the network is deployed, and where: as its table's networks are, as its run's were, or here at its own size.

    Args:
        request: what is asked for.
        num_classes: of the data; None takes the table's, or leaves it open.

    Raises:
        UserError: the table is of another resolution or of other classes, or there is not one device to adapt on.
    """
    section = _deployment(request, num_classes)
    if request.device is not None:
        section = section.model_copy(update={"devices": read_device(request.device)})
    if any(budget.resource == "latency" for budget in request.budgets):
        check_one_device(section)
    return section


def _deployment(request: AdaptRequest, num_classes: int | None) -> LatencySection:
    known = request.origin.latency
    devices = known.devices if known else []
    file = request.table or (Path(known.table) if known and known.table else None)
    if file is None:
        base = known or LatencySection(resolution=request.origin.network.resolution)
        resolution = request.resolution or base.resolution
        return base.model_copy(update={"resolution": resolution, "num_classes": num_classes})
    table = read_table(file)
    _check_fits("--resolution", request.resolution, table.resolution, file)
    if num_classes is not None and num_classes != table.num_classes:
        raise UserError(
            f"{file}: a table of networks with {table.num_classes} classes, the data have {num_classes}; build another one "
            f"with --num-classes {num_classes}, or leave the table out and one is made"
        )
    return LatencySection(
        name="table",
        table=absolute(str(file)),
        num_classes=table.num_classes,
        reference=str(table.reference),
        devices=devices,
        **table.device.deployment.to_dict(),
    )


def _check_fits(option: str, given: int | None, own: int, file: Path) -> None:
    if given not in (None, own):
        raise UserError(f"{option} {given}: {file} is for {own}; leave it out, or build a table for {given}")


def table_of(section: LatencySection) -> LatencyTable | None:
    """The table that a deployment has from its beginning."""
    return read_table(Path(section.table)) if section.table else None
