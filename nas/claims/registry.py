"""All claims and their checks, gathered from the modules of this package."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

import nas.claims
from nas.claims.claim import Check, Claim
from nas.errors import UserError


@dataclass(frozen=True, slots=True)
class Registry:
    """Claims by number, ascending, and the checks of each, in the order of kinds named in `nas.claims.claim.Kind`."""

    claims: Mapping[int, Claim]
    checks: Mapping[int, tuple[Check, ...]]

    def chosen(self, numbers: Iterable[int]) -> list[Claim]:
        """The claims of these numbers, ascending; all if none is given.

        Raises:
            UserError: there is no such claim.
        """
        wanted = sorted(set(numbers))
        for number in wanted:
            if number not in self.claims:
                first, last = min(self.claims), max(self.claims)
                raise UserError(f"no claim {number}: they are numbered {first} to {last}; `nas claims` lists them")
        return [self.claims[number] for number in wanted or self.claims]


_KINDS = ("analysis", "simulation", "latency", "training")


def gather(modules: Iterable[ModuleType]) -> Registry:
    """The claims and checks that stand at the top level of `modules`.

    Raises:
        ValueError: a claim declared twice, or a check of a claim that nobody declares.
    """
    claims: dict[int, Claim] = {}
    checks: dict[int, list[Check]] = {}
    for item in _items(modules):
        declared = item if isinstance(item, Claim) else item.declares
        if declared is not None:
            if declared.number in claims:
                raise ValueError(f"claim {declared.number} is declared twice")
            claims[declared.number] = declared
        if isinstance(item, Check):
            checks.setdefault(item.number, []).append(item)
    if undeclared := sorted(checks.keys() - claims.keys()):
        raise ValueError(f"checks of claims {undeclared}, which nobody declares")
    ordered = {
        number: tuple(sorted(checks.get(number, ()), key=lambda check: _KINDS.index(check.kind)))
        for number in sorted(claims)
    }
    return Registry(MappingProxyType({number: claims[number] for number in ordered}), MappingProxyType(ordered))


def _items(modules: Iterable[ModuleType]) -> Iterator[Claim | Check]:
    """Each object once, though another module imports it."""
    seen: set[int] = set()
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Claim | Check) and id(value) not in seen:
                seen.add(id(value))
                yield value


@functools.cache
def registry() -> Registry:
    """Of this package."""
    names = sorted(info.name for info in pkgutil.iter_modules(nas.claims.__path__))
    return gather(importlib.import_module(f"nas.claims.{name}") for name in names)
