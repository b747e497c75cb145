"""The benchmark on trained networks: its network is the published one, its judges find what is put into a table."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmarks.netadapt_channel_bench import (
    FULL,
    FULL_QUARTERS,
    adapted,
    at,
    compared,
    cost,
    index,
    judges,
    network,
    projected,
    quarters_of,
)
from nas.netadapt.selection import by_slope
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.narrowing import groups_of
from search_spaces.width_groups import ALL_KINDS

NOISE = 0.2
BASIS = (-3, -1, 1, 3)


def made_up(seed=0):
    """An accuracy that is lost with the first expansion and hardly with the other widths, and three noisy trainings."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(4)] * len(FULL), indexing="ij")
    truth = 90.0 + 0.5 * axes[1] + sum(0.01 * axis for axis in axes)
    return truth, truth[..., None] + NOISE * rng.standard_normal((*truth.shape, 3))


@pytest.mark.parametrize(
    ("digits", "macs", "params"),
    [("1111111", 14_285_312, 125_418), ("4444444", 211_281_920, 1_804_170), ("1234123", 37_928_448, 325_610)],
)
def test_it_is_the_network_of_the_table(digits, macs, params):
    """Figures of its columns ``flops`` and ``params``."""
    quarters = tuple(map(int, digits))
    counts = count(lower(network(quarters), 32, 10))
    assert (counts.macs, counts.params) == (macs, params)
    assert cost(network(quarters)) == macs
    assert quarters_of(network(quarters)) == quarters


def test_the_graph_has_the_tables_seven_widths():
    groups = [group for group in groups_of(network(FULL_QUARTERS)) if group.kind in ALL_KINDS]
    assert tuple(group.width for group in groups) == FULL
    assert groups[0].members == ("stem", "b1.l1.project", "b2.l1.project")


def test_projection_keeps_pairs_and_drops_triples():
    axes = np.meshgrid(*[np.array(BASIS, dtype=float)] * len(FULL), indexing="ij")
    pair, triple = axes[0] * axes[3] + axes[5], axes[1] * axes[2] * axes[4]
    smooth, number = projected((pair + triple)[..., None])
    assert number == 1 + 7 * 3 + 21 * 9
    np.testing.assert_allclose(smooth[..., 0], pair, atol=1e-9)


def test_judges_know_their_noise():
    truth, accuracies = made_up()
    by = judges(accuracies)
    assert by["raw"].training_sd == pytest.approx(NOISE, rel=0.02)
    error = (by["smooth"].accuracies - truth[..., None]).std()
    assert by["smooth"].training_sd == pytest.approx(error, rel=0.1)
    assert by["smooth"].common_sd < NOISE / 20


def test_netadapt_keeps_the_width_that_matters_and_is_above_what_costs_as_much():
    truth, accuracies = made_up()
    uniform = (2,) * len(FULL)
    target = cost(network(uniform))
    end = adapted(accuracies, [0, 1], "0.05L", target, by_slope)
    assert end.cost <= target
    assert at(end.arch)[1] == 4
    found = compared(judges(accuracies), "0.05L", "slope", uniform, [uniform, (3, 2, 1, 1, 1, 1, 1)])
    ends = [tuple(map(int, digits)) for digits in found["ends"]]
    gains = [truth[index(own)] - truth[index(uniform)] for own in ends]
    low, high = found["smooth"]["above_uniform"]["interval"]
    assert 0.5 < low < np.mean(gains) < high
    assert found["raw"]["above_random"]["interval"][0] > 0.5
