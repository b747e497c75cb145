"""What a race says, by closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.controller_bench.race import Runs
from nas.controller_bench.summary import (
    best_reward,
    best_so_far,
    checkpoints,
    dominated_area,
    estimate,
    hypervolume,
    regret,
)
from tests.strategies import PROPERTY

RUNS = Runs(
    rewards=np.array([[0.1, 0.4, 0.2, 0.5], [0.3, 0.2, 0.1, 0.3]]),
    objectives=np.array(
        [[[0.9, 2.0], [0.6, 3.0], [0.8, 1.0], [0.5, 3.5]], [[0.7, 1.0], [0.8, 2.0], [0.9, 4.0], [0.7, 1.0]]]
    ),
)


def test_interval_of_student():
    # Of 1, 2, 3: mean 2, standard deviation 1; t of 2 degrees of freedom at 0.975 is 4.302653
    found = estimate(np.array([1.0, 2.0, 3.0]))
    assert found.mean == 2
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_seed_has_no_interval():
    assert estimate(np.array([0.5])).to_dict() == {"mean": 0.5, "low": None, "high": None}


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [estimate(rng.normal(3, 2, size=5)) for _ in range(4000)]
    assert sum(each.low <= 3 <= each.high for each in found) / 4000 == pytest.approx(0.95, abs=0.011)  # 3 sigma


def test_best_so_far_and_regret():
    assert best_so_far(RUNS.rewards).tolist() == [[0.1, 0.4, 0.4, 0.5], [0.3, 0.3, 0.3, 0.3]]
    assert best_reward(RUNS, 2).mean == pytest.approx(0.35)
    assert regret(RUNS, 0.6, 2).mean == pytest.approx(25)
    assert regret(RUNS, 0.6, 4).mean == pytest.approx(20)
    assert regret(RUNS, 0.6, 4).high - 20 == pytest.approx(20 - regret(RUNS, 0.6, 4).low)


def test_checkpoints():
    assert checkpoints(1000) == [50, 100, 250, 500, 1000]
    assert checkpoints(300) == [50, 100, 250, 300]
    assert checkpoints(7) == [7]


def test_dominated_area_by_hand():
    corner, ideal = (1.0, 5.0), (0.0, 0.0)
    assert dominated_area(np.array([[0.5, 2.5]]), corner, ideal) == pytest.approx(0.25)
    assert dominated_area(np.array([[0.5, 2.5], [0.6, 3.0], [0.5, 2.5]]), corner, ideal) == pytest.approx(0.25)
    # A stair: 0.5 x 2.5, and 0.2 x 1.5 more under it
    assert dominated_area(np.array([[0.5, 2.5], [0.8, 1.0]]), corner, ideal) == pytest.approx((1.25 + 0.2 * 1.5) / 5)
    assert dominated_area(np.array([[2.0, 1.0], [0.1, 5.0]]), corner, ideal) == 0
    assert dominated_area(np.array([[-1.0, -1.0]]), corner, ideal) == pytest.approx(1)


POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8)


@given(points=POINTS)
@PROPERTY
def test_dominated_area_by_counting_cells(points):
    cells = sum(any(x <= i and y <= j for x, y in points) for i, j in itertools.product(range(6), repeat=2))
    assert dominated_area(np.array(points, dtype=float), (6, 6), (0, 0)) == pytest.approx(cells / 36)


def test_hypervolume_needs_two_objectives():
    corner, ideal = (1.0, 5.0), (0.5, 1.0)
    found = hypervolume(RUNS, corner, ideal, 1)
    assert found is not None
    assert found.mean == pytest.approx((0.1 * 3 + 0.3 * 4) / 2 / 2)
    assert hypervolume(Runs(RUNS.rewards, RUNS.objectives[:, :, :1]), corner[:1], ideal[:1], 4) is None
