"""`nas proxy-check`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from nas.errors import UserError
from nas.latency_cli import Json, print_json

if TYPE_CHECKING:
    from nas.config import Config, EvaluatorSection
    from nas.images import Images
    from nas.proxy_check import Judgement, ProxyCheck
    from nas.rank_correlation import Interval
    from nas.standalone import Job, Standalone
    from nas.training_recipe import TrainingRecipe
    from search_spaces.arch import ArchSpec


def proxy_check_command(
    config: Annotated[
        str, typer.Option("--config", "-c", help="Recipe: a file, or the name of a shipped one.", metavar="RECIPE")
    ] = "mnas_large.yaml",
    data: Annotated[
        str | None, typer.Option(help="digits, FILE.npz, or FOLDER with train/CLASS/* and val/CLASS/*.", metavar="SPEC")
    ] = None,
    networks: Annotated[int, typer.Option(min=3, help="Networks to train by themselves, spread in size.")] = 10,
    repeats: Annotated[
        int | None, typer.Option(min=0, help="Of these, trained again with another seed; default: all.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each such training; default: the recipe's final.training.")
    ] = None,
    supernet: Annotated[bool, typer.Option(help="Train the recipe's supernet too, or leave it out.")] = True,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key of the recipe. Repeatable.", metavar="KEY=VALUE")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster (or 'auto').")] = None,
    as_json: Json = False,
) -> None:
    """Is the recipe's estimate of accuracy worth trusting? Trains networks by themselves and ranks them by every proxy.

    Kendall's tau of each proxy with the accuracies after full training on held-out images, with 95 % intervals over
    networks; the ceiling is what a second training with another seed reaches. What has been trained is remembered, so
    that a check that was interrupted, or is asked for more networks, goes on.
    """
    from contextlib import nullcontext

    from nas.evaluators import supernet_evaluator
    from nas.proxy_check import all_jobs, check_proxies, to_json
    from nas.ray_cluster import check_address, ray_cluster
    from nas.standalone import num_left

    if ray_address is not None:
        check_address(ray_address)
    overrides = list(assignments or []) + ([f"data.source={json.dumps(data)}"] if data else [])
    plan = _planned(config, overrides, networks, repeats, epochs)
    recipe = plan.recipe
    trainings = all_jobs(recipe, plan.archs, plan.jobs, plan.short)
    log, num_done = Console(stderr=True), 0

    def finished(job: Job, outcome: Standalone) -> None:
        nonlocal num_done
        num_done += 1
        which = f"{num_done}/{len(trainings)}  {job.recipe.epochs} epochs, seed {job.seed}"
        log.print(f"{which}: {outcome.accuracy:.1%}  {job.arch}", highlight=False, soft_wrap=True, markup=False)

    evaluator = supernet_evaluator(recipe, plan.images, log) if supernet else None
    num_cpus = (recipe.concurrency or 1) * recipe.cpus_per_trial
    trains = num_left(trainings, recipe, plan.images) > 0
    room = (ray_address, num_cpus, recipe.cpus_per_trial, recipe.gpus_per_trial or 0.0)
    with ray_cluster(*room) if trains else nullcontext():
        found = check_proxies(recipe, plan.images, plan.archs, plan.jobs, plan.short, evaluator, finished)
    if as_json:
        print_json(to_json(found))
    else:
        _print(found, _proxy(recipe.evaluator), Console())


@dataclass(frozen=True)
class _Plan:
    """What a check trains: networks, the trainings of each, the recipe of the short ones."""

    recipe: Config
    images: Images
    archs: list[ArchSpec]
    jobs: list[list[Job]]
    short: TrainingRecipe


def _planned(config: str, overrides: list[str], networks: int, repeats: int | None, epochs: int | None) -> _Plan:
    from nas.config import load_config
    from nas.images import Images
    from nas.proxy_check import networks_to_check, standalone_jobs
    from nas.recipe_check import check, resolved
    from nas.training_recipe import TrainingRecipe

    recipe = load_config(config, overrides)
    check(recipe)
    if recipe.final is None:
        raise UserError(
            f"{config}: proxy-check trains by final.training, and this recipe has none; add a section final"
        )
    images = Images.load(recipe)
    ready = resolved(recipe, images)
    assert ready.final is not None
    training = TrainingRecipe(**ready.final.training.model_dump())
    training = replace(training, epochs=epochs or training.epochs)
    try:
        archs = networks_to_check(ready, networks)
    except ValueError as error:
        raise UserError(str(error)) from None
    jobs = standalone_jobs(archs, training, ready.seed, len(archs) if repeats is None else min(repeats, len(archs)))
    return _Plan(ready, images, archs, jobs, TrainingRecipe(**ready.evaluator.training.model_dump()))


def _proxy(section: EvaluatorSection) -> str:
    """The recipe's own one, by the name of its ranking; others than those that are ranked give their evaluator's."""
    return {"train": "short training", "zero_cost": section.score}.get(section.name, section.name)


def _print(found: ProxyCheck, proxy: str, console: Console) -> None:
    table = Table("proxy", "tau", "above MACs", "above short training", "s a network", "s once", box=None)
    for judgement in found.judgements:
        ranking = judgement.ranking
        table.add_row(
            ranking.name,
            _interval(judgement.tau),
            _interval(judgement.over_macs),
            _interval(judgement.over_short),
            f"{ranking.seconds:.2g}",
            f"{ranking.once_s:.0f}" if ranking.once_s else "-",
        )
    ceiling = "-" if found.ceiling is None else _interval(found.ceiling)
    table.add_row("another seed", ceiling, "-", "-", f"{found.standalone_s:.3g}", "-", style="dim")
    console.print(f"{len(found.archs)} networks, Kendall's tau with their accuracies after training [95 % interval]")
    console.print(table)
    asked = found.judgement(proxy)
    if asked is not None:
        console.print(_verdict(asked), highlight=False)


def _verdict(asked: Judgement) -> str:
    from nas.proxy_check import TRUSTED_TAU

    name, tau = asked.ranking.name, asked.tau
    if tau.value < TRUSTED_TAU:
        return (
            f"do not trust it: the recipe's proxy, {name}, has tau {tau.value:.2f}, below {TRUSTED_TAU}. Train it longer, "
            "hold more images out, or choose another evaluator"
        )
    rest = "" if tau.low >= TRUSTED_TAU else f", though not surely: its interval begins at {tau.low:.2f}"
    return f"the recipe's proxy, {name}, has tau {tau.value:.2f}: good enough to search with (at least {TRUSTED_TAU}){rest}"


def _interval(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
