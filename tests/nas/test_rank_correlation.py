"""Kendall's tau and its intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from nas.rank_correlation import kendall_tau, tau_difference, tau_interval
from tests.strategies import PROPERTY

FEW_LEVELS = st.lists(st.integers(0, 4).map(float), min_size=5, max_size=5).map(np.array)


@PROPERTY
@given(FEW_LEVELS, FEW_LEVELS)
def test_tau_counts_pairs_and_leaves_ties_out(one, other):
    ours, theirs = (np.sign(scores[:, None] - scores[None, :]) for scores in (one, other))
    decided = math.sqrt(np.count_nonzero(ours) * np.count_nonzero(theirs))
    wanted = float((ours * theirs).sum()) / decided if decided else math.nan

    assert kendall_tau(one, other) == pytest.approx(wanted, nan_ok=True)


def test_perfect_and_opposite_orders():
    order = np.arange(10.0)

    assert tau_interval(order, order**3) == tau_interval(order, order)
    found = tau_interval(order, order)
    assert (found.value, found.low) == pytest.approx((1, 1))
    assert kendall_tau(order, -order) == pytest.approx(-1)


def test_the_interval_is_that_of_a_bootstrap():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 5, (2, 12)).astype(float)  # with ties

    found = tau_interval(one, other, seed=3)

    wanted = bootstrap(
        (one, other), kendall_tau, paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=3
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx(wanted)


def test_the_interval_covers_the_tau_of_the_population():
    rng = np.random.default_rng(0)
    correlation = 0.8
    tau = 2 / math.pi * math.asin(correlation)  # of a bivariate normal distribution
    covered = 0
    for seed in range(20):
        one, noise = rng.normal(size=(2, 40))
        found = tau_interval(one, correlation * one + math.sqrt(1 - correlation**2) * noise, seed)
        assert found.low < found.value < found.high
        covered += found.low <= tau <= found.high

    assert covered >= 14  # of 20 at 95 %: fewer would happen once in thirty thousand times


def test_a_difference_is_taken_on_the_same_networks():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    good, bad = truth + rng.normal(scale=0.2, size=30), rng.normal(size=30)

    found = tau_difference(good, bad, truth)

    assert found.value == pytest.approx(kendall_tau(good, truth) - kendall_tau(bad, truth))
    assert found.low > 0
    same = tau_difference(good, good, truth)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_scores_without_two_different_numbers_have_no_tau():
    assert math.isnan(tau_interval(np.ones(5), np.arange(5.0)).value)
