"""Fronts and hypervolumes of frames, against their definitions."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import hypervolume, pareto_front
from tests.strategies import PROPERTY

POINTS = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), max_size=12)


def frame(points):
    points = [(ms, eighths / 8) for ms, eighths in points]
    return pd.DataFrame(points, columns=["latency_ms", "accuracy"], dtype=float)


@PROPERTY
@given(POINTS)
def test_the_front_is_what_nothing_beats(points):
    found = pareto_front(frame(points))
    beats = [[a[0] <= b[0] and a[1] >= b[1] and a != b for a in points] for b in points]
    best = {point for point, beaten in zip(points, beats, strict=True) if not any(beaten)}
    assert [(int(row.latency_ms), round(8 * row.accuracy)) for row in found.itertuples()] == sorted(best)
    assert all(points.index(points[index]) == index for index in found.index)


def test_what_is_missing_is_on_no_front():
    trials = pd.DataFrame({"latency_ms": [math.nan, 2.0, math.inf, 3.0], "accuracy": [1.0, math.nan, 1.0, 0.1]})
    assert list(pareto_front(trials).index) == [3]


def test_fronts_of_several_runs():
    both = pd.concat({"a": frame([(1, 2), (3, 4)]), "b": frame([(2, 3), (4, 4)])}, names=["run", "row"])
    assert list(pareto_front(both).index) == [("a", 0), ("b", 0), ("a", 1)]


@PROPERTY
@given(POINTS)
def test_hypervolume_counts_dominated_squares(points):
    trials = frame(points)
    dominated = [
        any(ms <= column and accuracy >= row for ms, accuracy in points) for column in range(8) for row in range(1, 9)
    ]
    assert hypervolume(trials, latency_ms=(0, 8)) == pytest.approx(np.mean(dominated))


def test_hypervolume_of_a_narrower_rectangle():
    trials = frame([(2, 4)])
    assert hypervolume(trials, latency_ms=(0, 4)) == pytest.approx(0.25)
    assert hypervolume(trials, latency_ms=(2, 4), accuracy=(0.25, 0.5)) == pytest.approx(1.0)
    assert hypervolume(trials, latency_ms=(0, 4), accuracy=(0.5, 1.0)) == 0.0


def test_what_is_missing_dominates_nothing():
    trials = pd.DataFrame({"latency_ms": [math.nan, 2.0], "accuracy": [1.0, math.nan]})
    assert hypervolume(trials, latency_ms=(0, 8)) == 0.0


@pytest.mark.parametrize("ranges", [{"latency_ms": (3, 3)}, {"latency_ms": (0, 1), "accuracy": (1.0, 0.0)}])
def test_an_empty_rectangle(ranges):
    with pytest.raises(ValueError, match="must be a smaller and a greater number"):
        hypervolume(frame([(1, 1)]), **ranges)


def test_columns_that_are_not_there():
    with pytest.raises(KeyError, match="latency_ms"):
        pareto_front(pd.DataFrame({"accuracy": [0.5]}))
