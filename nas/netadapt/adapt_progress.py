"""What a person sees while an adaptation runs: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import TextColumn
from rich.table import Table
from rich.text import Text

from nas.live_panel import LivePanel
from nas.netadapt.step_record import StepRecord
from nas.netadapt.words import narrowing_words, step_words
from nas.report_tables import duration


class Scoring(Protocol):
    """A round of scoring, as much of it as is shown; `nas.netadapt.tournament.Round` is one."""

    @property
    def number(self) -> int:
        """From 1."""
        ...

    @property
    def num_steps(self) -> int:
        """Of fine-tuning; 0 is none."""
        ...


class AdaptProgress(LivePanel):
    """Progress of an adaptation; a context manager.

    Args:
        console: where to show it.
        text: a cost as people read it.
        target: cost to come down to.
        seed_cost: of the network that the adaptation began with.
        name: of the trajectory.
        elapsed_s: seconds that it has taken so far.
    """

    def __init__(
        self,
        console: Console,
        text: Callable[[float], str],
        target: float,
        seed_cost: float,
        name: str = "adapted",
        elapsed_s: float = 0.0,
    ) -> None:
        amount = TextColumn("{task.percentage:.0f} % of the way")
        super().__init__(console, name, max(seed_cost - target, 0.0), amount, elapsed_s)
        self._text = text
        self._target = target
        self._seed_cost = seed_cost
        self._name = name
        self._steps: list[StepRecord] = []
        self._narrowed = "no step accepted yet"
        self._scoring = ""

    def resumed(self, steps: Sequence[StepRecord]) -> None:
        """Steps that an earlier process accepted."""
        self._steps = list(steps)
        if steps:
            self._narrowed = _narrowed(steps[-1])
        self._came_down()
        if steps and not self._live:
            self._print(f"{self._name}: goes on after step {steps[-1].step}; {self._standing()}")

    def scored(self, done: int, total: int, what: Scoring) -> None:
        """Of the networks of a round, the parent among them, `done` are scored."""
        training = f"{what.num_steps} steps of training" if what.num_steps else "without training"
        self._scoring = f"step {self._next}, round {what.number} ({training}): {done} of {total} networks"

    def accepted(self, step: StepRecord) -> None:
        """A step is over."""
        self._steps.append(step)
        self._narrowed, self._scoring = _narrowed(step), ""
        self._came_down()
        if not self._live:
            left = f"; {self._left()}" if self._left() else ""
            self._print(f"{self._name} {step.step}: {self._narrowed}: {self._standing()}{left}")

    @property
    def _next(self) -> int:
        return self._steps[-1].step + 1 if self._steps else 1

    @property
    def _cost(self) -> float:
        return self._steps[-1].cost if self._steps else self._seed_cost

    def _came_down(self) -> None:
        done = min(self._seed_cost - self._cost, self._seed_cost - self._target)
        self._advance(max(done, 0.0), self._left())

    def _left(self) -> str:
        """By what a step took and saved on average; nothing before the first, at the end, or where nothing was saved."""
        saved, lacking = self._seed_cost - self._cost, self._cost - self._target
        if not self._steps or saved <= 0 or lacking <= 0:
            return ""
        return f"about {duration(sum(step.seconds for step in self._steps) / saved * lacking)} left"

    def _standing(self) -> str:
        standing = f"{self._text(self._cost)} (target {self._text(self._target)})"
        return f"{standing}, held-out accuracy {self._steps[-1].accuracy:.1%}" if self._steps else standing

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _add_rows(self, table: Table) -> None:
        table.add_row(Text(f"at       {self._standing()}"))
        table.add_row(Text(f"last     {self._narrowed}"))
        if self._scoring:
            table.add_row(Text(f"scoring  {self._scoring}"))


def _narrowed(step: StepRecord) -> str:
    return narrowing_words(step.choice, step_words(step))
