"""Tokens of the string form: what each looks like, and the constructor arguments it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_FRACTION = r"(0\.\d+|1|0)"


@dataclass(frozen=True, slots=True)
class Token:
    """One kind of token; tokens of one slot exclude each other."""

    shown: str
    pattern: re.Pattern[str]
    fields: Callable[[str], dict[str, Any]]
    slot: str
    required: bool = False


def token(
    shown: str, pattern: str, fields: Callable[[str], dict[str, Any]], slot: str, required: bool = False
) -> Token:
    """A token whose first group becomes `fields`; one of its slot is required if it is."""
    return Token(shown, re.compile(pattern, re.ASCII), fields, slot, required)


def integer(prefix: str, name: str, slot: str | None = None, required: bool = True) -> Token:
    """``prefixN``: the argument `name`, a positive integer."""
    return token(f"{prefix}N", rf"{prefix}([1-9]\d*)", lambda text: {name: int(text)}, slot or prefix, required)


def fraction(
    prefix: str, fields: Callable[[float], dict[str, Any]], slot: str | None = None, required: bool = False
) -> Token:
    """``prefix0.N``: a number in [0, 1]."""
    return token(f"{prefix}0.N", f"{prefix}{_FRACTION}", lambda text: fields(float(text)), slot or prefix, required)


def parse_fields(text: str, words: list[str], tokens: tuple[Token, ...]) -> Mapping[str, Any]:
    """Constructor arguments of one part, from its words; each slot at most once, required ones exactly once.

    Raises:
        ValueError: a word is no token of the part, repeats a slot, or a required one is missing.
    """
    allowed = ", ".join(token.shown for token in tokens)
    fields: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for word in words:
        matches = [(token, match) for token in tokens if (match := token.pattern.fullmatch(word))]
        if not matches:
            raise ValueError(f"unknown token {word!r} in {text!r}; allowed: {allowed}")
        token, match = matches[0]
        if token.slot in taken:
            raise ValueError(f"token {word!r} repeats {taken[token.slot]!r} in {text!r}; allowed once: {token.slot}")
        taken[token.slot] = word
        fields.update(token.fields(match.group(1)))
    missing = sorted({token.slot for token in tokens if token.required} - taken.keys())
    if missing:
        raise ValueError(f"missing token {', '.join(missing)} in {text!r}; allowed: {allowed}")
    return fields
