"""Runs checks of claims, as far as the options allow, and joins what they find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nas.claims.claim import Check, Claim, Finding, Kind, Verdict, gravest
from nas.claims.lab import Lab
from nas.claims.registry import Registry


@dataclass(frozen=True, slots=True)
class Options:
    """Which checks to run; analysis and simulation always are.

    Attributes:
        latency: those that measure on this device.
        long: those that take minutes.
        training: those that train networks.
    """

    latency: bool = True
    long: bool = False
    training: bool = False

    def lacking(self, check: Check) -> list[str]:
        """What of the command line keeps `check` from being run; empty where nothing does."""
        lacking = ["without --no-latency"] if check.kind == "latency" and not self.latency else []
        lacking += ["--train"] if check.kind == "training" and not self.training else []
        return lacking + (["--long"] if check.long and not self.long else [])


@dataclass(frozen=True, slots=True)
class Result:
    """A claim and what was found.

    Attributes:
        claim: what was examined.
        findings: kind of each check that was run, and what it found.
        left_out: why nothing more was checked, in words; empty where everything was.
    """

    claim: Claim
    findings: tuple[tuple[Kind, Finding], ...]
    left_out: str = ""

    @property
    def verdict(self) -> Verdict:
        """The gravest of the findings'."""
        return gravest(finding.verdict for _, finding in self.findings)

    @property
    def found(self) -> str:
        """The findings, joined; without any, what it would take."""
        return "; ".join(finding.found for _, finding in self.findings) or self.left_out

    @property
    def why(self) -> str:
        """The reasons of the findings, joined."""
        return " ".join(finding.why for _, finding in self.findings if finding.why)

    @property
    def kinds(self) -> list[Kind]:
        """How it was checked."""
        return list(dict.fromkeys(kind for kind, _ in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "number": self.claim.number,
            "claim": self.claim.text,
            "published": self.claim.published,
            "source": self.claim.source,
            "found": self.found,
            "verdict": self.verdict,
            "why": self.why,
        }


def _left_out(claim: Claim, checks: Sequence[Check], options: Options) -> str:
    if claim.awaits:
        return claim.awaits
    if not checks:
        return "nothing checks it yet"
    ways = [" ".join(lacking) for check in checks if (lacking := options.lacking(check))]
    return f"run nas claims {claim.number} {' or '.join(dict.fromkeys(ways))}" if ways else ""


def examine(registry: Registry, numbers: Iterable[int], lab: Lab, options: Options) -> Iterator[Result]:
    """Results of the claims of these numbers, of all if none is given, in order, each as soon as it is there.

    Raises:
        UserError: there is no such claim, or something cannot be measured.
    """
    for claim in registry.chosen(numbers):
        checks = registry.checks[claim.number]
        findings = tuple((check.kind, check.run(lab)) for check in checks if not options.lacking(check))
        yield Result(claim, findings, _left_out(claim, checks, options))
