from __future__ import annotations

import itertools
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.claims.claim import Check, Claim, Finding, Verdict, check, claim, gravest
from nas.claims.examination import Options, examine
from nas.claims.lab import Lab
from nas.claims.registry import gather, registry
from nas.errors import UserError
from tests.strategies import PROPERTY

GRAVITY: list[Verdict] = [
    "not checked",
    "holds",
    "holds in direction",
    "not separated",
    "fails here",
    "the notes are wrong",
]
WAITING = [33, 35, 38, 43]


@PROPERTY
@given(st.lists(st.sampled_from(GRAVITY)))
def test_the_gravest_verdict_wins(verdicts: list[Verdict]) -> None:
    assert GRAVITY.index(gravest(verdicts)) == max(map(GRAVITY.index, verdicts), default=0)


def test_all_claims_are_declared() -> None:
    assert list(registry().claims) == list(range(1, 56))
    assert [number for number, claim in registry().claims.items() if claim.awaits] == WAITING
    assert not any(registry().checks[number] for number in WAITING)


def test_every_claim_says_what_where_and_how_much() -> None:
    for declared in registry().claims.values():
        assert declared.text.endswith((".", "?"))
        assert declared.published
        assert declared.source


def module(name: str, **contents: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(contents)
    return made


@claim(7, "A claim.", published="1", source="here")
def declaring(_: Lab) -> Finding:
    return Finding("one", "holds")


@check(7, "latency")
def measuring(_: Lab) -> Finding:
    return Finding("two", "fails here", "because")


@check(7, "training", long=True)
def training(_: Lab) -> Finding:
    return Finding("three", "holds in direction", "so far")


AWAITED = Claim(9, "Another.", published="2", source="there", awaits="something to be built")


def test_checks_attach_to_claims_of_other_modules_whatever_the_order() -> None:
    first, second = module("a", x=training, y=measuring, again=declaring), module("b", x=declaring, z=AWAITED)
    for modules in itertools.permutations((first, second)):
        found = gather(modules)
        assert list(found.claims) == [7, 9]
        assert found.checks == {7: (declaring, measuring, training), 9: ()}


def test_two_declarations_of_one_number() -> None:
    other = Claim(7, "Not this.", published="3", source="nowhere")
    with pytest.raises(ValueError, match="claim 7 is declared twice"):
        gather([module("a", x=declaring, y=other)])


def test_a_check_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"claims \[7\], which nobody declares"):
        gather([module("a", x=measuring)])


@pytest.mark.parametrize(
    ("options", "found", "verdict", "why"),
    [
        (Options(latency=False), "one", "holds", ""),
        (Options(), "one; two", "fails here", "because"),
        (Options(training=True), "one; two", "fails here", "because"),
        (Options(latency=False, training=True, long=True), "one; three", "holds in direction", "so far"),
        (Options(training=True, long=True), "one; two; three", "fails here", "because so far"),
    ],
)
def test_options_choose_the_checks(options: Options, found: str, verdict: Verdict, why: str) -> None:
    (result,) = examine(gather([module("a", a=declaring, b=measuring, c=training)]), [7], Lab(), options)
    assert (result.found, result.verdict, result.why) == (found, verdict, why)
    assert len(result.kinds) == len(result.findings)


@pytest.mark.parametrize(
    ("checks", "found"),
    [
        ([measuring], "run nas claims 7 without --no-latency"),
        ([training], "run nas claims 7 --train --long"),
        ([measuring, training], "run nas claims 7 without --no-latency or --train --long"),
        ([], "nothing checks it yet"),
    ],
)
def test_an_unchecked_claim_says_what_would_check_it(checks: list[Check], found: str) -> None:
    known = gather(
        [module("a", a=Claim(7, "A.", published="1", source="here"), **dict(zip("bc", checks, strict=False)))]
    )
    (result,) = examine(known, [], Lab(), Options(latency=False))
    assert (result.verdict, result.found) == ("not checked", found)


def test_a_claim_that_awaits_something_says_so() -> None:
    (result,) = examine(gather([module("a", a=AWAITED)]), [], Lab(), Options())
    assert (result.verdict, result.found) == ("not checked", "something to be built")


def test_no_such_claim() -> None:
    with pytest.raises(UserError, match=r"^no claim 99: they are numbered 1 to 55; `nas claims` lists them$"):
        registry().chosen([3, 99])
    assert [declared.number for declared in registry().chosen([9, 3, 9])] == [3, 9]
