"""Proposals: those of MnasNet-A1 by multiply-adds, and what a staircase with a spike makes of a width."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.netadapt.cost import mac_cost
from nas.netadapt.plan import lowest
from nas.netadapt.proposal import GROUPS, narrowings, offer
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.narrowing import groups_of
from search_spaces.zoo import get
from tests.strategies import PROPERTY

A1 = one_layer_blocks(get("mnasnet_a1"))
MACS = mac_cost(224, 1000).cost
STEP = 0.01 * MACS(A1)

# Each width after the step of 1 % of the multiply-adds, layers numbered from 1.
EXPANSIONS = {2: (96, 80), 3: (144, 120), 4: (72, 40), 5: (120, 80), 6: (120, 80), 7: (240, 176), 8: (480, 384),
              9: (480, 384), 10: (480, 384), 11: (480, 400), 12: (672, 600), 13: (672, 568), 14: (960, 776),
              15: (960, 776), 16: (960, 824)}  # fmt: skip
BOTTLENECKS = {1: (16, 8), 2: (24, 16), 4: (40, 32), 7: (80, 72), 11: (112, 104), 13: (160, 144), 16: (320, 288)}
V3 = {f"b{n}.l1.expand": widths for n, widths in EXPANSIONS.items()} | {
    f"b{n}.l1.project": widths for n, widths in BOTTLENECKS.items()
}
EXPANSION = frozenset({"expansion"})
TINY = parse_arch("stem_k3_s22_o16 r1_k3_s22_x64_i16_o16 head_o16")


def widths(found):
    return {p.group: (p.before, p.after) for p in found.proposals}


def test_the_22_proposals_of_mnasnet_a1():
    found = offer(A1, MACS, STEP)
    assert widths(found) == V3
    assert found.infeasible == ()
    for proposal in found.proposals:
        assert MACS(proposal.arch) == proposal.cost == MACS(A1) - proposal.saving
        assert {g.name: g.width for g in groups_of(proposal.arch)}[proposal.group] == proposal.after


def test_with_stem_and_head_there_are_24():
    found = offer(A1, MACS, STEP, GROUPS["all"])
    assert widths(found) == V3 | {"stem": (32, 24), "head.conv": (1280, 1088)}
    assert [p.group for p in found.proposals][:2] == ["stem", "b1.l1.project"]
    assert found.proposals[-1].group == "head.conv"


def test_fourteen_steps_lead_to_64_72_and_192():
    arch = A1
    for name in [f"b{n}.l1.expand" for n, times in ((2, 2), (3, 3), (8, 3), (9, 3), (10, 3)) for _ in range(times)]:
        [proposal] = [p for p in offer(arch, MACS, STEP, EXPANSION).proposals if p.group == name]
        arch = proposal.arch
    found = {group.name: group.width for group in groups_of(arch)}
    assert [found[f"b{n}.l1.expand"] for n in (2, 3, 8, 9, 10)] == [64, 72, 192, 192, 192]


def priced(of_width, group="b1.l1.expand"):
    """A cost of one width alone."""
    return lambda arch: float(of_width[{g.name: g.width for g in groups_of(arch)}[group]])


def expansion(found):
    return [p for p in found.proposals if p.group == "b1.l1.expand"]


def test_a_cheap_wide_width_beyond_dear_narrow_ones_is_found():
    # 48 is a downward spike: a bisection, which expects costs to fall, would look between 32 and 8
    cost = priced({64: 10, 56: 10, 48: 7, 40: 9, 32: 8, 24: 6, 16: 6, 8: 5})  # 16 is the block's input
    [proposal] = expansion(offer(TINY, cost, 2.5))
    assert (proposal.after, proposal.saving) == (48, 3)


def test_channels_that_cost_nothing_are_kept():
    cost = priced({64: 10, 56: 8, 48: 8, 40: 8, 32: 8, 24: 8, 8: 8})
    [proposal] = expansion(offer(TINY, cost, 1.0))
    assert proposal.after == 56


def test_what_cannot_save_enough_is_named_with_the_most_that_it_saves():
    cost = priced({64: 10, 56: 11, 48: 9, 40: 9, 32: 12, 24: 9, 8: 10})
    found = offer(TINY, cost, 5.0)
    assert found.proposals == ()
    by_group = {group.group: group for group in found.infeasible}
    most = by_group["b1.l1.expand"].most
    assert (most.after, most.saving, found.most) == (48, 1, 1)
    assert by_group["b1.l1.project"].most.saving == 0


def test_widths_that_are_no_multiple_of_8_and_those_that_have_none_below():
    arch = parse_arch("stem_k3_s22_o8 r1_k3_s22_x30_i8_o6 head_o16")
    groups = {group.name: group for group in groups_of(arch)}
    cost = mac_cost(32, 10).cost
    found = [p.after for p in narrowings(arch, list(groups.values()), groups["b1.l1.expand"], cost, cost(arch))]
    assert found == [24, 16]  # 8 would be as wide as the input, and the expansion left out
    [thin] = [group for group in offer(arch, cost, 1.0).infeasible if group.group == "b1.l1.project"]
    assert (thin.width, thin.most) == (6, None)


@settings(PROPERTY, max_examples=40)
@given(st.lists(st.integers(1, 12), min_size=7, max_size=7), st.integers(1, 8))
def test_no_wider_width_saves_enough(costs, reduction):
    of_width = dict(zip((64, 56, 48, 40, 32, 24, 8), costs, strict=True))
    found = offer(TINY, priced(of_width), reduction)
    enough = [width for width, cost in of_width.items() if width < 64 and costs[0] - cost >= reduction]
    assert [p.after for p in expansion(found)] == enough[:1]


def test_the_lowest_cost_is_that_of_the_narrowest_network():
    cost = mac_cost(32, 10).cost
    assert lowest(TINY, cost, GROUPS["all"]) == cost(parse_arch("stem_k3_s22_o8 r1_k3_s22_x16_i8_o8 head_o8"))
    assert lowest(TINY, cost, GROUPS["v3"]) == cost(parse_arch("stem_k3_s22_o16 r1_k3_s22_x8_i16_o8 head_o16"))


def test_the_lowest_cost_of_a_staircase_is_its_lowest_tread():
    cost = priced({64: 10, 56: 12, 48: 7, 40: 9, 32: 8, 24: 6, 8: 9})
    assert lowest(TINY, cost, GROUPS["v3"]) == pytest.approx(6)
