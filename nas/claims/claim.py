"""A claim, the checks that a program can make of it, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nas.claims.lab import Lab

Verdict = Literal["holds", "holds in direction", "not separated", "fails here", "the notes are wrong", "not checked"]
Kind = Literal["analysis", "simulation", "latency", "training"]

_GRAVITY: tuple[Verdict, ...] = (
    "not checked",
    "holds",
    "holds in direction",
    "not separated",
    "fails here",
    "the notes are wrong",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        found: the numbers, in a few words.
        verdict: ``holds``; ``holds in direction``: the sign is as claimed, the size is not; ``fails here``: what was
            published is not what this program or device finds; ``not separated``: the interval of what was measured holds
            both that and its opposite; ``the notes are wrong``: what was published is, but the notes say something else.
        why: the reason, where it does not simply hold.
    """

    found: str
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the notes say.

    Attributes:
        number: by which it is known.
        text: what they say.
        published: the exact figure, as printed.
        source: where it is printed.
        awaits: what must be built before it can be checked, where that is not there yet.
    """

    number: int
    text: str
    published: str
    source: str
    awaits: str = ""


Run = Callable[["Lab"], Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """A way to check the claim `number`; `declares` is that claim where it is the check's to declare it."""

    number: int
    kind: Kind
    run: Run
    long: bool = False
    declares: Claim | None = None


def claim(
    number: int, text: str, *, published: str, source: str, kind: Kind = "analysis", long: bool = False
) -> Callable[[Run], Check]:
    """Declares a claim by the function that checks it; arguments as the fields of `Claim` and as of `check`."""
    declared = Claim(number, text, published, source)
    return lambda run: Check(number, kind, run, long, declared)


def check(number: int, kind: Kind, *, long: bool = False) -> Callable[[Run], Check]:
    """Another check of a claim declared elsewhere.

    Args:
        number: of the claim.
        kind: how it is checked: ``latency`` measures on this device, ``training`` trains.
        long: it takes minutes; run on demand only.
    """
    return lambda run: Check(number, kind, run, long)


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim of whose checks these are the verdicts; ``not checked`` without any."""
    return max(verdicts, key=_GRAVITY.index, default="not checked")


def verdict_of(right: bool, otherwise: Verdict = "fails here") -> Verdict:
    """``holds`` if `right`."""
    return "holds" if right else otherwise
