from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.controller import Controller, Outcome
from controllers.domination import crowding_distances, non_dominated_ranks
from controllers.nsga2 import PRESETS, NSGA2Config, NSGA2Controller, objective_rows, survivors
from controllers.random_search import RandomController
from search_spaces.choice import Choice

VALUES = st.integers(0, 6).map(float) | st.just(math.inf)  # few, so that ties are common


@given(st.integers(1, 3).flatmap(lambda m: st.lists(st.lists(VALUES, min_size=m, max_size=m), min_size=1, max_size=14)))
def test_ranks_against_brute_force(rows: list[list[float]]) -> None:
    def dominates(one: list[float], other: list[float]) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and one != other

    ranks, left, rank = [-1] * len(rows), set(range(len(rows))), 0
    while left:
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left -= front
        rank += 1
    assert non_dominated_ranks(np.array(rows)).tolist() == ranks


def test_no_candidates_have_no_ranks() -> None:
    assert non_dominated_ranks(np.zeros((0, 2))).tolist() == []
    assert survivors([], 3) == []


def test_crowding_by_hand() -> None:
    # Ranges 8 and 4. Second: (4 - 0) / 8 + (4 - 1) / 4; third: (8 - 1) / 8 + (3 - 0) / 4.
    front = np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 1.0], [8.0, 0.0]])
    assert crowding_distances(front).tolist() == [math.inf, 4 / 8 + 3 / 4, 7 / 8 + 3 / 4, math.inf]
    order = [2, 0, 3, 1]
    assert crowding_distances(front[order]).tolist() == crowding_distances(front)[order].tolist()


def test_crowding_where_there_is_no_range() -> None:
    assert crowding_distances(np.array([[1.0, 2.0]])).tolist() == [math.inf]
    assert crowding_distances(np.ones((4, 2))).tolist() == [math.inf, 0.0, 0.0, math.inf]
    beside_infinity = crowding_distances(np.array([[0.0], [1.0], [math.inf]]))
    assert beside_infinity.tolist() == [math.inf, 0.0, math.inf]


def test_what_was_not_told_is_the_worst() -> None:
    outcomes = [Outcome(0.5), Outcome(0.1, (1.0, 2.0)), Outcome(0.2, (3.0,))]
    assert objective_rows(outcomes).tolist() == [[-0.5, math.inf], [1.0, 2.0], [3.0, math.inf]]


def test_survivors_are_whole_fronts_and_of_the_last_the_least_crowded() -> None:
    points = {
        (0,): (0.0, 4.0),
        (1,): (1.0, 3.0),
        (2,): (4.0, 1.0),
        (3,): (8.0, 0.0),
        (4,): (9.0, 9.0),
        (5,): (0.5, 5.0),
    }
    members = [(candidate, Outcome(0.0, values)) for candidate, values in points.items()]
    best_first = [candidate for candidate, _ in survivors(members, 6)]
    assert best_first == [(0,), (3,), (2,), (1,), (5,), (4,)]  # ends first; (5,) is behind (0,), (4,) behind all
    assert [candidate for candidate, _ in survivors(members, 3)] == [(0,), (3,), (2,)]


CHOICES = [Choice(f"d{t}", tuple(range(5))) for t in range(10)]


def hypervolume(controller: Controller, fails: bool) -> float:
    """Area that 600 candidates dominate, of two sums that pull apart; every candidate of 0s and 4s is on the front."""
    points = []
    for i in range(600):
        suggestion = controller.ask()
        if fails and i % 3 == 1:
            controller.tell(suggestion, Outcome(0.0, failed=True))
            continue
        taken = [int(x) for x in suggestion.choices.values()]
        points.append((float(sum(x * x for x in taken)), float(sum((4 - x) ** 2 for x in taken))))
        controller.tell(suggestion, Outcome(0.0, points[-1]))
    area, lowest = 0.0, 161.0
    for x, y in sorted(points):
        area += (161.0 - x) * max(lowest - y, 0.0)
        lowest = min(lowest, y)
    return area


@pytest.mark.parametrize("fails", [False, True])
def test_the_front_is_wider_than_that_of_random_search(fails: bool) -> None:
    random = [hypervolume(RandomController(CHOICES, seed), fails) for seed in range(20)]
    found = np.mean([hypervolume(NSGA2Controller(CHOICES, seed, PRESETS["fast"]), fails) for seed in range(5)])
    # Random search has a mean of 5 that is 5 of its own deviations above its mean with odds below 1e-6.
    assert found > np.mean(random) + 5 * np.std(random) / 5**0.5


def test_a_failed_trial_is_no_parent() -> None:
    config = NSGA2Config(
        population_size=8, num_initial=2, generation_size=1, crossover_probability=0.0, num_mutations=0.0
    )
    controller = NSGA2Controller(CHOICES, 0, config)
    good, bad = controller.ask(), controller.ask()
    controller.tell(bad, Outcome(1e9, (-1e9, -1e9), failed=True))
    controller.tell(good, Outcome(0.0, (1.0, 1.0)))
    for _ in range(10):  # copies of the one parent, moved on to unknown neighbours
        child = controller.ask()
        assert sum(child.choices[name] != option for name, option in good.choices.items()) == 1
