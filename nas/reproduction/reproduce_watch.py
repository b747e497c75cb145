"""`nas watch` of a reproduction: its searches and adaptations one after the other, its edits and trainings as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from nas.netadapt.adapt_watch import show_adaptation, watch_adaptation
from nas.reproduction.reproduce_record import ReproduceRecord
from nas.reproduction.reproduce_report import print_reproduce_summary
from nas.reproduction.reproduce_run import ADAPT, FINAL, LANDING, RANDOM, SEARCH, SHORTLISTS
from nas.run_watch import Pause, show_search, watch_search

_ADAPTATIONS = (ADAPT, LANDING)
_STAGES = (SEARCH, ADAPT, LANDING, RANDOM)
"""Runs in a reproduction, in the order in which they are made."""


def show_reproduction(folder: Path, console: Console) -> None:
    """Print where a reproduction stands.

    Raises:
        UserError: as `ReproduceRecord.read`, or as the stage under way does.
    """
    if ReproduceRecord.read(folder).is_finished:
        print_reproduce_summary(folder, console)
        return
    begun = [stage for stage in _STAGES if _has_begun(folder, stage)]
    if begun:
        console.print(f"{folder}, last stage that began: {begun[-1]}", highlight=False, soft_wrap=True)
        (show_adaptation if begun[-1] in _ADAPTATIONS else show_search)(folder / begun[-1], console)
    for line in _news(folder):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def watch_reproduction(folder: Path, console: Console, pause: Pause) -> None:
    """Show a reproduction as it goes on, until it has ended.

    Raises:
        UserError: as `show_reproduction`.
        KeyboardInterrupt: Ctrl-C.
    """
    watched: set[str] = set()
    while not ReproduceRecord.read(folder).is_finished:
        for stage in _STAGES:
            if stage not in watched and _has_begun(folder, stage):
                console.print(f"stage     {stage}", highlight=False)
                (watch_adaptation if stage in _ADAPTATIONS else watch_search)(folder / stage, console, pause)
                watched.add(stage)
        for line in _news(folder):
            if line not in watched:
                console.print(line, highlight=False, markup=False, soft_wrap=True)
                watched.add(line)
        pause()
    print_reproduce_summary(folder, console)


def _has_begun(folder: Path, stage: str) -> bool:
    return (folder / stage / "config.yaml").is_file()


def _news(folder: Path) -> Iterator[str]:
    """A line for each edit that was tried and each training that is done."""
    for name in SHORTLISTS.values():
        for path in sorted((folder / name).glob("*.json")):
            yield f"trained   {path.stem}, {name.replace('_', ' ')}"
    for trial in ReproduceRecord.read(folder).edits:
        yield f"redesign  {trial.edit}: {'kept' if trial.kept else 'left out'}, {trial.reason}"
    for path in sorted((folder / FINAL).glob("seed-*/*.json")):
        yield f"trained   {path.stem}, {path.parent.name.replace('-', ' ')}"
