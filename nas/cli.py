"""The command line. Each command is a thin shell: read arguments, call one function, print."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import nas
from nas.adapt_cli import adapt_app
from nas.claims.cli import claims_command
from nas.compare_cli import compare_command
from nas.controller_bench.cli import bench_app
from nas.devices.cli import device_app
from nas.errors import UserError
from nas.latency_cli import Json, latency_app, print_json
from nas.latency_table_cli import estimate_command, table_app
from nas.proxy_check_cli import proxy_check_command
from nas.replay_cli import replay_command
from nas.reproduce_cli import reproduce_command
from nas.train_cli import export_command, train_command
from nas.watch_cli import watch_command
from nas.zoo_cli import zoo_app

app = typer.Typer(
    name="nas",
    help="Platform-aware neural architecture search: accuracy against latency measured on your device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets.")
latency_app.add_typer(table_app, name="table")
latency_app.command("estimate")(estimate_command)

FIND, NETWORKS, LATENCY, RUNS, TRUST = (
    "Find a network",
    "Networks and data",
    "Latency",
    "Runs",
    "How far it can be trusted",
)
"""Panels of ``nas --help``, in their order."""

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nas {nas.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Platform-aware neural architecture search."""


@app.command("search", rich_help_panel=FIND)
def search_command(
    config: Annotated[
        str, typer.Option("--config", "-c", help="Recipe: a file, or the name of a shipped one.", metavar="RECIPE")
    ] = "mnas_large.yaml",
    data: Annotated[
        str | None,
        typer.Option(help="digits, FILE.npz, or FOLDER with train/CLASS/* and val/CLASS/* images.", metavar="SPEC"),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(help="CSV of trained networks, for recipes whose evaluator is a table.", metavar="FILE"),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a key of the recipe, e.g. objective.target=3.5ms. Repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make; default runs/RECIPE-N.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue an interrupted run.", metavar="RUN")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Join this Ray cluster (or 'auto') instead of starting Ray here.")
    ] = None,
) -> None:
    """Search for a network: trials train it and measure it on the device; ends with a Pareto front and a trained winner.

    [bold]nas search --config mnas_large.yaml[/bold]  runs as it is, in a few minutes, on the digits data set.

    [bold]nas search --data photos/ --set objective.target=3.5ms --set evaluator.training.flip=true[/bold]
    """
    from nas.images import load_images
    from nas.ray_cluster import check_address
    from nas.recipe_check import check, resolved
    from nas.report import print_summary, write_report
    from nas.run import Run, read_config
    from nas.search import SearchInterruptedError, search

    console = Console()
    if ray_address is not None:
        check_address(ray_address)
    if resume is not None:
        if any(given is not None for given in (out, data, table)) or assignments:
            raise UserError("--resume continues a run as it began; leave out --out, --data, --table and --set")
        images = load_images(read_config(resume))
        run = Run(resume)
    else:
        from nas.config import find_recipe, load_config

        overrides = list(assignments or []) + ([f"data.source={json.dumps(data)}"] if data else [])
        overrides += [f"evaluator.table={json.dumps(table)}"] if table else []
        recipe = load_config(config, overrides)
        check(recipe)
        images = load_images(recipe)
        run = Run.create(resolved(recipe, images), find_recipe(config).stem, out)
    with run:
        try:
            search(run, images, console, ray_address)
        except (KeyboardInterrupt, SearchInterruptedError):
            console.print(
                f"interrupted; continue with: nas search --resume {run.folder}", highlight=False, soft_wrap=True
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
        write_report(run.folder)
        print_summary(run.folder, console)


@app.command("report", rich_help_panel=RUNS)
def report_command(run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]) -> None:
    """Write the report of a search, an adaptation or a reproduction, finished or not, and print its summary."""
    from nas.netadapt.adapt_record import is_adaptation
    from nas.netadapt.adapt_report import print_adapt_summary, write_adapt_report
    from nas.report import print_summary, write_report
    from nas.reproduction.reproduce_config import is_reproduction
    from nas.reproduction.reproduce_report import print_reproduce_summary, write_reproduce_report

    if is_reproduction(run):
        write_reproduce_report(run)
        print_reproduce_summary(run, Console())
        return
    if is_adaptation(run):
        write_adapt_report(run)
        print_adapt_summary(run, Console())
        return
    write_report(run)
    print_summary(run, Console())


@data_app.command("info")
def data_info(
    spec: Annotated[str, typer.Argument(help="digits, FILE.npz, or FOLDER.", metavar="SPEC")], as_json: Json = False
) -> None:
    """What a data set holds, and whether it can be used."""
    from nas.data import describe, load_dataset

    description = describe(load_dataset(spec))
    if as_json:
        print_json(description)
        return
    table = Table(show_header=False)
    for key, value in description.items():
        table.add_row(key, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
    Console().print(table)


# What follows `nas search` in ``nas --help``. Groups of commands come after the single ones, whatever the order here.
app.add_typer(adapt_app, name="adapt", rich_help_panel=FIND)
app.command("reproduce", rich_help_panel=FIND)(reproduce_command)
app.add_typer(zoo_app, name="zoo", rich_help_panel=NETWORKS)
app.command("train", rich_help_panel=NETWORKS)(train_command)
app.command("export", rich_help_panel=NETWORKS)(export_command)
app.add_typer(data_app, name="data", rich_help_panel=NETWORKS)
app.add_typer(latency_app, name="latency", rich_help_panel=LATENCY)
app.add_typer(device_app, name="device", rich_help_panel=LATENCY)
app.command("watch", rich_help_panel=RUNS)(watch_command)
app.command("replay", rich_help_panel=RUNS)(replay_command)
app.command("compare", rich_help_panel=RUNS)(compare_command)
app.command("proxy-check", rich_help_panel=TRUST)(proxy_check_command)
app.add_typer(bench_app, name="bench", rich_help_panel=TRUST)
app.command("claims", rich_help_panel=TRUST)(claims_command)


def main() -> None:
    """Entry point: user errors are one line on standard error and exit code 2."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # trials.jsonl is the record
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints boxes at any verbosity
    try:
        app(prog_name="nas")
    except UserError as error:
        print(f"nas: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


if __name__ == "__main__":
    main()
