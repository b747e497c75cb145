from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.variation import drawn, first_unknown, mutated, unknown_near

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_a_mutation_changes_one_decision_where_one_can_be_changed(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = drawn(sizes, rng)
    child = mutated(parent, sizes, rng)
    assert all(0 <= option < k for option, k in zip(child, sizes, strict=True))
    assert sum(a != b for a, b in zip(parent, child, strict=True)) == (max(sizes) > 1)


def test_mutations_are_uniform_over_decisions_and_then_over_options() -> None:
    rng = np.random.default_rng(0)
    children = [mutated((0, 0, 2), (2, 1, 3), rng) for _ in range(2000)]
    # binomial(2000, 1/2) and (2000, 1/4): deviations of 22 and 19; five of them, odds of a false failure below 1e-5
    assert abs(children.count((1, 0, 2)) - 1000) < 112
    assert abs(children.count((0, 0, 0)) - 500) < 97
    assert abs(children.count((0, 0, 1)) - 500) < 97


@settings(deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 1000), data=st.data())
def test_a_step_leads_to_an_unknown_neighbour_if_there_is_one(sizes: list[int], seed: int, data: st.DataObject) -> None:
    everything = list(itertools.product(*map(range, sizes)))
    known = data.draw(st.sets(st.sampled_from(everything)))
    start = data.draw(st.sampled_from(everything))
    found = unknown_near(start, sizes, known, np.random.default_rng(seed))
    near = [c for c in everything if sum(a != b for a, b in zip(c, start, strict=True)) <= 1 and c not in known]
    assert found in everything
    if start not in known:
        assert found == start
    elif near:
        assert found in near
    elif len(known) == len(everything):
        assert found == start


def test_steps_go_on_where_all_neighbours_are_known() -> None:
    sizes = (4, 4, 4)
    known = {c for c in itertools.product(*map(range, sizes)) if sum(x != 0 for x in c) <= 1}
    for seed in range(20):
        assert unknown_near((0, 0, 0), sizes, known, np.random.default_rng(seed)) not in known


def test_first_unknown() -> None:
    assert first_unknown([(0,), (1,), (2,)], {(0,)}) == (1,)
    assert first_unknown([(0,), (1,)], {(0,), (1,)}) == (1,)
