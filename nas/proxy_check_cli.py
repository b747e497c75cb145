"""`nas proxy-check`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nas.errors import UserError
from nas.latency_cli import Json, print_json

if TYPE_CHECKING:
    from nas.config import EvaluatorSection
    from nas.proxy_check import Judgement, ProxyCheck
    from nas.rank_correlation import Interval


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
    as_json: Json = False,
) -> None:
    """Is the recipe's estimate of accuracy worth trusting? Trains networks by themselves and ranks them by every proxy.

    Kendall's tau of each proxy with the accuracies after full training on held-out images, with 95 % intervals over
    networks; the ceiling is what a second training with another seed reaches. What has been trained is remembered, so
    that a check that was interrupted, or is asked for more networks, goes on.
    """
    from dataclasses import replace

    from nas.config import load_config
    from nas.evaluators import supernet_evaluator
    from nas.images import Images
    from nas.proxy_check import check_proxies, networks_to_check, standalone_jobs, to_json
    from nas.ray_cluster import ray_cluster
    from nas.recipe_check import check, resolved
    from nas.training_recipe import TrainingRecipe

    overrides = list(assignments or []) + ([f"data.source={json.dumps(data)}"] if data else [])
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
    short = TrainingRecipe(**ready.evaluator.training.model_dump())
    try:
        archs = networks_to_check(ready, networks)
    except ValueError as error:
        raise UserError(str(error)) from None
    jobs = standalone_jobs(archs, training, ready.seed, len(archs) if repeats is None else min(repeats, len(archs)))
    log = Console(stderr=True)
    num_jobs = sum(len(of_arch) for of_arch in jobs) + len(archs)
    num_done = 0

    def finished(job: Any, outcome: Any) -> None:
        nonlocal num_done
        num_done += 1
        text = f"{num_done}/{num_jobs}  {job.recipe.epochs} epochs, seed {job.seed}: {outcome.accuracy:.1%}  {job.arch}"
        log.print(text, highlight=False, soft_wrap=True, markup=False)

    evaluator = supernet_evaluator(ready, images, log) if supernet else None
    with ray_cluster(None, (ready.concurrency or 1) * ready.cpus_per_trial):
        found = check_proxies(ready, images, archs, jobs, short, evaluator, finished)
    if as_json:
        print_json(to_json(found))
    else:
        _print(found, _proxy(ready.evaluator), Console())


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
