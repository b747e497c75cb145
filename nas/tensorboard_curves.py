"""A search as TensorBoard shows it: reward, accuracy and latency over the trials' numbers."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import TracebackType

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

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
        (run / FOLDER).mkdir()
        # Not a SummaryWriter: that hands events to a thread, and its flush() does not wait for it
        self._writer = EventsWriter(str(run / FOLDER / "events"))
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
        values = [Summary.Value(tag=f"search/{name}", simple_value=x) for name, x in self._standing.readings.items()]
        wall_time = trial.times.get("finished_unix", time.time())
        self._writer.write_event(Event(wall_time=wall_time, step=trial.number, summary=Summary(value=values)))
