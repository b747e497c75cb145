"""Any searcher of Ray Tune behind the two verbs, without Tune's loop, trials or snapshots."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher

from controllers.controller import Outcome, Suggestion
from controllers.ledger import Ledger
from controllers.variation import drawn
from search_spaces.choice import Choice

DEFAULT_SEARCHER = "ray.tune.search.optuna.OptunaSearch"
_METRIC = "reward"
_SEEDS = ("seed", "random_state_seed", "random_state")  # what the constructors of Tune's searchers call it
_PACKAGES = {  # by the folder in ray.tune.search
    "ax": "ax-platform",
    "bayesopt": "bayesian-optimization==1.4.3",
    "bohb": "hpbandster ConfigSpace",
    "hebo": "'HEBO>=0.2.0'",
    "hyperopt": "hyperopt",
    "nevergrad": "nevergrad",
    "optuna": "optuna",
    "zoopt": "zoopt",
}


class TuneController:
    """A `ray.tune.search.Searcher` that is asked and told here; it sees every decision as a `tune.choice`.

    Outcomes are passed on in the order of the asks, so which trial ends first makes no difference. A failed trial is told
    as an error. A searcher that would rather wait, or has finished, must still answer: the candidate is then a random
    one, of which the searcher hears nothing. A searcher without a seed makes a run that cannot be resumed.

    Args:
        choices: the decisions of the space.
        seed: passed to the searcher, the lower 32 bits of it, if it takes one and `options` has none.
        searcher: dotted name of a class, for example ``ray.tune.search.hyperopt.HyperOptSearch``.
        options: of the searcher's constructor.

    Raises:
        ValueError: there are no choices, or two share a name; there is no such searcher or option; the searcher's own
            package is missing, the message has the command that installs it.
    """

    def __init__(self, choices: Sequence[Choice], seed: int, searcher: str, options: Mapping[str, object]) -> None:
        self._ledger = Ledger(choices)
        self._rng = np.random.default_rng(seed)
        # Tune takes a "/" in a name for nesting, so that decisions go by number.
        self._keys = [f"decision_{t:03d}" for t in range(len(choices))]
        self._searcher = _built(searcher, seed, options)
        space = {key: tune.choice(list(range(k))) for key, k in zip(self._keys, self._ledger.num_options, strict=True)}
        if not self._searcher.set_search_properties(_METRIC, "max", space):
            raise ValueError(f"searcher {searcher!r} does not take a space from outside; leave it out of the options")
        self._suggested: set[int] = set()  # ids that the searcher knows

    def ask(self) -> Suggestion:
        """What the searcher wants tried next; repeats are possible."""
        id_ = self._ledger.num_asked
        config: Any = self._searcher.suggest(str(id_))
        if config is None or config == Searcher.FINISHED:
            return self._ledger.ask(drawn(self._ledger.num_options, self._rng))
        self._suggested.add(id_)
        return self._ledger.ask([int(config[key]) for key in self._keys])

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Enter an outcome; the searcher hears of it once all earlier suggestions are told.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        for told in self._ledger.tell(suggestion, outcome):
            if told.id not in self._suggested:
                continue
            failed = told.outcome.failed
            result = None if failed else {_METRIC: told.outcome.reward, "training_iteration": 1}
            self._searcher.on_trial_complete(str(told.id), result=result, error=failed)


def _built(name: str, seed: int, options: Mapping[str, object]) -> Searcher:
    module, _, class_name = name.rpartition(".")
    try:
        searcher_class: Any = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"there is no searcher {name!r}; an example: {DEFAULT_SEARCHER!r}") from None
    if not (inspect.isclass(searcher_class) and issubclass(searcher_class, Searcher)):
        raise ValueError(f"{name!r} is not a ray.tune.search.Searcher; an example: {DEFAULT_SEARCHER!r}")
    allowed = [p for p in inspect.signature(searcher_class).parameters if p not in ("space", "metric", "mode")]
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"searcher {name!r} has no options {unknown}; allowed: {allowed}")
    arguments: dict[str, Any] = {**{key: seed % 2**32 for key in _SEEDS if key in allowed}, **options}
    try:
        searcher: Searcher = searcher_class(**arguments)
    except (AssertionError, ImportError, TypeError, ValueError) as error:  # the first two without their packages
        raise ValueError(_why_not(name, module, error)) from None
    return searcher


def _why_not(name: str, module: str, error: Exception) -> str:
    package = _PACKAGES.get(module.split(".")[3]) if module.startswith("ray.tune.search.") else None
    if package and re.search("install", str(error), re.IGNORECASE):
        return f"searcher {name!r} needs a package that is not installed: pip install {package}"
    return f"searcher {name!r} cannot be made: {' '.join(str(error).split())}"
