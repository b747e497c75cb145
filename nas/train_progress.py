"""What a person sees while a network trains: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from nas.training import Epoch

LONGEST_TITLE = 24  # leaves room for the figures on a terminal of 80 columns


class TrainProgress:
    """Progress of one training; a context manager.

    Args:
        console: where to show it.
        title: what trains.
        num_epochs: in all.
        steps_per_epoch: of the optimizer.
        num_done: epochs that an earlier process did.
    """

    def __init__(self, console: Console, title: str, num_epochs: int, steps_per_epoch: int, num_done: int) -> None:
        self._console = console
        self._title = title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 3]}..."
        self._num_epochs = num_epochs
        self._num_steps = num_epochs * steps_per_epoch
        self._done_before = self._done = num_done * steps_per_epoch
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(
            self._title, total=self._num_steps, completed=self._done, figures=f"epoch {num_done}/{num_epochs}", left=""
        )

    def __enter__(self) -> TrainProgress:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, traceback)

    def stepped(self) -> None:
        """One more step is done."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, left=self._time_left())

    def finished(self, epoch: Epoch, accuracy: float | None) -> None:
        """An epoch is over; `accuracy` on held-out images, in [0, 1], if there are any."""
        held_out = "" if accuracy is None else f"  held-out {accuracy:.1%}"
        figures = f"epoch {epoch.number}/{self._num_epochs}  loss {epoch.loss:.4f}{held_out}"
        self._bar.update(self._task, figures=figures)
        if not self._console.is_terminal:
            line = f"{self._title}  {figures}  {epoch.seconds:.1f} s  {self._time_left()}"
            self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)

    def _time_left(self) -> str:
        steps = self._num_steps - self._done
        if not steps or self._done == self._done_before:
            return ""
        seconds = (time.monotonic() - self._started) / (self._done - self._done_before) * steps
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
