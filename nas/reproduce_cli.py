"""`nas reproduce`: the method that made MobileNetV3, with one command."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from nas.errors import UserError
from nas.latency_cli import Device
from nas.train_cli import EXIT_INTERRUPTED, check_alone

if TYPE_CHECKING:
    from nas.images import Images
    from nas.reproduction.reproduce_run import ReproduceRun

PHOTOS = "PHOTOS"
"""What shipped recipes have in place of data."""


class OrderName(StrEnum):
    """See `nas.reproduction.reproduce_config.ReproduceConfig`."""

    PAPER = "paper"
    EDITS_FIRST = "edits_first"


def reproduce_command(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="mobilenet_v3_large, mobilenet_v3_small, either with _paper, or a recipe of your own.",
            metavar="RECIPE",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, FILE.npz, or FOLDER with train/CLASS/* and val/CLASS/*.", metavar="SPEC")
    ] = None,
    device: Device = None,
    order: Annotated[
        OrderName | None, typer.Option(help="paper: NetAdapt, then the edits by hand; or edits_first.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option("--from", help="Skip the search: begin with mnasnet_a1, as the paper did.", metavar="ARCH"),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a key of the recipe, e.g. search.trials=100. Repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Join this Ray cluster (or 'auto') instead of starting Ray here.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make; default runs/RECIPE-N.", metavar="RUN")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue an interrupted run.", metavar="RUN")] = None,
) -> None:
    """Search, NetAdapt, redesign, and the comparison with MobileNetV3 trained alike; each stage is resumed where it was.

    [bold]nas reproduce mobilenet_v3_large --data photos.npz[/bold]

    [bold]nas reproduce mobilenet_v3_large_paper --from mnasnet_a1[/bold]  takes the historical route: no search.
    """
    from nas.reproduction.reproduce_report import print_reproduce_summary, write_reproduce_report
    from nas.reproduction.reproduce_run import ReproduceRun
    from nas.reproduction.reproducing import carry_on
    from nas.search import SearchInterruptedError

    console = Console()
    if ray_address is not None:
        from nas.ray_cluster import check_address

        check_address(ray_address)
    if resume is not None:
        check_alone(context)
        folder = resume
    elif recipe is None:
        raise UserError("which recipe? mobilenet_v3_large or mobilenet_v3_small, or continue a run with --resume RUN")
    else:
        from nas.latency_check import read_device

        given: dict[str, Any] = {"data.source": data} if data else {}
        if device is not None:
            given["latency.devices"] = [section.model_dump() for section in read_device(device)]
        overrides = [*(assignments or []), *(f"search.{key}={json.dumps(value)}" for key, value in given.items())]
        overrides += [f"order={order.value}"] if order else []
        overrides += [f"network={json.dumps(network)}"] if network else []
        folder = _begun(recipe, overrides, out)
    with ReproduceRun(folder) as run:
        try:
            carry_on(run, _images(run), console, ray_address)
        except (KeyboardInterrupt, SearchInterruptedError):
            console.print(
                f"interrupted; continue with: nas reproduce --resume {folder}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
    write_reproduce_report(folder)
    print_reproduce_summary(folder, console)


def _begun(recipe: str, assignments: list[str], out: Path | None) -> Path:
    """The folder of a new run: everything has been checked that can be before something starts."""
    from nas.config import find_recipe
    from nas.images import Images
    from nas.recipe_check import check, resolved
    from nas.reproduction.reproduce_config import load_reproduce_config
    from nas.reproduction.reproduce_run import create_run
    from nas.run_folder import next_folder

    config = load_reproduce_config(recipe, assignments)
    search = config.search.model_copy(update={"final": None})
    if search.data.source == PHOTOS:
        raise UserError(
            "which photos? give --data FILE.npz or a folder; --data digits tries it out on small scans of digits"
        )
    check(search)
    images = Images.load(search)
    folder = out or next_folder(find_recipe(recipe).stem)
    create_run(folder, config.model_copy(update={"search": resolved(search, images)}), images.dataset.fingerprint)
    return folder


def _images(run: ReproduceRun) -> Images:
    from nas.images import Images

    return Images.load(run.config.search)
