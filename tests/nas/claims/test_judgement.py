from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.claims.claim import Verdict
from nas.claims.interval import Interval
from nas.claims.judgement import TOLERANCE, around, judged
from tests.strategies import PROPERTY

QUARTERS = st.integers(-20, 20).map(lambda number: number / 4)  # whose exponentials are as far apart
RATIOS = st.floats(0.05, 20).filter(lambda ratio: ratio != 1)


def ordered(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Interval]:
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


@pytest.mark.parametrize(
    ("measured", "claimed", "verdict"),
    [
        ((0.78, 0.82), (0.75, 0.85), "holds"),
        ((0.70, 0.76), (0.75, 0.85), "holds"),  # meets it
        ((0.90, 0.95), (0.75, 0.85), "holds in direction"),
        ((0.10, 0.20), (0.75, 0.85), "holds in direction"),
        ((0.90, 1.01), (0.75, 0.85), "not separated"),
        ((1.01, 1.05), (0.75, 0.85), "fails here"),
        ((0.97, 0.99), (1.10, 1.20), "fails here"),
        ((1.05, 1.15), (1.10, 1.20), "holds"),
        ((0.99, 1.01), (0.98, 1.02), "holds"),  # no difference
        ((0.99, 1.03), (0.98, 1.02), "not separated"),
        ((1.03, 1.05), (0.98, 1.02), "fails here"),
        ((0.01, 0.02), (0.0, 1.0), "holds"),  # faster, by whatever
    ],
)
def test_verdicts(measured: Interval, claimed: Interval, verdict: Verdict) -> None:
    assert judged(measured, claimed) == verdict


@PROPERTY
@given(ordered(st.floats(0.05, 20)), RATIOS)
def test_a_claim_and_its_inverse_get_mirrored_verdicts(measured: Interval, published: float) -> None:
    """Exchanging candidate and reference changes nothing."""
    claimed = around(published)
    mirrored = (1 / measured[1], 1 / measured[0]), (1 / claimed[1], 1 / claimed[0])
    assert judged(measured, claimed) == judged(*mirrored)


@PROPERTY
@given(ordered(QUARTERS), ordered(QUARTERS.filter(lambda number: number >= 0)))
def test_differences_are_judged_as_ratios_of_their_exponentials(measured: Interval, claimed: Interval) -> None:
    exponentials = [(math.exp(low), math.exp(high)) for low, high in (measured, claimed)]
    assert judged(measured, claimed, neutral=0.0) == judged(*exponentials)


@PROPERTY
@given(RATIOS)
def test_the_size_of_a_ratio_is_on_its_side_of_one_and_holds_it(published: float) -> None:
    low, high = around(published)
    assert low < published < high
    assert (high < 1) == (published < 1)
    assert (low > 1) == (published > 1)
    assert published * (1 - TOLERANCE) <= low
    assert high <= published * (1 + TOLERANCE)


def test_a_tenth_does_not_confirm_a_fiftieth() -> None:
    assert judged((0.89, 0.91), around(0.98)) == "holds in direction"
    assert judged((0.975, 0.985), around(0.98)) == "holds"


def test_around_one_there_is_no_direction() -> None:
    assert around(1.0) == (0.9, 1.1)
