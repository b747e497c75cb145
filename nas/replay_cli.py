"""`nas replay`: a run executed again from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nas.latency_cli import Json, print_json

if TYPE_CHECKING:
    from nas.remeasure import Figures, Remeasured

EXIT_DIFFERENT = 1
"""The run came out differently."""


def replay_command(
    run: Annotated[
        Path, typer.Argument(help="Run folder of a search, an adaptation or a reproduction.", metavar="RUN")
    ],
    remeasure: Annotated[
        bool, typer.Option("--remeasure", help="Measure and train the network that it came to again, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Execute a run again from its recorded accuracies and latencies: it must arrive at the same networks, exactly.

    Exit code 1 if anything comes out differently. With [bold]--remeasure[/bold] says how far latency and accuracy of the
    network move when it is measured anew and trained with another seed.
    """
    from nas.netadapt.adapt_record import is_adaptation
    from nas.replay import ReplayDifferenceError
    from nas.reproduction.reproduce_config import is_reproduction

    console = Console(stderr=as_json)
    replayed = _reproduction if is_reproduction(run) else _adaptation if is_adaptation(run) else _search
    try:
        found = replayed(run)
    except ReplayDifferenceError as error:
        console.print(f"different  {run}: {error}", highlight=False, soft_wrap=True, style="red")
        raise typer.Exit(EXIT_DIFFERENT) from None
    if not as_json:
        console.print(f"identical  {found['text']}\nnetwork    {found['arch']}", highlight=False, soft_wrap=True)
    again = _remeasured(run, console) if remeasure else None
    if as_json:
        print_json({name: value for name, value in found.items() if name != "text"} | _as_json(again))
    elif again is not None:
        _print(again, console)


def _search(folder: Path) -> dict[str, Any]:
    from nas.search_replay import replay_search

    replay = replay_search(folder)
    best = replay.best
    end = "" if replay.complete else "; the run is not finished"
    return {
        "identical": True,
        "num_suggestions": replay.num_asked,
        "complete": replay.complete,
        "trial": best and best.number,
        "arch": best and str(best.arch),
        "text": f"{replay.num_asked} suggestions, best trial {best.number if best else 'none'}{end}",
    }


def _adaptation(folder: Path) -> dict[str, Any]:
    from nas.netadapt.adapt_replay import replay_adaptation
    from nas.netadapt.words import steps_text

    replay = replay_adaptation(folder)
    chance = f" and {replay.num_random} random ones" if replay.num_random else ""
    return {
        "identical": True,
        "num_steps": replay.num_steps,
        "num_random_steps": replay.num_random,
        "num_proposals": replay.num_proposals,
        "arch": str(replay.arch),
        "text": f"{steps_text(replay.num_steps)}{chance}, {replay.num_proposals} proposals",
    }


def _reproduction(folder: Path) -> dict[str, Any]:
    from nas.netadapt.words import steps_text
    from nas.reproduction.reproduce_replay import replay_reproduction

    replay = replay_reproduction(folder)
    return {
        "identical": True,
        "num_suggestions": replay.num_suggestions,
        "num_steps": replay.num_steps,
        "num_edits": replay.num_edits,
        "arch": str(replay.arch),
        "text": f"{replay.num_suggestions} suggestions, {steps_text(replay.num_steps)}, {replay.num_edits} edits",
    }


def _remeasured(run: Path, console: Console) -> Remeasured:
    from nas.netadapt.adapt_record import is_adaptation
    from nas.remeasure import remeasured_adaptation, remeasured_reproduction, remeasured_search
    from nas.reproduction.reproduce_config import is_reproduction

    if is_reproduction(run):
        return remeasured_reproduction(run, console)
    return (remeasured_adaptation if is_adaptation(run) else remeasured_search)(run, console)


def _as_json(again: Remeasured | None) -> dict[str, Any]:
    def figures(found: Figures) -> dict[str, Any]:
        latency = found.latency and found.latency.to_dict()
        return {"seed": found.seed, "latency": latency, "num_correct": found.num_correct, "num_test": found.num_test}

    if again is None:
        return {}
    changes = {"latency_change": again.latency_change, "accuracy_change": again.accuracy_change}
    return {"recorded": figures(again.recorded), "again": figures(again.again), **changes}


def _print(again: Remeasured, console: Console) -> None:
    rows = Table(box=None, pad_edge=False)
    for column in ("", "latency", "95 % interval", "test accuracy", "95 % interval", "seed"):
        rows.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for name, figures in (("recorded", again.recorded), ("again", again.again)):
        latency, interval = figures.latency, figures.interval
        rows.add_row(
            name,
            f"{latency.latency_ms:.3f} ms" if latency else "-",
            f"{latency.interval_ms[0]:.3f} to {latency.interval_ms[1]:.3f}" if latency else "-",
            "-" if figures.accuracy is None else f"{figures.accuracy:.1%}",
            f"{interval[0]:.1%} to {interval[1]:.1%}" if interval else "-",
            str(figures.seed),
        )
    moved, accuracy = again.latency_change, again.accuracy_change
    rows.add_row(
        "moved", "-" if moved is None else f"{moved:+.1%}", "", "-" if accuracy is None else f"{accuracy:+.1%}", "", ""
    )
    console.print(rows)
