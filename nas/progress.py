"""What a person sees while a search runs: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from nas.live_panel import LivePanel
from nas.trial import Trial, best_trial, pareto_front

NUM_LATEST = 5
"""Finished trials that the panel shows one by one."""
NUM_OF_FRONT = 8
"""Networks of the front that the panel shows at most."""
WINDOW = 10
"""Trials that rewards are averaged over, to see whether the controller gets anywhere."""


class SearchProgress(LivePanel):
    """Progress of a study; a context manager.

    Args:
        console: where to show it.
        num_trials: distinct networks to come.
        target_ms: latency target.
        elapsed_s: seconds that the study has taken so far.
    """

    def __init__(self, console: Console, num_trials: int, target_ms: float, elapsed_s: float = 0.0) -> None:
        super().__init__(console, "trials", num_trials, MofNCompleteColumn(), elapsed_s)
        self._num_trials = num_trials
        self._target_ms = target_ms
        self._trials: list[Trial] = []
        self._front: list[Trial] = []
        self._running: dict[int, float | None] = {}
        self._started = time.monotonic()
        self._num_resumed = 0

    def resume(self, trials: list[Trial]) -> None:
        """Trials that an earlier process finished."""
        self._trials = list(trials)
        self._front = pareto_front(self._trials)
        self._num_resumed = self._num_distinct
        self._advance(self._num_distinct, left="")

    def estimate(self, number: int, accuracy: float) -> None:
        """A running trial has reached `accuracy`."""
        self._running[number] = accuracy

    def finished(self, trial: Trial) -> None:
        """A trial is over."""
        self._running.pop(trial.number, None)
        self._trials.append(trial)
        self._front = pareto_front([*self._front, trial])
        self._advance(self._num_distinct, self._time_left())
        if trial.status == "failed":
            self._console.print(
                f"trial {trial.number} failed: {trial.reason}", markup=False, style="yellow", soft_wrap=True
            )
        if not self._live:
            self._console.print(self._line(trial), markup=False, highlight=False, soft_wrap=True)

    @property
    def _num_distinct(self) -> int:
        return sum(t.repeat_of is None and t.status != "rejected" for t in self._trials)

    def _time_left(self) -> str:
        done = self._num_distinct - self._num_resumed
        if done < 1:
            return ""
        seconds = (time.monotonic() - self._started) / done * (self._num_trials - self._num_distinct)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"

    @property
    def standing(self) -> str:
        """Where the study stands, in a line."""
        best = best_trial(self._trials)
        so_far = f"best {describe(best)}" if best else "none has succeeded"
        return f"[{self._num_distinct}/{self._num_trials}] {so_far}; target {self._target_ms:.2f} ms"

    def _line(self, trial: Trial) -> str:
        best = best_trial(self._trials)
        count = f"[{self._num_distinct}/{self._num_trials}]"
        parts = [f"{count} trial {trial.number}: {describe(trial)}", f"best {describe(best)}" if best else ""]
        return "; ".join(part for part in (*parts, self._time_left()) if part)

    def _add_rows(self, table: Table) -> None:
        best = best_trial(self._trials)
        table.add_row(f"best     {describe(best) if best else 'none yet'} (target {self._target_ms:.2f} ms)")
        if self._front:
            table.add_row(f"front    {front_text(self._front)}")
        if rewards := rewards_text(self._trials):
            table.add_row(f"rewards  {rewards}")
        running = ", ".join(f"#{n} at {a:.1%}" if a is not None else f"#{n}" for n, a in sorted(self._running.items()))
        if running:
            table.add_row(f"running  {running}")
        for trial in reversed(self._trials[-NUM_LATEST:]):
            table.add_row(Text(f"trial {trial.number:<3}{describe(trial)}", style="dim"))


def front_text(front: list[Trial]) -> str:
    """A front in a line, fastest first; of a long one some networks, both ends among them."""
    steps = min(len(front), NUM_OF_FRONT) - 1
    shown = [front[round(i * (len(front) - 1) / steps)] for i in range(steps + 1)] if steps else front
    points = ", ".join(f"{trial.accuracy or 0.0:.1%} in {trial.latency_ms or 0.0:.2f} ms" for trial in shown)
    return points if len(shown) == len(front) else f"{len(front)} networks, among them {points}"


def rewards_text(trials: list[Trial]) -> str:
    """What the controller's latest suggestions earned, and those before; nothing before there are so many."""
    rewards = [trial.reward for trial in sorted(trials, key=lambda t: t.number)]
    if len(rewards) < 2 * WINDOW:
        return ""
    latest, before = (sum(part) / WINDOW for part in (rewards[-WINDOW:], rewards[-2 * WINDOW : -WINDOW]))
    return f"{latest:.4f} on average over the last {WINDOW} trials, {before:.4f} over the {WINDOW} before"


def describe(trial: Trial) -> str:
    """A trial's figures in a few words."""
    if trial.status != "ok" or trial.latency_ms is None or trial.accuracy is None:
        return f"{trial.status} ({trial.reason})"
    return f"reward {trial.reward:.4f}, accuracy {trial.accuracy:.1%}, {trial.latency_ms:.2f} ms"
