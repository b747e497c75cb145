"""Figures as papers print them: how to write one, and whether a count is the printed one."""

from __future__ import annotations

from decimal import Decimal


def millions(number: float, digits: int = 1) -> str:
    """``568.7 M``."""
    return f"{number / 1e6:.{digits}f} M"


def percent(fraction: float, digits: int = 1) -> str:
    """``94.9 %``."""
    return f"{100 * fraction:.{digits}f} %"


def listed(numbers: list[float], digits: int = 1) -> str:
    """``325.4, 149.5, 41.0``."""
    return ", ".join(f"{number:.{digits}f}" for number in numbers)


def printed_as(number: float, printed: str) -> bool:
    """Whether `number` lies within one unit of the last digit of `printed`: authors cut as often as they round."""
    exponent = Decimal(printed).as_tuple().exponent
    assert isinstance(exponent, int), f"{printed} is not a finite number"
    return abs(Decimal(number) - Decimal(printed)) <= Decimal(1).scaleb(exponent)
