"""Which widths a network has, and what ties them; the widths of published networks changed one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings

from search_spaces.arch import ArchSpec, BlockSpec, Stem
from search_spaces.arch_string import parse_arch
from search_spaces.edits import joined_blocks, one_layer_blocks, with_expansions
from search_spaces.graph import INPUT, Conv, Graph, Linear
from search_spaces.lower import lower
from search_spaces.module import Branches, Pool
from search_spaces.narrowing import StructureError, narrowed
from search_spaces.width_groups import ALL_KINDS, V3_KINDS, width_groups
from search_spaces.zoo import ZOO, get
from tests.strategies import PROPERTY, sized_archs


def flat(name):
    return one_layer_blocks(get(name))


def groups_of(arch, resolution=224):
    return {group.name: group for group in width_groups(lower(arch, resolution, 10)).groups}


def tied_layers(name):
    """Numbers of the layers whose outputs are tied, from 0 as the guide of the published tables counts them."""
    bottlenecks = [g for g in groups_of(flat(name)).values() if any(m.endswith(".project") for m in g.members)]
    return [[int(m[1:].split(".")[0]) - 1 for m in g.members if m.endswith(".project")] for g in bottlenecks]


def test_the_bottlenecks_of_mnasnet_a1_are_its_stages():
    assert tied_layers("mnasnet_a1") == [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9], [10, 11], [12, 13, 14], [15]]


def test_the_first_block_of_mobilenet_v3_is_tied_to_its_stem():
    assert tied_layers("mobilenet_v3_large") == [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9], [10, 11], [12, 13, 14]]
    stem = groups_of(flat("mobilenet_v3_large"))["stem"]
    assert (stem.kind, stem.members) == ("stem", ("stem", "b1.l1.depthwise", "b1.l1.project"))


def test_mnasnet_a1_has_22_widths_to_refine_and_24_with_its_ends():
    kinds = Counter(group.kind for group in groups_of(flat("mnasnet_a1")).values())
    assert kinds == {"stem": 1, "expansion": 15, "bottleneck": 7, "head": 1, "derived": 8, "classifier": 1}
    channels = width_groups(lower(flat("mnasnet_a1"), 224, 10))
    assert (len(channels.of_kinds(V3_KINDS)), len(channels.of_kinds(ALL_KINDS))) == (22, 24)


def test_equal_numbers_tie_nothing():
    skip, none = (parse_arch(f"stem_k3_s22_o16 r2_k3_s11_e2_i16_o16{word}") for word in ("", "_noskip"))
    assert groups_of(one_layer_blocks(skip))["stem"].members[-1] == "b2.l1.project"
    assert groups_of(one_layer_blocks(none))["stem"].members == ("stem",)
    assert groups_of(one_layer_blocks(none))["b1.l1.project"].members == ("b1.l1.project",)


def test_an_addition_to_a_concatenation_ties_each_branch_to_its_part():
    arch = parse_arch("stem_k3_s22_o8 branches_i8(k1_o8|k1_o16) r1_k3_s11_e2_i24_o24_se0.5")
    groups = groups_of(arch, 16)
    assert groups["b1.l1.branch1.1"].members == ("b1.l1.branch1.1", "b2.l1.project")
    assert groups["b1.l1.branch2.1"].members == ("b1.l1.branch2.1", "b2.l1.project")
    assert [groups[f"b1.l1.branch{n}.1"].width for n in (1, 2)] == [8, 16]
    narrow = narrowed(arch, groups.values(), {"b1.l1.branch2.1": 9})
    assert (narrow.blocks[0].out_channels, narrow.blocks[1].out_channels) == (17, 17)


def test_a_channel_that_is_put_out_twice_is_narrowed_twice():
    pools = Branches(
        8, ((Pool("max", 3, 1),), (Pool("average", 3, 1),))
    )  # the stem's channels, concatenated with themselves
    arch = ArchSpec((pools, BlockSpec(3, 1, 16, 16, op="conv")), Stem(8))
    stem = groups_of(arch, 16)["stem"]
    assert (stem.width, stem.members) == (8, ("stem", "b2.l1.conv", "b2.l1.conv"))
    narrow = narrowed(arch, groups_of(arch, 16).values(), {"stem": 4})
    assert (narrow.stem.channels, narrow.blocks[1].out_channels) == (4, 8)


def test_what_a_rule_derives_or_normalisation_couples_is_not_chosen():
    resnet, googlenet = groups_of(flat("resnet50")), groups_of(flat("googlenet"))
    assert (resnet["b2.l1.reduce"].kind, resnet["b2.l1.conv"].kind) == ("expansion", "derived")
    assert resnet["b2.l1.expand"].members == ("b2.l1.expand", "b2.l1.shortcut", "b3.l1.expand", "b4.l1.expand")
    assert (googlenet["stem"].kind, googlenet["b3.l1.conv"].kind) == ("local_norm", "bottleneck")
    with pytest.raises(ValueError, match=r"no width groups that can be chosen: b2\.l1\.conv"):
        narrowed(flat("resnet50"), resnet.values(), {"b2.l1.conv": 32})
    narrow = groups_of(narrowed(flat("resnet50"), resnet.values(), {"b2.l1.reduce": 32}))
    assert narrow["b2.l1.conv"].width == 32


def test_other_grouped_convolutions_are_refused():
    conv = Conv("stem", (INPUT,), (4, 8, 8), 4, (1, 1), 1, groups=2, bias=True, norm=None, activation="none")
    with pytest.raises(ValueError, match="stem: widths of a convolution in 2 groups"):
        width_groups(Graph((4, 8, 8), (conv,)))


@settings(PROPERTY, max_examples=30)
@given(sized_archs(max_width=20, span=4))
def test_groups_are_a_partition_of_all_channels(case):
    graph = lower(*case, 3, training=True)
    channels = width_groups(graph)
    members = {op.name for op in graph.ops if isinstance(op, Conv | Linear)}
    assert {name for group in channels.groups for name in group.members} == members
    ids = [channel for group in channels.groups for channel in group.channels]
    assert len(ids) == len(set(ids))
    for op in graph.ops:
        assert len(channels.of[op.name]) == op.shape[0]
        assert set(channels.of[op.name].tolist()) <= set(ids)
        if op.name in members:
            assert sum(group.width * group.members.count(op.name) for group in channels.groups) == op.shape[0]


@pytest.mark.parametrize("name", sorted(ZOO))
def test_one_width_changes_and_those_derived_from_it(name):
    arch = flat(name)
    groups = groups_of(arch)
    assert narrowed(arch, groups.values(), {}).key == arch.key
    chosen = [group for group in groups.values() if group.kind in ALL_KINDS]
    group = chosen[len(chosen) // 2]
    narrow = groups_of(narrowed(arch, groups.values(), {group.name: group.width - 1}))
    assert list(narrow) == list(groups)
    changed = {key for key in groups if narrow[key].width != groups[key].width and groups[key].kind != "derived"}
    assert changed == {group.name}


def test_the_five_widths_of_mobilenet_v3_large():
    arch = flat("mnasnet_a1")
    widths = dict(zip((2, 3, 8, 9, 10), (64, 72, 200, 184, 184), strict=True))
    narrow = narrowed(arch, groups_of(arch).values(), {f"b{n}.l1.expand": w for n, w in widths.items()})
    edited = with_expansions(get("mnasnet_a1"), {n - 1: w for n, w in widths.items()})
    assert str(joined_blocks(narrow)) == str(edited)


def test_expansions_stay_as_wide_as_they_are_when_the_bottleneck_narrows():
    arch = flat("mnasnet_a1")
    narrow = groups_of(narrowed(arch, groups_of(arch).values(), {"b7.l1.project": 72}))
    assert narrow["b8.l1.expand"].width == 480
    assert narrow["b11.l1.se.reduce"].width == 18  # a quarter of the layer's input


@pytest.mark.parametrize(
    ("text", "widths", "message"),
    [
        ("r1_k3_s11_e2_i32_o16", {"b1.l1.expand": 32}, "the expansion would widen nothing"),
        ("r1_k3_s11_b8_i32_o64", {"b1.l1.expand": 32}, "its shortcut would be identity, no longer projection"),
    ],
)
def test_a_width_that_would_change_the_structure_is_refused(text, widths, message):
    arch = parse_arch(text)
    with pytest.raises(StructureError, match=message):
        narrowed(arch, groups_of(arch, 32).values(), widths)


def test_widths_that_become_equal_make_no_skip_appear():
    arch = parse_arch("r1_k3_s11_e3_i32_o16")
    narrow = narrowed(arch, groups_of(arch, 32).values(), {"stem": 16})
    assert "b1.l1.add" not in {op.name for op in lower(narrow, 32, 10).ops}


def test_layers_that_share_a_block_are_refused():
    arch = get("mnasnet_a1")
    with pytest.raises(ValueError, match="one_layer_blocks"):
        narrowed(arch, groups_of(arch).values(), {})


def test_ids_are_those_of_tied_channels():
    channels = width_groups(lower(flat("mnasnet_a1"), 32, 10))
    add = channels.of["b3.l1.add"]
    assert np.array_equal(add, channels.of["b2.l1.project"])
    assert np.array_equal(add, channels.of["b3.l1.project"])
