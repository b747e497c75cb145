"""The search loop without processes: who is tried next, what is told to whom, what is written down.

Everything here is a function of the controller's seed and of the trials' outcomes, whatever order they arrive in: trial n
is asked after exactly the outcomes of trials 0 .. n - concurrency have been told, in the order of their numbers. So a
killed run resumes by running the same code over its journal, and ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from controllers.controller import Controller, Outcome, Suggestion
from nas.trial import Status, Trial
from search_spaces.arch import ArchSpec
from search_spaces.count import Counts
from search_spaces.space import SearchSpace

MAX_FAILURES_IN_A_ROW = 10
MAX_ASKS_PER_TRIAL = 50  # a policy that has converged repeats itself; then the search is over


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """Upper bounds that are checked before anything is trained; None is no bound."""

    params: int | None = None
    macs: int | None = None
    model_bytes: int | None = None
    peak_memory_bytes: int | None = None

    def violation(self, counts: Counts) -> str | None:
        """What `counts` breaks, in words; None when nothing."""
        for name in ("params", "macs", "model_bytes", "peak_memory_bytes"):
            bound, value = getattr(self, name), getattr(counts, name)
            if bound is not None and value > bound:
                return f"{name} {value} exceeds the constraint of {bound}"
        return None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A network to be trained and measured."""

    number: int
    arch: ArchSpec


class Journal(Protocol):
    """Where finished trials go."""

    def append(self, trial: Trial) -> None:
        """Keep `trial`; durable when this returns."""
        ...


def accuracy_and_latency(trial: Trial) -> tuple[float, ...]:
    """1 - accuracy and the latency in milliseconds of a successful trial, each to be small."""
    assert trial.latency_ms is not None, "a successful trial has a latency"
    return 1 - (trial.accuracy or 0.0), trial.latency_ms


class ReplayError(Exception):
    """The journal does not belong to this controller, space and seed."""


class Study:
    """Hands out networks, takes outcomes, tells the controller.

    Args:
        space: decodes suggestions.
        controller: fresh; earlier trials are replayed through it.
        counts: structural costs of a network.
        constraints: bounds on them.
        failure_reward: told for trials that failed or were rejected.
        num_trials: distinct networks to hand out, at least 1.
        concurrency: networks in flight at most; part of what makes a run repeatable.
        journal: gets every trial once, in the order in which they finish.
        finished: trials of an interrupted run, from its journal.
        objectives: of a successful trial, for controllers that weigh them themselves; by default as
            `accuracy_and_latency`.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        controller: Controller,
        counts: Callable[[ArchSpec], Counts],
        constraints: Constraints,
        failure_reward: float,
        num_trials: int,
        concurrency: int,
        journal: Journal,
        finished: list[Trial],
        objectives: Callable[[Trial], tuple[float, ...]] | None = None,
    ) -> None:
        self._space = space
        self._controller = controller
        self._counts = counts
        self._constraints = constraints
        self._failure_reward = failure_reward
        self._num_trials = num_trials
        self._concurrency = concurrency
        self._journal = journal
        self._objectives = objectives or accuracy_and_latency
        self._recorded: Mapping[int, Trial] = {trial.number: trial for trial in finished}
        self._suggestions: list[Suggestion] = []
        self._trials: dict[int, Trial] = {}
        self._first_of: dict[str, int] = {}  # arch key -> number of the trial that tries it
        self._in_flight: set[int] = set()
        self._repeats: dict[int, list[int]] = {}  # number -> later trials that wait for its outcome
        self._num_told = 0
        self._failures_in_a_row = 0
        self.stop_reason: str | None = None

    @property
    def trials(self) -> list[Trial]:
        """Finished trials, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def told(self) -> list[Trial]:
        """Trials whose outcome the controller knows, by number.

        After `next` has handed out network n they are trials 0 to n - concurrency, whichever finished first.
        """
        return [self._trials[number] for number in range(self._num_told)]

    @property
    def num_distinct(self) -> int:
        """Networks finished, repeats and rejected ones not counted."""
        return sum(t.repeat_of is None and t.status != "rejected" for t in self._trials.values())

    def next(self) -> Assignment | None:
        """The next network, or None: finished when `done`, otherwise ask again after an outcome has come in."""
        while not self.done:
            number = len(self._suggestions)
            due = number - self._concurrency + 1
            self._tell_until(due)
            if self._num_told < due or self.stop_reason:
                return None
            if number >= self._num_trials * MAX_ASKS_PER_TRIAL:
                rejected = sum(t.status == "rejected" for t in self._trials.values())
                self.stop_reason = (
                    f"{number} suggestions gave {len(self._first_of)} networks: the controller repeats itself"
                    + (f", or the constraints are too tight ({rejected} rejected)" if rejected else "")
                )
                return None
            assignment = self._ask(number)
            if assignment is not None:
                return assignment
        return None

    @property
    def done(self) -> bool:
        """Nothing more will be handed out."""
        return self.stop_reason is not None or self._num_handed_out >= self._num_trials

    @property
    def complete_so_far(self) -> bool:
        """Every suggestion has its outcome: nothing is in flight."""
        return len(self._trials) == len(self._suggestions)

    @property
    def _num_handed_out(self) -> int:
        return len(self._first_of)

    def _ask(self, number: int) -> Assignment | None:
        suggestion = self._controller.ask()
        self._suggestions.append(suggestion)
        arch = self._space.decode(suggestion.choices)
        recorded = self._recorded.get(number)
        if recorded and dict(recorded.choices) != dict(suggestion.choices):
            raise ReplayError(f"trial {number} of the journal is not what this seed and controller suggest")
        original = self._first_of.get(arch.key)
        if original is not None:
            if original in self._trials:
                self._finish(self._repeated(number, original))
            else:
                self._repeats.setdefault(original, []).append(number)
            return None
        counts = self._counts(arch)
        if violation := self._constraints.violation(counts):
            self._finish(self._trial(number, "rejected", reason=violation))
            return None
        self._first_of[arch.key] = number
        if recorded:
            self._finish(recorded)
            return None
        self._in_flight.add(number)
        return Assignment(number, arch)

    def complete(self, number: int, trial: Callable[[Trial], Trial]) -> Trial:
        """Take the outcome of a network that was handed out.

        Args:
            number: of the assignment.
            trial: fills in a blank trial of that number: status, accuracy, latency, reward or reason.
        """
        if number not in self._in_flight:
            raise ValueError(f"trial {number} is finished already or was never handed out")
        finished = trial(self._trial(number, "failed"))
        self._in_flight.remove(number)
        self._finish(finished)
        for repeat in self._repeats.pop(number, []):
            self._finish(self._repeated(repeat, number))
        return finished

    def _trial(self, number: int, status: Status, reason: str | None = None) -> Trial:
        choices = dict(self._suggestions[number].choices)
        arch = self._space.decode(choices)
        counts = self._counts(arch)
        return Trial(
            number=number,
            choices=choices,
            arch=arch,
            status=status,
            reward=self._failure_reward,
            macs=counts.macs,
            params=counts.params,
            reason=reason,
        )

    def _repeated(self, number: int, original: int) -> Trial:
        suggestion = self._suggestions[number]
        arch = self._space.decode(suggestion.choices)
        return replace(
            self._trials[original],
            number=number,
            choices=dict(suggestion.choices),
            arch=arch,
            repeat_of=original,
            times={},
        )

    def _finish(self, trial: Trial) -> None:
        self._trials[trial.number] = trial
        if trial.number not in self._recorded:
            self._journal.append(trial)

    def _tell_until(self, due: int) -> None:
        """Tell outcomes in the order of their numbers, up to but not including `due`, as far as they are known."""
        while self._num_told < due and (trial := self._trials.get(self._num_told)):
            failed = trial.status != "ok"
            objectives = () if failed else self._objectives(trial)
            suggestion = self._suggestions[trial.number]
            active = self._space.active(suggestion.choices)
            self._controller.tell(suggestion, Outcome(trial.reward, objectives, failed, active))
            self._num_told += 1
            self._failures_in_a_row = self._failures_in_a_row + 1 if trial.status == "failed" else 0
            if self._failures_in_a_row == MAX_FAILURES_IN_A_ROW:
                self.stop_reason = f"{MAX_FAILURES_IN_A_ROW} trials in a row failed, the last one with: {trial.reason}"

    def settle(self) -> None:
        """After the last outcome: tell the controller what it has not been told yet."""
        self._tell_until(len(self._suggestions))
