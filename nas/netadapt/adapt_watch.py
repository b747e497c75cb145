"""`nas watch` of an adaptation: followed from its folder alone, on whatever machine it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from nas.netadapt.adapt_config import read_adapt_config
from nas.netadapt.adapt_progress import AdaptProgress
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_report import print_adapt_summary
from nas.netadapt.step_record import StepRecord
from nas.netadapt.words import cost_text
from nas.run_watch import Pause

Steps = Callable[[AdaptRecord], Sequence[StepRecord]]
"""Of one trajectory."""


def adapted_steps(record: AdaptRecord) -> Sequence[StepRecord]:
    """Those by the rule."""
    return record.steps


def random_steps(record: AdaptRecord) -> Sequence[StepRecord]:
    """Those of the baseline."""
    return record.random


def show_adaptation(folder: Path, console: Console) -> None:
    """Print where an adaptation stands.

    Raises:
        UserError: as `AdaptRecord.read`.
    """
    if not _has_begun(folder):
        console.print(f"{folder}: no step yet; the network is being trained or measured", soft_wrap=True)
        return
    record = AdaptRecord.read(folder)
    silent = Console(quiet=True)  # what it would say of steps before it, the panel says
    console.print(_progress(record, silent, "adapted", record.steps))
    if record.random:
        console.print(_progress(record, silent, "random", record.random))
    if record.is_finished:
        console.print(f"the run has ended; more: nas report {folder}", highlight=False, soft_wrap=True)


def watch_adaptation(folder: Path, console: Console, pause: Pause) -> None:
    """Show an adaptation as it goes on, until it has ended; waits for one that has not begun.

    Raises:
        UserError: as `AdaptRecord.read`.
        KeyboardInterrupt: Ctrl-C.
    """
    if not _has_begun(folder):
        console.print("waiting for the network to be trained or measured ...")
    while not _has_begun(folder):
        pause()
    _follow(folder, console, pause, "adapted", adapted_steps, _is_down)
    if AdaptRecord.read(folder).config.baselines:
        _follow(folder, console, pause, "random", random_steps, lambda record: record.is_finished)
    while not AdaptRecord.read(folder).is_finished:
        pause()
    print_adapt_summary(folder, console)


def _has_begun(folder: Path) -> bool:
    """Whether its seed is known; raises UserError where `folder` is no adaptation."""
    read_adapt_config(folder)
    return (folder / "seed.json").is_file()


def _is_down(record: AdaptRecord) -> bool:
    """What follows the adapted trajectory has begun, or is about to."""
    return record.reached or record.uniform is not None or bool(record.random) or record.is_finished


def _follow(
    folder: Path, console: Console, pause: Pause, name: str, steps: Steps, is_over: Callable[[AdaptRecord], bool]
) -> None:
    """Show one trajectory until it is over."""
    record = AdaptRecord.read(folder)
    seen = len(steps(record))
    with _progress(record, console, name, steps(record)) as progress:
        while not is_over(record):
            pause()
            record = AdaptRecord.read(folder)
            for step in steps(record)[seen:]:
                progress.accepted(step)
            seen = len(steps(record))


def _progress(record: AdaptRecord, console: Console, name: str, steps: Sequence[StepRecord]) -> AdaptProgress:
    """What is to be shown of a trajectory."""
    seed, text = record.seed, partial(cost_text, unit=record.unit)
    elapsed_s = sum(step.seconds for step in steps)
    progress = AdaptProgress(console, text, seed.target, seed.cost, name, elapsed_s)
    progress.resumed(steps)
    return progress
