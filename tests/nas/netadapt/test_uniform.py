"""The uniform width multiplier: the widest network of the grid within the target, of the seed's operations."""

from __future__ import annotations

from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.netadapt.cost import mac_cost
from nas.netadapt.uniform import NoMultiplierError, bisected, multiplied, uniform
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.narrowing import StructureError, groups_of
from search_spaces.slicing import check_narrower
from search_spaces.width_groups import ALL_KINDS
from search_spaces.zoo import ZOO, get
from tests.strategies import PROPERTY, archs

SMALL = parse_arch("stem_k3_s22_o32 r1_k3_s11_e1_i32_o16 r2_k3_s22_e6_i16_o24 r1_k3_s22_x64_i24_o40_se0.25 head_o64")
MACS = mac_cost(32, 10).cost


BUMPY = [number + 9 * (number % 3) for number in range(1, 101)]
"""Costs of the multipliers 0.01, 0.02, ... 1, up and down."""


@cache
def of_the_grid(hundredths):
    return multiplied(SMALL, hundredths / 100)


def widths(arch):
    return {group.name: group.width for group in groups_of(one_layer_blocks(arch)) if group.kind in ALL_KINDS}


@cache
def costs_of_the_grid():
    """Of the multipliers 0.01, 0.02, ... 1."""
    return [MACS(multiplied(SMALL, hundredths / 100)) for hundredths in range(1, 101)]


def test_mobilenet_v1_and_its_published_halves():
    """Its table's networks are uniform multipliers of it: all widths are multiples of 8 there (arXiv 1704.04861)."""
    seed = get("mobilenet_v1")
    for multiplier in (0.75, 0.5, 0.25):
        expected = {name: int(multiplier * width) for name, width in widths(seed).items()}
        assert widths(multiplied(seed, multiplier)) == expected


def test_widths_of_mnasnet_a1_at_three_quarters():
    found = widths(multiplied(get("mnasnet_a1"), 0.75))
    assert [found[name] for name in ("stem", "b1.l1.project", "b2.l1.expand", "b4.l1.expand", "head.conv")] == [
        24,  # 32
        16,  # 16: 12, halves up
        72,  # 96
        56,  # 72: 54
        960,  # 1280
    ]
    assert found["b2.l1.project"] == 24  # 24: 18 would be 16, below 90 %


@settings(PROPERTY, max_examples=15)
@given(st.floats(0.3, 1.0))
def test_it_is_the_largest_of_the_grid_within_the_target(share):
    target = share * MACS(SMALL)
    found = uniform(SMALL, MACS, target)
    assert found.cost == MACS(found.arch) <= target * (1 + 1e-9)
    assert found.arch == multiplied(SMALL, found.multiplier)
    hundredths = round(found.multiplier * 100)
    assert found.multiplier == hundredths / 100
    assert all(cost > target for cost in costs_of_the_grid()[hundredths:])


@settings(PROPERTY, max_examples=15)
@given(st.floats(0.3, 1.0), st.floats(0.8, 1.25))
def test_by_bisection_the_next_larger_one_is_above_the_target(share, about):
    asked, target = [], share * MACS(SMALL)

    def cost(arch):
        asked.append(arch)
        return MACS(arch)

    found = bisected(SMALL, cost, target, about * MACS(SMALL))  # about as well as one knows it
    assert found == uniform(SMALL, MACS, target)  # multiply-adds grow with the multiplier
    assert len(asked) <= 8  # of a hundred


def test_by_bisection_of_a_cost_that_is_not_monotone():
    costs = dict(zip(map(of_the_grid, range(1, 101)), BUMPY, strict=True))
    target = 60.0
    found = bisected(SMALL, costs.__getitem__, target, costs[of_the_grid(100)])
    assert found.cost == costs[found.arch] <= target
    wider = next(
        arch for place in range(round(100 * found.multiplier), 101) if (arch := of_the_grid(place)) != found.arch
    )
    assert costs[wider] > target


@pytest.mark.parametrize("way", [uniform, partial(bisected, seed_cost=MACS(SMALL))])
def test_a_target_out_of_reach_has_no_multiplier(way):
    with pytest.raises(NoMultiplierError, match="no uniform width multiplier comes down to 1"):
        way(SMALL, MACS, 1.0)


@settings(PROPERTY, max_examples=60)
@given(archs(max_width=100, max_blocks=3), st.floats(0.01, 1.0))
def test_of_any_network_and_multiplier(seed, multiplier):
    try:
        narrow = multiplied(seed, multiplier)
    except StructureError:
        return
    own = widths(seed)
    for name, width in widths(narrow).items():
        assert width <= own[name]
        assert width % 8 == 0 or width == own[name]
        assert width >= min(own[name], 8, multiplier * own[name])
    check_narrower(lower(one_layer_blocks(seed), 1024, 10), lower(narrow, 1024, 10))


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_network_of_the_zoo_has_one(name):
    seed = one_layer_blocks(get(name))
    cost = mac_cost(ZOO[name].resolution, 1000).cost
    found = uniform(seed, cost, 0.8 * cost(seed))
    assert 0.8 < found.multiplier < 1  # multiply-adds fall faster than widths, and slower than their squares
    assert 0.7 * cost(seed) < found.cost
    check_narrower(lower(seed, 1024, 10), lower(found.arch, 1024, 10))


def test_an_expansion_steps_aside_rather_than_vanish():
    seed = parse_arch("stem_k3_s22_o16 r1_k3_s22_x32_i16_o32 head_o16")
    found = widths(multiplied(seed, 0.1))
    assert found == {"stem": 8, "b1.l1.expand": 16, "b1.l1.project": 8, "head.conv": 8}


def test_multipliers_without_a_network_are_left_out():
    """ResNet's first projection: its widths would be equal at 0.03 and below, as 8 is the narrowest."""
    seed = parse_arch("stem_k7_s22_o64 r1_k3_s11_bv64_i64_o256 head_noconv_d0")
    with pytest.raises(StructureError, match="no longer projection"):
        multiplied(seed, 0.03)
    tried = []
    with pytest.raises(ValueError, match=r"comes down to 2: the lowest cost is 3, at 0\.04$"):
        uniform(seed, lambda arch: tried.append(arch) or 100 - len(tried), 2)
    assert tried == [multiplied(seed, hundredths / 100) for hundredths in range(100, 3, -1)]


def test_a_staircase_with_a_cheap_wide_tread():
    """48 is cheaper than 40 and 32: a bisection, which expects costs to fall, might miss it."""
    seed = parse_arch("stem_k3_s22_o16 r1_k3_s22_x64_i16_o16 head_o16")
    price = {64: 10, 56: 9, 48: 5, 40: 8, 32: 7, 24: 4}
    found = uniform(seed, lambda arch: price[widths(arch)["b1.l1.expand"]], 5.0)
    assert widths(found.arch)["b1.l1.expand"] == 48
    assert found.multiplier == 0.81  # 51.84; from 0.8125 on 52 is rounded to 56


def test_a_target_that_the_seed_meets_is_the_seed():
    found = uniform(SMALL, MACS, MACS(SMALL))
    assert (found.multiplier, found.arch) == (1.0, one_layer_blocks(SMALL))


def test_out_of_reach():
    with pytest.raises(
        ValueError, match=r"no uniform width multiplier comes down to 10: the lowest cost is \d+, at 0\.\d+"
    ):
        uniform(SMALL, MACS, 10)
