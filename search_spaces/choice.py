"""The one primitive of choice: a named decision with a finite list of options (after TuNAS's `OneOf`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Option = str | int | float
"""One value of a decision."""

Choices = Mapping[str, Option]
"""A whole candidate: choice name -> the option taken."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision of a search space.

    Attributes:
        name: unique within its space, for example ``b2.kernel``.
        options: the allowed values, at least one, no two equal.
    """

    name: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"choice {self.name!r} has no options")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"choice {self.name!r} repeats an option: {self.options}")

    def index(self, option: Option) -> int:
        """Position of `option` in `options`.

        Raises:
            ValueError: `option` is not among the options.
        """
        try:
            return self.options.index(option)
        except ValueError:
            raise ValueError(f"{self.name}={option!r} is not allowed; options: {list(self.options)}") from None
