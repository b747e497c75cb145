"""Any sampler of Optuna behind the two verbs."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from controllers.controller import Outcome, Suggestion
from controllers.ledger import Ledger, Told
from search_spaces.choice import Choice

DEFAULT_SAMPLER = "TPESampler"
_MULTI_OBJECTIVE = ("NSGAIISampler", "NSGAIIISampler")
_NOT_OFFERED = ("BaseSampler", "BaseGASampler", "GridSampler", "PartialFixedSampler", "BruteForceSampler")
_REHEARSAL_TRIALS = 12  # TPESampler and GPSampler start with 10 random ones
SAMPLERS = tuple(n for n in optuna.samplers.__all__ if n.endswith("Sampler") and n not in _NOT_OFFERED)
"""Names that `OptunaController` takes: those of `optuna.samplers` which need no grid and no other sampler."""


class OptunaController:
    """A study of Optuna in memory; its state comes back by replaying asks and tells, like that of any controller.

    Outcomes are passed on in the order of the asks, so which trial ends first makes no difference. A failed trial is
    told as pruned without a value, which TPE counts among the worst; other samplers ignore it.

    Args:
        choices: the decisions of the space.
        seed: of the sampler; it uses the lower 32 bits.
        sampler: one of `SAMPLERS`.
        num_objectives: how many of an outcome's objectives the sampler is told, each to be small; 0 is the reward alone.
            By default 2 for NSGA-II and NSGA-III, else 0. Where an outcome has fewer, its negative reward if it has
            none, the rest counts as infinitely bad.
        ordered: decisions are whole numbers from 0, where neighbours are alike, for samplers that know no categories
            (CmaEsSampler).
        options: of the sampler's constructor.

    Raises:
        ValueError: there are no choices, or two share a name; an unknown sampler or option; a package is missing.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        seed: int,
        sampler: str,
        num_objectives: int | None,
        ordered: bool,
        options: Mapping[str, object],
    ) -> None:
        self._ledger = Ledger(choices)
        if num_objectives is None:
            num_objectives = 2 if sampler in _MULTI_OBJECTIVE else 0
        if isinstance(num_objectives, bool) or not isinstance(num_objectives, int) or num_objectives < 0:
            raise ValueError(f"num_objectives={num_objectives!r} must be a whole number, not negative")
        if not isinstance(ordered, bool):
            raise ValueError(f"ordered={ordered!r} must be true or false")
        self._num_objectives = num_objectives
        self._distributions: dict[str, BaseDistribution] = {
            c.name: IntDistribution(0, len(c.options) - 1)
            if ordered
            else CategoricalDistribution(range(len(c.options)))
            for c in choices
        }
        directions = [StudyDirection.MINIMIZE] * num_objectives or [StudyDirection.MAXIMIZE]
        with _quiet():
            self._study = optuna.create_study(sampler=_built(sampler, seed, options), directions=directions)
        self._trials: dict[int, optuna.Trial] = {}  # by suggestion id; those told are dropped

    def ask(self) -> Suggestion:
        """What the sampler wants tried next; repeats are possible."""
        with _quiet():
            trial = self._study.ask(self._distributions)
        suggestion = self._ledger.ask([trial.params[choice.name] for choice in self._ledger.choices])
        self._trials[suggestion.id] = trial
        return suggestion

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Enter an outcome; the sampler hears of it once all earlier suggestions are told.

        Raises:
            ValueError: the suggestion was never asked or was told already, the reward is not finite, or there are more
                objectives than `num_objectives`.
        """
        if self._num_objectives and len(outcome.objectives) > self._num_objectives:
            raise ValueError(
                f"{len(outcome.objectives)} objectives were told; set the option num_objectives, now {self._num_objectives}"
            )
        for told in self._ledger.tell(suggestion, outcome):
            trial = self._trials.pop(told.id)
            with _quiet():
                if told.outcome.failed:
                    self._study.tell(trial, state=TrialState.PRUNED)
                else:
                    self._study.tell(trial, self._values(told))

    def _values(self, told: Told) -> list[float]:
        if not self._num_objectives:
            return [told.outcome.reward]
        values = told.outcome.objectives or (-told.outcome.reward,)
        return [*values, *[float("inf")] * (self._num_objectives - len(values))]


def _built(name: str, seed: int, options: Mapping[str, object]) -> optuna.samplers.BaseSampler:
    if name not in SAMPLERS:
        raise ValueError(f"unknown Optuna sampler {name!r}; allowed: {list(SAMPLERS)}")
    constructor: Any = getattr(optuna.samplers, name)
    allowed = [parameter for parameter in inspect.signature(constructor).parameters if parameter != "seed"]
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"Optuna's {name} has no options {unknown}; allowed: {allowed}")
    try:
        _rehearse(constructor(**options))
        sampler: optuna.samplers.BaseSampler = constructor(seed=seed % 2**32, **options)
    except ImportError as error:
        raise ValueError(f"Optuna's {name} needs a package that is not installed: pip install {error.name}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"Optuna's {name} refuses {dict(options)}: {error}") from None
    return sampler


def _rehearse(sampler: optuna.samplers.BaseSampler) -> None:
    """Use `sampler` for a moment: missing packages and wrong options show only after its random start."""
    study = optuna.create_study(sampler=sampler)
    decisions: dict[str, BaseDistribution] = {name: IntDistribution(0, 1) for name in ("a", "b")}
    for value in range(_REHEARSAL_TRIALS):
        study.tell(study.ask(decisions), value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without notes that a study was made, and warnings that what the user asked for is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
