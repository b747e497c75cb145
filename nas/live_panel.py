"""What stays at the foot of a terminal while something runs: a bar, and lines below it that are written anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


class LivePanel(ABC):
    """A context manager; shows nothing where the console is no terminal.

    Args:
        console: where to show it.
        title: of the bar.
        total: at which the bar is full.
        amount: says how full it is.
        elapsed_s: seconds that went by before, in earlier processes.
    """

    def __init__(
        self, console: Console, title: str, total: float, amount: ProgressColumn, elapsed_s: float = 0.0
    ) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            amount,
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._task = self._bar.add_task(title, total=total, left="")
        self._bar.tasks[0].start_time = self._bar.get_time() - elapsed_s
        self._live = Live(self, console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, traceback)

    def _advance(self, completed: float, left: str) -> None:
        """Fill the bar so far; `left` is the time that is left, in words."""
        self._bar.update(self._task, completed=completed, left=left)

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_row(self._bar)
        self._add_rows(table)
        return table

    @abstractmethod
    def _add_rows(self, table: Table) -> None:
        """The lines below the bar, as they are now."""
