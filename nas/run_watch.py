"""`nas watch`: a search followed from its folder alone, on whatever machine it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from nas.jsonl import JsonLinesTail
from nas.progress import SearchProgress
from nas.report import print_summary
from nas.report_record import RunRecord
from nas.run import read_config
from nas.trial import FORMAT, VERSION, Trial

Pause = Callable[[], None]
"""Called between two looks at a run."""


class FollowedSearch:
    """A search as far as its journal has been read.

    Args:
        folder: of a run that has begun.

    Raises:
        UserError: not a run folder, one without a calibrated device, or a file of another version.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = JsonLinesTail(folder / "trials.jsonl", FORMAT, VERSION)
        self.record = replace(RunRecord.read(folder), trials=[])  # its own list is by number, not as they came
        self.new_trials()

    def new_trials(self) -> list[Trial]:
        """What has come since the last call, in the order in which it came.

        Raises:
            UserError: as `JsonLinesTail.new_records`.
        """
        new = [Trial.from_dict(record) for record in self._journal.new_records()]
        self.record = replace(self.record, trials=[*self.record.trials, *new])
        return new

    @property
    def has_all_trials(self) -> bool:
        """No more will come, but perhaps the final comparison."""
        return self.record.num_distinct >= self.record.config.trials

    @property
    def is_finished(self) -> bool:
        """Nothing more will come."""
        return self.record.is_finished or (self.record.folder / "final.json").is_file()

    def progress(self, console: Console) -> SearchProgress:
        """What is to be shown of it."""
        config, trials = self.record.config, self.record.trials
        progress = SearchProgress(console, config.trials, self.record.objective.target_ms, self._elapsed_s)
        progress.resume(trials)
        return progress

    @property
    def _elapsed_s(self) -> float:
        """Seconds since the first trial began, or from there to the last one where all are done."""
        wall_s = self.record.wall_s
        if wall_s is None:
            return 0.0
        last_unix = max(trial.times.get("finished_unix", 0.0) for trial in self.record.trials)
        return wall_s if self.has_all_trials else wall_s + max(0.0, time.time() - last_unix)


def has_begun(folder: Path) -> bool:
    """Whether the search in `folder` is past the calibration of its devices.

    Raises:
        UserError: not a run folder.
    """
    read_config(folder)
    return (folder / "environment.json").is_file()


def show_search(folder: Path, console: Console) -> None:
    """Print where a search stands.

    Raises:
        UserError: as `FollowedSearch`.
    """
    if not has_begun(folder):
        console.print(f"{folder}: no trial yet; the device is being calibrated", highlight=False, soft_wrap=True)
        return
    followed = FollowedSearch(folder)
    console.print(followed.progress(console))
    if followed.is_finished:
        console.print(f"the run has ended; more: nas report {folder}", highlight=False, soft_wrap=True)


def watch_search(folder: Path, console: Console, pause: Pause) -> None:
    """Show a search as it goes on, until it has ended; waits for one that has not begun.

    Raises:
        UserError: as `FollowedSearch`.
        KeyboardInterrupt: Ctrl-C.
    """
    if not has_begun(folder):
        console.print("waiting for the device to be calibrated ...")
    while not has_begun(folder):
        pause()
    followed = FollowedSearch(folder)
    with followed.progress(console) as progress:
        if not console.is_terminal:
            console.print(progress.standing, markup=False, highlight=False, soft_wrap=True)
        _follow(followed, progress, console, pause)
    print_summary(folder, console)


def _follow(followed: FollowedSearch, progress: SearchProgress, console: Console, pause: Pause) -> None:
    told = False
    while not followed.is_finished:
        if followed.has_all_trials and not told:
            console.print("all trials are done; the final comparison is under way", highlight=False)
            told = True
        pause()
        for trial in followed.new_trials():
            progress.finished(trial)
