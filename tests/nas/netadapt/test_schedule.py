"""Schedules and budgets: what they parse to, how much they save, how many steps that takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import UserError
from nas.netadapt.schedule import Amount, ReductionSchedule
from tests.strategies import PROPERTY

SEED_COST = 40.0


@pytest.mark.parametrize(
    ("text", "reductions", "total"),
    [
        ("0.01L", [0.4, 0.4, 0.4], math.inf),
        ("0.025L*0.5", [1.0, 0.5, 0.25], 2.0),
        ("0.5ms", [0.5, 0.5, 0.5], math.inf),
        (".5ms*.9", [0.5, 0.45, 0.405], 5.0),
    ],
)
def test_reductions(text, reductions, total):
    schedule = ReductionSchedule.parse(text)
    assert [schedule.reduction(step, SEED_COST) for step in (1, 2, 3)] == pytest.approx(reductions)
    assert schedule.total(SEED_COST) == pytest.approx(total)
    assert ReductionSchedule.parse(str(schedule)) == schedule


def test_the_released_codes_default_cannot_come_down_to_a_quarter():
    schedule = ReductionSchedule.parse("0.025L*0.96")
    assert schedule.total(1.0) == pytest.approx(0.625)
    with pytest.raises(ValueError, match=r"0\.025L\*0\.96 saves less than 0\.625 in all"):
        schedule.max_steps(0.75, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.01",
        "L",
        "0L",
        "-1L",
        "1%",
        "0.01l",
        "nanL",
        "1e-2L",
        "1L",
        "0.01L*",
        "0.01L*2",
        "0.01L*0",
        "0.01L*-1",
        "0.01L*0.9*0.9",
        "0.5 s",
    ],
)
def test_what_is_no_schedule(text):
    with pytest.raises(UserError, match="--schedule"):
        ReductionSchedule.parse(text)


@pytest.mark.parametrize("text", ["", "3", "ms", "0ms", "0.8", "fast"])
def test_what_is_no_amount(text):
    with pytest.raises(UserError, match=r"--target '.*': must be a share of the seed's cost, as 0\.8L"):
        Amount.parse(text, "--target")


@pytest.mark.parametrize(
    ("text", "value"), [("3e6", 3e6), ("3E6", 3e6), ("2.5e+05", 2.5e5), ("300", 300.0), (".5", 0.5)]
)
def test_plain_numbers_where_the_unit_is_the_costs_own(text, value):
    amount = Amount.parse(text, "--budget params", "")
    assert amount == Amount(value, "")
    assert amount.of(SEED_COST) == value


@pytest.mark.parametrize("text", ["", "3ms", "0", "0.0", "-1", "e6", "3e", "1e999", "inf", "3e6L", "3 000"])
def test_what_is_no_plain_number(text):
    with pytest.raises(UserError, match=r"--budget params '.*': must be a share .*, as 0\.8L, or a number, as 3e6"):
        Amount.parse(text, "--budget params", "")


@PROPERTY
@given(st.floats(1e-300, 1e300), st.sampled_from(["L", "ms", ""]))
def test_amounts_are_written_without_loss(value, unit):
    amount = Amount(value, unit)
    assert Amount.parse(str(amount), "--target", "" if unit == "" else "ms") == amount


def test_short_amounts_are_written_short():
    assert [str(Amount(value, "L")) for value in (0.8, 1.0, 0.025)] == ["0.8L", "1L", "0.025L"]
    assert [str(Amount(3e6, "")), str(Amount(3.0, "ms"))] == ["3000000", "3ms"]


def test_twenty_steps_of_a_hundredth_take_a_fifth():
    assert ReductionSchedule.parse("0.01L").max_steps(0.2 * 311.579, 311.579) == 20  # rounding does not make it 21
    assert ReductionSchedule.parse("0.01L").max_steps(0.0, 311.579) == 0


@PROPERTY
@given(st.floats(0.005, 0.5), st.floats(0.5, 1.0), st.floats(0.01, 0.99))
def test_the_bound_is_the_least_number_of_steps(first, decay, share):
    schedule = ReductionSchedule(Amount(first, "L"), decay)
    reduction = share * min(schedule.total(SEED_COST), SEED_COST)
    steps = schedule.max_steps(reduction, SEED_COST)
    saved = [sum(schedule.reduction(i, SEED_COST) for i in range(1, n + 1)) for n in (steps - 1, steps)]
    assert saved[0] < reduction
    assert saved[1] >= reduction * (1 - 1e-6)
