"""Checks of the numbers that tune a controller: a wrong one is named before it can do harm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol


class Constants(Protocol):
    """A frozen dataclass of numbers and flags."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def check_constants(
    config: Constants,
    *,
    flags: Sequence[str] = (),
    whole: Sequence[str] = (),
    counts: Sequence[str] = (),
    positive: Sequence[str] = (),
    below_one: Sequence[str] = (),
    at_most_one: Sequence[str] = (),
) -> None:
    """Check every field of `config`: a flag, or a finite number that is not negative.

    Args:
        config: the constants.
        flags: fields that are true or false.
        whole: fields that are whole numbers, at least 1.
        counts: fields that are whole numbers, 0 included.
        positive: fields that must not be 0.
        below_one: fields that are below 1: decays of averages that would otherwise never move.
        at_most_one: fields that are probabilities.

    Raises:
        ValueError: names the first field that is wrong and its value.
    """
    for field in fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in flags:
            if not isinstance(value, bool):
                raise ValueError(f"{name}={value!r} must be true or false")
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{name}={value!r} must be a finite number, not negative")
        if name in whole and not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{name}={value!r} must be a whole number, at least 1")
        if name in counts and not isinstance(value, int):
            raise ValueError(f"{name}={value!r} must be a whole number")
        if name in positive and value == 0:
            raise ValueError(f"{name}={value!r} must be positive")
        if name in below_one and value >= 1:
            raise ValueError(f"{name}={value!r} must be below 1, or the average never moves")
        if name in at_most_one and value > 1:
            raise ValueError(f"{name}={value!r} is a probability, at most 1")
