import math

import pytest
from scipy.stats import t as student

from nas.netadapt.final_network import FinalNetwork, Training
from nas.netadapt.network_difference import images_difference, trained_difference, unpaired_difference


def network(*correct, first_seed=0):
    trained = tuple(Training(seed, number) for seed, number in enumerate(correct, start=first_seed))
    return FinalNetwork("adapted", "", 1.0, None, 1, 1, 1000, None, trained)


def test_pairs_of_seeds_by_hand():
    """Differences 10, 20, 30 in 1000: mean 20, deviation 10, t of 2 degrees 4.302653."""
    found = trained_difference(network(810, 820, 830), network(800, 800, 800))
    half_width = 4.302653 * 0.010 / math.sqrt(3)
    assert found.mean == pytest.approx(0.020)
    assert found.interval == pytest.approx((0.020 - half_width, 0.020 + half_width), rel=1e-6)
    assert (found.over, found.number, found.verdict) == ("seeds", 3, "not told apart")


def test_what_the_seeds_share_does_not_widen():
    found = trained_difference(network(700, 760, 833), network(690, 751, 822))
    assert found.verdict == "better"
    turned = trained_difference(network(690, 751, 822), network(700, 760, 833))
    assert turned.verdict == "worse"
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_only_common_seeds_are_pairs():
    found = trained_difference(network(700, 800), network(790, 690, first_seed=1))
    assert (found.over, found.mean) == ("images", pytest.approx(0.010))
    assert trained_difference(network(700), network(790, first_seed=1)) is None
    assert trained_difference(network(), network(790)) is None


def test_trainings_that_no_seed_pairs_by_hand():
    """Means 820 and 810 of 1000, deviations 10 and 20, three each: Welch's error is sqrt(500 / 3), its degrees 2.941176."""
    found = unpaired_difference(network(810, 820, 830), network(790, 810, 830, first_seed=7))
    half_width = student.ppf(0.975, 2.9411764705882355) * math.sqrt(500 / 3) / 1000
    assert found.mean == pytest.approx(0.010)
    assert found.interval == pytest.approx((0.010 - half_width, 0.010 + half_width))
    assert (found.over, found.number, found.verdict) == ("trainings", 6, "not told apart")


def test_unpaired_with_little_to_go_by():
    assert unpaired_difference(network(700), network(790, 760, first_seed=1)).over == "images"
    assert unpaired_difference(network(), network(790)) is None
    exact = unpaired_difference(network(800, 800), network(700, 700))
    assert exact.interval == pytest.approx((0.1, 0.1))
    assert exact.verdict == "better"


def test_newcombe():
    """Newcombe 1998, table II, case (a), method 10: 56/70 and 48/80."""
    found = images_difference(56 / 70, 70, 48 / 80, 80)
    assert found.mean == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (found.over, found.number, found.verdict) == ("images", 70, "better")


def test_two_alike_are_not_told_apart():
    assert images_difference(0.0, 50, 0.0, 50).verdict == "not told apart"
    assert trained_difference(network(800), network(800)).verdict == "not told apart"
