"""How much a step has to save, and the budget: amounts of a cost, absolute or relative to the seed's."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from nas.errors import UserError

Unit = Literal["L", "ms", ""]
"""``L`` is what the seed has, ``ms`` milliseconds, and nothing the unit of the cost itself: multiply-adds, parameters."""

_DECIMAL = r"(?:\d+(?:\.\d+)?|\.\d+)"
_VALUE: dict[Unit, str] = {"L": _DECIMAL, "ms": _DECIMAL, "": rf"{_DECIMAL}(?:[eE][+-]?\d+)?"}
_EXAMPLE: dict[Unit, str] = {
    "L": "a share of the seed's cost, as 0.8L",
    "ms": "milliseconds, as 3.0ms",
    "": "a number, as 3e6",
}
_ROUNDING = 1e-9
"""Relative: costs nearer to each other than that are equal, for sums of many operations round."""


def within(cost: float, limit: float) -> bool:
    """Whether `cost` is at most `limit`, rounding aside."""
    return cost <= limit + _ROUNDING * abs(limit)


@dataclass(frozen=True, slots=True)
class Amount:
    """Some of a cost.

    Attributes:
        value: positive.
        unit: of `value`.
    """

    value: float
    unit: Unit

    @classmethod
    def parse(cls, text: str, what: str, absolute: Literal["ms", ""] = "ms") -> Amount:
        """``0.8L``, or ``3.0ms``, or ``3e6`` where the absolute unit is the cost's own; `what` begins the message.

        Raises:
            UserError: anything else, or nothing at all.
        """
        units: tuple[Unit, ...] = ("L", absolute)
        for unit in units:
            match = re.fullmatch(f"({_VALUE[unit]}){unit}", text.strip())
            if match and 0 < float(match[1]) < math.inf:
                return cls(float(match[1]), unit)
        raise UserError(f"{what} {text!r}: must be {', or '.join(_EXAMPLE[unit] for unit in units)}")

    def __str__(self) -> str:
        """As `parse` reads it, without loss."""
        return f"{Decimal(repr(self.value)).normalize():f}{self.unit}"

    def of(self, seed_cost: float) -> float:
        """In the unit of `seed_cost`."""
        return self.value * seed_cost if self.unit == "L" else self.value


@dataclass(frozen=True, slots=True)
class ReductionSchedule:
    """What each step has to save: ``0.01L`` (MobileNetV3), ``0.025L*0.96`` (NetAdapt's code), ``0.5ms`` (its paper).

    Attributes:
        first: of the first step.
        decay: each step's over the one before, in (0, 1]; 1 is a constant step.
    """

    first: Amount
    decay: float = 1.0

    @classmethod
    def parse(cls, text: str) -> ReductionSchedule:
        """An amount, or an amount ``*`` a decay.

        Raises:
            UserError: anything else.
        """
        amount, star, decay = text.partition("*")
        first = Amount.parse(amount, "--schedule")
        if first.unit == "L" and first.value >= 1:
            raise UserError(f"--schedule {text!r}: a step of the whole network or more; MobileNetV3's is 0.01L")
        if not star:
            return cls(first)
        if not re.fullmatch(r"0?\.\d+|1(?:\.0+)?", decay.strip()) or float(decay) == 0:
            raise UserError(f"--schedule {text!r}: the decay {decay.strip()!r} must lie in (0, 1], as in 0.025L*0.96")
        return cls(first, float(decay))

    def __str__(self) -> str:
        return str(self.first) if self.decay == 1 else f"{self.first}*{self.decay:g}"

    def reduction(self, step: int, seed_cost: float) -> float:
        """What step number `step`, from 1, has to save at least (algorithm 1 of arXiv 1804.03230: dR_i)."""
        return self.first.of(seed_cost) * self.decay ** (step - 1)

    def total(self, seed_cost: float) -> float:
        """What all steps together are sure to save: without end for a constant step, a geometric sum for a decaying one."""
        return math.inf if self.decay == 1 else self.first.of(seed_cost) / (1 - self.decay)

    def max_steps(self, reduction: float, seed_cost: float) -> int:
        """Most steps that it takes to save `reduction`, if each saves what it has to.

        Raises:
            ValueError: all of them together may not save so much.
        """
        if reduction <= 0:
            return 0
        if reduction >= self.total(seed_cost):
            raise ValueError(f"{self} saves less than {self.total(seed_cost):g} in all")
        steps, saved = 0, 0.0
        while not within(reduction, saved):
            steps += 1
            saved += self.reduction(steps, seed_cost)
        return steps
