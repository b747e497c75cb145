import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nas.objective import Objective, Target
from tests.strategies import PROPERTY

SOFT = Objective(target_ms=80.0)
HARD = Objective(target_ms=80.0, alpha=0.0, beta=-1.0)
ABSOLUTE = Objective(target_ms=80.0, form="absolute", beta=-0.07)

ACCURACIES = st.floats(0.0, 1.0)
LATENCIES = st.floats(1e-3, 1e5)
EXPONENTS = st.floats(-2.0, 0.0)
OBJECTIVES = st.builds(
    lambda target_ms, form, alpha, beta: Objective(target_ms=target_ms, form=form, alpha=alpha, beta=beta),
    LATENCIES,
    st.sampled_from(("power", "absolute")),
    EXPONENTS,
    EXPONENTS,
)


@PROPERTY
@given(OBJECTIVES, ACCURACIES)
def test_reward_at_the_target_is_the_accuracy(objective, accuracy):
    assert objective.reward(accuracy, objective.target_ms) == accuracy


@PROPERTY
@given(OBJECTIVES, ACCURACIES, ACCURACIES, LATENCIES)
def test_more_accurate_is_never_worse(objective, one, other, latency_ms):
    low, high = sorted((one, other))
    assert objective.reward(low, latency_ms) <= objective.reward(high, latency_ms)


@PROPERTY
@given(LATENCIES, EXPONENTS, EXPONENTS, ACCURACIES, LATENCIES, LATENCIES)
def test_slower_is_never_better_in_the_power_form(target_ms, alpha, beta, accuracy, one, other):
    objective = Objective(target_ms=target_ms, alpha=alpha, beta=beta)
    fast, slow = sorted((one, other))
    assert objective.reward(accuracy, slow) <= objective.reward(accuracy, fast)


@PROPERTY
@given(st.floats(-1.0, 0.0), ACCURACIES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_further_from_the_target_is_never_better_in_the_absolute_form(beta, accuracy, one, other):
    objective = Objective(target_ms=10.0, form="absolute", beta=beta)
    near, far = sorted((one, other))
    for sign in (1, -1):
        further = objective.reward(accuracy, 10.0 * (1 + 0.9 * sign * far))
        assert further <= objective.reward(accuracy, 10.0 * (1 + 0.9 * sign * near)) + 1e-12


def test_hard_form():
    assert HARD.reward(0.75, 160.0) == 0.75 / 2  # halves at twice the target
    assert HARD.reward(0.75, 800.0) == pytest.approx(0.075, rel=1e-12)
    assert HARD.reward(0.75, 8.0) == HARD.reward(0.75, 80.0) == 0.75  # nothing to gain below it


def test_soft_and_hard_agree_at_the_target_and_only_there():
    assert SOFT.reward(0.5, 80.0) == HARD.reward(0.5, 80.0) == 0.5
    assert SOFT.reward(0.5, 40.0) > HARD.reward(0.5, 40.0)
    assert SOFT.reward(0.5, 160.0) > HARD.reward(0.5, 160.0)


def test_five_per_cent_for_doubling():
    # MnasNet, section 3: 5 % more accuracy is worth twice the latency, M (1 + 0.05) (2 l / T)^b = M (l / T)^b
    beta = -math.log2(1.05)
    assert beta == pytest.approx(-0.07039, abs=5e-6)
    objective = Objective(target_ms=80.0, alpha=beta, beta=beta)
    for latency_ms in (10.0, 80.0, 300.0):
        assert objective.reward(0.6 * 1.05, 2 * latency_ms) == pytest.approx(
            objective.reward(0.6, latency_ms), rel=1e-12
        )
    assert SOFT.reward(0.7, 160.0) / 0.7 == pytest.approx(0.95264, abs=1e-5)  # 2^-0.07


def test_absolute_form_pulls_from_both_sides():
    assert ABSOLUTE.reward(0.7, 160.0) == pytest.approx(0.7 - 0.07, rel=1e-12)
    assert ABSOLUTE.reward(0.7, 40.0) == pytest.approx(0.7 - 0.035, rel=1e-12)
    assert ABSOLUTE.latency_term(80.0) == 0


def test_a_failure_is_worth_less_than_a_weak_and_slow_network():
    for objective in (SOFT, HARD, ABSOLUTE):
        assert objective.failure_reward <= objective.reward(0.0, 5 * objective.target_ms)
    assert SOFT.failure_reward == 0
    assert ABSOLUTE.failure_reward == -1


@pytest.mark.parametrize("target_ms", [0.0, -1.0, math.inf, math.nan])
def test_impossible_targets(target_ms):
    with pytest.raises(ValueError, match="must be positive"):
        Objective(target_ms=target_ms)


@pytest.mark.parametrize("value", [0.01, math.nan, -math.inf])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_impossible_exponents(name, value):
    with pytest.raises(ValueError, match="must be finite and not positive: slower is not better"):
        Objective(target_ms=1.0, **{name: value})


def spread_oracle(accuracy_terms, latency_terms):
    """Share of the first of two summands in the variance of their sum."""
    total = np.add(accuracy_terms, latency_terms)
    return np.cov(accuracy_terms, total, ddof=0)[0, 1] / np.var(total)


@PROPERTY
@given(OBJECTIVES, st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.1, 1000.0)), min_size=2, max_size=8))
def test_shares_of_the_spread_add_up(objective, networks):
    accuracies, latencies_ms = map(list, zip(*networks, strict=True))
    terms = [objective.latency_term(t) for t in latencies_ms]
    pair = (accuracies, terms) if objective.form == "absolute" else (np.log(accuracies), np.log(terms))
    assume(np.var(np.add(*pair)) > 1e-6)  # the shares of next to no spread are mostly rounding
    of_accuracy, of_latency = objective.spread(accuracies, latencies_ms)
    assert of_accuracy + of_latency == pytest.approx(1.0)
    assert of_accuracy == pytest.approx(spread_oracle(*pair), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("objective", [SOFT, ABSOLUTE])
def test_degenerate_spreads(objective):
    assert objective.spread([0.2, 0.5, 0.9], [50.0] * 3) == (1.0, 0.0)
    assert objective.spread([0.5] * 3, [50.0, 90.0, 200.0]) == pytest.approx((0.0, 1.0))
    for accuracies, latencies_ms in (([], []), ([0.5], [50.0]), ([0.5, 0.5], [50.0, 50.0])):
        assert all(math.isnan(share) for share in objective.spread(accuracies, latencies_ms))


def test_networks_that_guess_nothing_right_are_left_out_of_the_spread():
    assert SOFT.spread([0.2, 0.0, 0.9], [50.0, 1.0, 90.0]) == SOFT.spread([0.2, 0.9], [50.0, 90.0])


def test_a_share_is_negative_where_a_term_works_against_the_outcome():
    of_accuracy, of_latency = ABSOLUTE.spread([0.2, 0.9], [80.0, 160.0])  # the accurate one wins although it is slow
    assert of_accuracy == pytest.approx(0.7 / 0.63)
    assert of_latency == pytest.approx(-0.07 / 0.63)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("3.5ms", Target(3.5, None)),
        ("3.5 ms", Target(3.5, None)),
        (".5ms", Target(0.5, None)),
        ("3.ms", Target(3.0, None)),
        ("  80ms ", Target(80.0, None)),
        ("1.0x mobilenet_v2", Target(1.0, "mobilenet_v2")),
        ("0.75x  mnasnet_a1 ", Target(0.75, "mnasnet_a1")),
        ("2x r1_k3_s11_e1_i32_o16 head_o8", Target(2.0, "r1_k3_s11_e1_i32_o16 head_o8")),
    ],
)
def test_targets(text, target):
    assert Target.parse(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "3.5",
        "",
        "ms",
        "1.0x",
        "1.0x ",
        "x mobilenet_v2",
        "1.0xmobilenet_v2",
        "-1ms",
        "+1ms",
        "1e3ms",
        "3.5s",
        "infms",
        "nanms",
    ],
)
def test_what_is_not_a_target(text):
    with pytest.raises(ValueError, match=r"write milliseconds \(3.5ms\) or a multiple of a network") as error:
        Target.parse(text)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["0ms", "0.0ms", "0x mobilenet_v2", "9" * 400 + "ms"])
def test_targets_that_nothing_or_everything_meets(text):
    with pytest.raises(ValueError, match="must be positive and finite"):
        Target.parse(text)
