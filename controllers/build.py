"""From a name and a mapping, as recipes have them, to a controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from controllers.constants import Constants
from controllers.controller import Controller
from controllers.random_search import RandomController
from search_spaces.choice import Choice

# Controllers are imported where they are built: torch, optuna and ray are slow to load.

CONTROLLER_NAMES = ("random", "ppo", "reinforce", "evolution", "nsga2", "optuna", "tune")
"""What `build_controller` can build."""

C = TypeVar("C", bound=Constants)


def build_controller(name: str, choices: Sequence[Choice], seed: int, options: Mapping[str, object]) -> Controller:
    """Build a controller by name.

    Args:
        name: one of `CONTROLLER_NAMES`.
        choices: the decisions of the space.
        seed: non-negative.
        options: for `ppo`, `reinforce`, `evolution` and `nsga2`: ``preset``, ``fast`` (the default) or ``paper``, and
            any field of the controller's configuration, which then replaces that of the preset. For `optuna`:
            ``sampler``, a name in `controllers.optuna_sampler.SAMPLERS` (default ``TPESampler``), ``num_objectives``,
            ``ordered``, and whatever the sampler's constructor takes. For `tune`: ``searcher``, the dotted name of a
            class (default ``ray.tune.search.optuna.OptunaSearch``), and whatever its constructor takes. `random` has
            none.

    Raises:
        ValueError: an unknown name, option or preset, the message lists the allowed ones; a value out of range; or a
            package that a searcher needs is missing, the message says how to install it.
    """
    if name == "random":
        _check_keys("random", options, [])
        return RandomController(choices, seed)
    if name not in CONTROLLER_NAMES:
        raise ValueError(f"unknown controller {name!r}; allowed: {list(CONTROLLER_NAMES)}")
    build = _build_library if name in ("optuna", "tune") else _build_ours
    return build(name, choices, seed, options)


def _build_ours(name: str, choices: Sequence[Choice], seed: int, options: Mapping[str, object]) -> Controller:
    if name == "ppo":
        from controllers import ppo

        return ppo.PPOController(choices, seed, _configured(name, ppo.PRESETS, options))
    if name == "reinforce":
        from controllers import reinforce

        return reinforce.ReinforceController(choices, seed, _configured(name, reinforce.PRESETS, options))
    if name == "evolution":
        from controllers import evolution

        return evolution.EvolutionController(choices, seed, _configured(name, evolution.PRESETS, options))
    from controllers import nsga2

    return nsga2.NSGA2Controller(choices, seed, _configured(name, nsga2.PRESETS, options))


def _build_library(name: str, choices: Sequence[Choice], seed: int, options: Mapping[str, object]) -> Controller:
    rest: dict[str, Any] = dict(options)
    if name == "tune":
        from controllers.tune_searcher import DEFAULT_SEARCHER, TuneController

        return TuneController(choices, seed, str(rest.pop("searcher", DEFAULT_SEARCHER)), rest)
    from controllers.optuna_sampler import DEFAULT_SAMPLER, OptunaController

    return OptunaController(
        choices,
        seed,
        sampler=str(rest.pop("sampler", DEFAULT_SAMPLER)),
        num_objectives=rest.pop("num_objectives", None),
        ordered=rest.pop("ordered", False),
        options=rest,
    )


def _configured(name: str, presets: Mapping[str, C], options: Mapping[str, object]) -> C:
    """The preset that `options` names, with its constants replaced by the other options."""
    constants: dict[str, Any] = dict(options)
    preset = constants.pop("preset", "fast")
    allowed = [field.name for field in fields(presets["fast"])]
    _check_keys(name, options, ["preset", *allowed])
    if preset not in presets:
        raise ValueError(f"unknown {name} preset {preset!r}; allowed: {list(presets)}")
    return replace(presets[preset], **constants)


def _check_keys(name: str, options: Mapping[str, object], allowed: Sequence[str]) -> None:
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"controller {name!r} has no options {unknown}; allowed: {list(allowed)}")
