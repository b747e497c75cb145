"""Networks that start from their parent's activations: bit for bit what the whole computation gives."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache
from math import prod

import pytest
import torch

from nas import bn_recalibration
from nas.bn_recalibration import recalibrate
from nas.image_set import ImageSet
from nas.netadapt import outcomes as outcomes_module
from nas.netadapt.activations import Activations, scored
from nas.netadapt.outcomes import outcomes
from nas.netadapt.weighted_network import WeightedNetwork
from search_spaces import zoo
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.narrowing import groups_of, narrowed
from search_spaces.torch_module import build_module
from search_spaces.width_groups import ALL_KINDS

NUM_CLASSES = 5
PLENTY = 2**30
ARCHS = {
    "inverted": "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k5_s22_e3_i24_o40_se0.25 r1_k3_s11_e2_i40_o64 head_o64",
    "residual": "stem_k7_s22_o16 maxpool_k3_s22 r2_k3_s11_b8_i16_o32 r2_k3_s22_b16_i32_o64_gse0.25 head_noconv_d0",
    "plain": "stem_k3_s22_o8 r2_k3_s11_conv_i8_o8 r2_k3_s22_dwsep_i8_o16_poolskip head_o32_f24_hswish_d0.5",
    "branches": (
        "stem_k3_s22_o8 branches_i8(k1_o8|k1_o8,(k1x3_o8|k3x1_o8)|maxpool_k3_s11,k1_o8) r1_k3_s11_b8_i32_o32 head_noconv_d0"
    ),
}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(bn_recalibration, "BATCH", 8)
    monkeypatch.setattr(outcomes_module, "EVALUATION_BATCH", 16)


def images(count, seed, resolution=32):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, resolution, resolution), dtype=torch.uint8, generator=generator)
    labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
    return ImageSet(pixels.contiguous(memory_format=torch.channels_last), labels, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


CALIBRATION, HOLDOUT = images(21, 0), images(37, 1)


@cache
def network(name):
    """Of random weights, no gamma of which is zero, and with statistics that are none of these images'."""
    arch = one_layer_blocks(parse_arch(ARCHS[name]) if name in ARCHS else zoo.get(name))
    module = build_module(lower(arch, 32, NUM_CLASSES), 0)
    generator = torch.Generator().manual_seed(2)
    for key, tensor in module.state_dict().items():
        if key.endswith(("norm.weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif key.endswith(("bias", "running_mean")):
            tensor.normal_(generator=generator)
    return WeightedNetwork.of(arch, module)


def narrower(parent):
    """Name of a group -> the parent with that width alone narrowed, for all that may be."""
    groups = groups_of(parent.arch)
    return {
        group.name: parent.narrowed(narrowed(parent.arch, groups, {group.name: group.width * 5 // 8}))
        for group in groups
        if group.kind in ALL_KINDS and group.width > 2
    }


def position_of(net, prefix):
    return next(index for index, op in enumerate(net.graph.ops) if op.name.startswith(prefix))


def assert_exact(child, start, signal="probability"):
    module = child.module()
    recalibrate(module, CALIBRATION, len(CALIBRATION))
    expected = outcomes(module, HOLDOUT, signal)
    found, got = scored(child, start, signal)
    assert got.tolist() == expected.tolist()
    state = module.state_dict()
    assert list(found.state) == list(state)
    assert [name for name, tensor in found.state.items() if not torch.equal(tensor, state[name])] == []
    assert found.arch == child.arch


@pytest.mark.parametrize("name", ARCHS)
def test_every_width_gives_what_the_whole_computation_gives(name):
    parent = network(name)
    activations = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY)
    starts = set()
    for child in narrower(parent).values():
        start = activations.start(child.graph)
        starts.add(start.position)
        assert_exact(child, start)
    assert len(starts) >= 3  # or nothing was compared with anything else


@pytest.mark.parametrize("group", ["b1.l1.se.gate", "b3.l1.expand", "b4.l1.project", "b9.l1.expand", "head.hidden"])
def test_a_published_network_early_in_the_middle_and_late(group):
    parent = network("mobilenet_v3_small")
    groups = groups_of(parent.arch)
    own = next(g for g in groups if group in g.members or group == g.name)
    child = parent.narrowed(narrowed(parent.arch, groups, {own.name: 8}))
    activations = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY)
    for signal in ("accuracy", "probability"):
        assert_exact(child, activations.start(child.graph), signal)


def test_a_start_is_the_last_end_of_a_block_before_the_first_narrower_output():
    parent = network("inverted")
    children = narrower(parent)
    activations = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY)
    blocks = {
        "stem": "stem",
        "b1.l1.project": "b1.",
        "b2.l1.expand": "b2.",
        "b2.l1.project": "b2.",  # tied to block 3 by its skip
        "b4.l1.expand": "b4.",
        "b4.l1.project": "b4.",  # tied to blocks 5 and 6
        "b6.l1.expand": "b6.",
        "head.conv": "head.",
    }
    for group, block in blocks.items():
        first = 0 if block == "stem" else position_of(parent, block)
        assert activations.start(children[group].graph).position == first, group


def test_those_that_begin_at_the_same_place_share_their_start():
    parent = network("inverted")
    children = narrower(parent)
    activations = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY)
    one, other = (activations.start(children[f"b4.l1.{part}"].graph) for part in ("expand", "project"))
    assert one is other


def test_the_parent_itself_has_been_computed_already():
    parent = network("inverted")
    start = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY).start(parent.graph)
    assert start.position == len(parent.graph.ops)
    assert_exact(parent, start)


def test_nothing_before_the_start_is_run_again():
    """What is before it may be anything: only the statistics are taken over."""
    parent = network("inverted")
    child = narrower(parent)["b4.l1.expand"]
    start = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY).start(child.graph)
    nonsense = {
        name: torch.full_like(tensor, 7) if name.startswith(("stem.", "b1.", "b2.", "b3.")) else tensor
        for name, tensor in child.state.items()
    }
    expected, got = scored(child, start, "probability"), scored(replace(child, state=nonsense), start, "probability")
    assert got[1].tolist() == expected[1].tolist()


def num_bytes(starts):
    """Of each, of its activations."""
    return [
        sum(tensor.nbytes for batch in (*start.calibration, *start.holdout) for tensor in batch.values())
        for start in starts
    ]


def test_memory_is_kept_to_and_what_is_left_out_changes_nothing():
    parent = network("inverted")
    children = narrower(parent)
    _, *everything = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY).starts
    sizes = num_bytes(everything)
    assert sum(sizes) > 0
    for max_bytes in (0, sum(sizes[-3:]), sum(sizes[-3:]) - 1, sum(sizes) - 1, sum(sizes)):
        activations = Activations.of(parent, CALIBRATION, HOLDOUT, max_bytes)
        beginning, *kept = activations.starts
        assert beginning.position == 0
        assert sum(num_bytes(kept)) <= max_bytes
        left = max_bytes
        expected = []
        for start, size in reversed(list(zip(everything, sizes, strict=True))):
            if size <= left:
                expected.insert(0, start.position)
                left -= size
        assert [start.position for start in kept] == expected
        for group in ("stem", "b4.l1.project", "head.conv"):
            assert_exact(children[group], activations.start(children[group].graph))


def test_one_end_of_each_block_is_kept_with_what_is_alive_there():
    parent = network("residual")
    starts = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY).starts
    names = [parent.graph.ops[start.position].name for start in starts[:-1]]
    assert [name.split(".")[0] for name in names] == ["stem", "b1", "b2", "b3", "b4", "b5", "head", "classifier"]
    assert [list(start.holdout[0]) for start in starts[1:4]] == [["stem"], ["b1.l1.pool"], ["b2.l1.add"]]
    shapes = {op.name: op.shape for op in parent.graph.ops}
    for start in starts[1:]:
        for batch in start.holdout:
            for name, tensor in batch.items():
                assert prod(tensor.shape[1:]) == prod(shapes[name])


def test_the_parent_stays_as_it_is():
    parent = network("inverted")
    before = {name: tensor.clone() for name, tensor in parent.state.items()}
    activations = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY)
    child = narrower(parent)["b4.l1.expand"]
    start = activations.start(child.graph)
    kept = {name: tensor.clone() for name, tensor in child.state.items()}
    first = scored(child, start, "probability")[1]
    assert scored(child, start, "probability")[1].tolist() == first.tolist()  # nor has a start changed
    assert all(torch.equal(tensor, before[name]) for name, tensor in parent.state.items())
    assert all(torch.equal(tensor, kept[name]) for name, tensor in child.state.items())


@pytest.mark.parametrize("group", ["stem", "b4.l1.expand", "head.conv"])
def test_it_can_be_done_in_another_process(group):
    parent = network("inverted")
    child = narrower(parent)[group]
    start = Activations.of(parent, CALIBRATION, HOLDOUT, PLENTY).start(child.graph)
    there = pickle.loads(pickle.dumps((child, start)))
    assert_exact(child, start)
    assert_exact(*there)


def test_images_that_score_change_no_statistic():
    parent = network("inverted")
    child = narrower(parent)["b4.l1.expand"]
    found = [
        scored(child, Activations.of(parent, CALIBRATION, holdout, PLENTY).start(child.graph), "accuracy")[0].state
        for holdout in (HOLDOUT, images(19, 3))
    ]
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_other_networks_are_refused():
    activations = Activations.of(network("plain"), CALIBRATION, HOLDOUT, 0)
    with pytest.raises(ValueError, match="other operations"):
        activations.start(network("inverted").graph)
