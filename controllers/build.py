"""From a name and a mapping, as recipes have them, to a controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from controllers.controller import Controller
from controllers.random_search import RandomController
from search_spaces.choice import Choice

CONTROLLER_NAMES = ("random", "ppo")
"""What `build_controller` can build."""


def build_controller(name: str, choices: Sequence[Choice], seed: int, options: Mapping[str, object]) -> Controller:
    """Build a controller by name.

    Args:
        name: one of `CONTROLLER_NAMES`.
        choices: the decisions of the space.
        seed: non-negative.
        options: for `ppo`: ``preset``, a name in `controllers.ppo.PRESETS` (default ``fast``), and any field of
            `controllers.ppo.PPOConfig`, which then replaces that of the preset. `random` has none.

    Raises:
        ValueError: an unknown name, option or preset, the message lists the allowed ones; or a value out of range.
    """
    if name == "random":
        _check_keys("random", options, [])
        return RandomController(choices, seed)
    if name == "ppo":
        return _build_ppo(choices, seed, options)
    raise ValueError(f"unknown controller {name!r}; allowed: {list(CONTROLLER_NAMES)}")


def _build_ppo(choices: Sequence[Choice], seed: int, options: Mapping[str, object]) -> Controller:
    from controllers.ppo import PRESETS, PPOConfig, PPOController  # here, because it brings torch

    _check_keys("ppo", options, ["preset", *(field.name for field in fields(PPOConfig))])
    constants: dict[str, Any] = dict(options)
    preset = constants.pop("preset", "fast")
    if preset not in PRESETS:
        raise ValueError(f"unknown ppo preset {preset!r}; allowed: {list(PRESETS)}")
    return PPOController(choices, seed, replace(PRESETS[preset], **constants))


def _check_keys(name: str, options: Mapping[str, object], allowed: Sequence[str]) -> None:
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"controller {name!r} has no options {unknown}; allowed: {list(allowed)}")
