import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.accuracy import wilson_interval
from tests.strategies import PROPERTY

Z2 = 1.959964**2


@pytest.mark.parametrize("total", [1, 7, 360])
def test_interval_of_none_and_all(total):
    low, high = wilson_interval(0, total)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(Z2 / (total + Z2))
    assert wilson_interval(total, total) == pytest.approx((1 - high, 1.0))


def test_interval_of_a_half():
    # (1/2) +- z / (2 sqrt(n + z^2))
    for total in (2, 100, 10_000):
        spread = math.sqrt(Z2) / (2 * math.sqrt(total + Z2))
        assert wilson_interval(total // 2, total) == pytest.approx((0.5 - spread, 0.5 + spread))
    assert wilson_interval(50, 100) == pytest.approx((0.403832, 0.596168), abs=1e-6)


@PROPERTY
@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_solves_wilson_s_equation(observed):
    """Its ends are the proportions p that are z of their own standard deviations away: (k/n - p)^2 = z^2 p (1 - p) / n."""
    successes, total = observed
    found = successes / total
    low, high = wilson_interval(successes, total)
    assert -1e-9 <= low <= found + 1e-9
    assert found - 1e-9 <= high <= 1 + 1e-9
    for end in (low, high):
        assert (found - end) ** 2 == pytest.approx(Z2 * end * (1 - end) / total, rel=1e-6, abs=1e-9)


def test_interval_covers():
    """Exact coverage over the binomial distribution of 360 images, averaged over true accuracies."""
    total = 360
    intervals = np.array([wilson_interval(k, total) for k in range(total + 1)])
    log_choose = np.array(
        [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(total + 1)]
    )
    k = np.arange(total + 1)
    coverage = []
    for p in np.linspace(0.05, 0.99, 95):
        mass = np.exp(log_choose + k * math.log(p) + (total - k) * math.log(1 - p))
        coverage.append(mass[(intervals[:, 0] <= p) & (p <= intervals[:, 1])].sum())
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)
    assert min(coverage) > 0.92


@pytest.mark.parametrize("total", [0, -1])
def test_no_observations_no_interval(total):
    with pytest.raises(ValueError, match="at least one observation"):
        wilson_interval(0, total)
