"""A search as TensorBoard shows it: reward, accuracy and latency over the trials' numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

from tensorboardX import SummaryWriter

from nas.standing import Standing
from nas.trial import Trial

FOLDER = "tensorboard"
"""In a run folder."""


class SearchCurves:
    """The curves of a run; a context manager.

    They say nothing that the journal does not, so they are written anew from its first trial by whoever continues a run:
    nothing is there twice. Trials end in any order and are written by number, or a best reward could fall.

    Args:
        run: its folder.
    """

    def __init__(self, run: Path) -> None:
        shutil.rmtree(run / FOLDER, ignore_errors=True)
        self._writer = SummaryWriter(str(run / FOLDER))
        self._waiting: dict[int, Trial] = {}  # for trials of lower numbers
        self._next = 0
        self._standing = Standing()

    def __enter__(self) -> SearchCurves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def finished(self, trial: Trial) -> None:
        """A trial is in the journal."""
        self._waiting[trial.number] = trial
        while (trial_due := self._waiting.pop(self._next, None)) is not None:
            self._write(trial_due)
            self._next += 1
        self._writer.flush()

    def _write(self, trial: Trial) -> None:
        self._standing = self._standing.after(trial)
        for name, value in self._standing.readings.items():
            self._writer.add_scalar(f"search/{name}", value, trial.number, trial.times.get("finished_unix"))
