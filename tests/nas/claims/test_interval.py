from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nas.claims.interval import MeanDifference, resampled


@pytest.mark.parametrize("number", [3, 8, 16])
def test_interval_is_students(number: int) -> None:
    differences = np.random.default_rng(number).normal(0.3, 1.0, number)
    found = MeanDifference.of(list(differences))
    reference = stats.t.interval(0.95, number - 1, differences.mean(), stats.sem(differences))
    assert found.value == pytest.approx(differences.mean())
    half = (reference[1] - reference[0]) / 2
    assert found.interval == pytest.approx(reference, abs=0.05 * half)  # the quantile is an expansion
    assert found.number == number


def test_it_prints_signs() -> None:
    assert str(MeanDifference.of([1.0, 1.0, 1.0])) == "+1.00 (+1.00 to +1.00)"


def test_two_are_too_few() -> None:
    with pytest.raises(ValueError, match="2 differences"):
        MeanDifference.of([1.0, 2.0])


def test_resampled_interval_of_a_mean_is_about_students() -> None:
    rows = np.random.default_rng(0).normal(1.0, 1.0, 100)
    low, high = resampled(lambda draw: float(np.mean(draw)), rows, np.random.default_rng(1))
    reference = stats.t.interval(0.95, 99, rows.mean(), stats.sem(rows))
    assert (low, high) == pytest.approx(reference, abs=0.05)


def test_of_equal_rows_it_is_a_point() -> None:
    assert resampled(lambda draw: float(draw[0]), np.full(5, 2.0), np.random.default_rng(0)) == (2.0, 2.0)
