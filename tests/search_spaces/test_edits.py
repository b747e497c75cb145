"""Edits: what each changes and leaves, what it needs, and that MnasNet-A1 becomes MobileNetV3-Large by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.arch import BlockSpec, SqueezeExcite
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.edits import (
    joined_blocks,
    minimalistic,
    one_layer_blocks,
    replayed,
    scaled,
    with_activation,
    with_efficient_last_stage,
    with_expansions,
    with_kernel,
    with_squeeze,
    with_squeeze_rule,
    with_stem_channels,
    without_squeeze,
)
from search_spaces.graph import Conv, Scale
from search_spaces.lower import lower
from search_spaces.module import Branches
from search_spaces.zoo import ZOO, get
from tests.strategies import PROPERTY, archs, least_resolution

A1 = get("mnasnet_a1")
GOOGLENET = get("googlenet")


def counted(arch):
    return count(lower(arch, 224, 1000))


def million(value):
    return round(value / 1e6, 1)


@PROPERTY
@given(archs())
def test_a_layer_a_block_and_back(arch):
    flat, joined = one_layer_blocks(arch), joined_blocks(arch)
    assert len(flat.blocks) == len(arch.layers())
    assert all(block.repeats == 1 for block in flat.blocks if isinstance(block, BlockSpec))
    assert flat.key == joined.key == arch.key
    assert (one_layer_blocks(flat), joined_blocks(joined)) == (flat, joined)
    assert joined_blocks(flat) == joined
    assert len(joined.blocks) <= len(arch.blocks)


@PROPERTY
@given(archs(max_width=32))
def test_they_lower_to_the_same_operations_in_training_too(arch):
    resolution = least_resolution(arch) + 3
    graph, flat, joined = (
        lower(a, resolution, 10, training=True) for a in (arch, one_layer_blocks(arch), joined_blocks(arch))
    )

    def unnamed(graph):
        positions = {op.name: str(position) for position, op in enumerate(graph.ops)} | {"input": "input"}
        return [replace(op, name="", inputs=tuple(positions[name] for name in op.inputs)) for op in graph.ops]

    assert unnamed(graph) == unnamed(flat) == unnamed(joined)
    assert graph.auxiliary == flat.auxiliary == joined.auxiliary


def test_what_an_auxiliary_head_reads_stays_the_end_of_a_block():
    arch = parse_arch("r2_k3_s11_conv_i32_o32 r1_k3_s11_conv_i32_o32 lrn aux_b1_w0.3_o8 aux_b3_w0.3_o8")
    assert [head.after for head in one_layer_blocks(arch).aux] == [2, 4]
    assert joined_blocks(one_layer_blocks(arch)) == arch
    assert len(joined_blocks(replace(arch, aux=arch.aux[1:])).blocks) == 2


def test_expansions():
    edited = with_expansions(A1, {1: 64, 2: 72})
    expanded = [layer.expanded_channels for layer in A1.layers()]
    expanded[1:3] = [64, 72]
    assert [layer.expanded_channels for layer in edited.layers()] == expanded
    assert str(edited).split()[1:3] == ["r1_k3_s22_e4_i16_o24", "r1_k3_s11_e3_i24_o24"]
    assert with_expansions(A1, {}) == A1
    assert with_expansions(A1, {1: 96, 2: 144}).key == A1.key
    assert with_expansions(A1, {1: 50}).layers()[1].expanded_channels == 50
    with pytest.raises(ValueError, match=r"no inverted residuals number \[16, 20\]: the network has 16"):
        with_expansions(A1, {20: 8, 1: 8, 16: 8})
    with pytest.raises(ValueError, match=r"no inverted residuals number \[0\]: the network has 0"):
        with_expansions(get("resnet50"), {0: 8})


def test_numbers_of_expansions_skip_other_blocks():
    arch = parse_arch("maxpool_k3_s22 r1_k3_s11_conv_i32_o32 r1_k3_s11_e6_i32_o32 lrn r2_k3_s11_e6_i32_o32")
    layers = with_expansions(arch, {2: 40}).layers()
    assert [layer.expanded_channels for layer in layers if hasattr(layer, "op")] == [32, 192, 192, 40]


def test_stem_channels():
    narrow = with_stem_channels(A1, 16)
    assert narrow.stem == replace(A1.stem, channels=16)
    assert str(narrow.blocks[0]) == str(replace(A1.blocks[0], in_channels=16, skip="identity"))  # 16 in, 16 out
    assert narrow.blocks[1:] == A1.blocks[1:]
    assert with_stem_channels(A1, 24).blocks[0].skip == "none"  # as it was
    stem32 = with_stem_channels(get("mobilenet_v3_large"), 32)
    assert stem32 == get("mobilenet_v3_large_stem32")
    assert stem32.layers()[0].skip == "none"
    assert with_stem_channels(get("inception_v3"), 32) == get("inception_v3")  # without padding there is no skip
    with pytest.raises(ValueError, match="the stem is not followed by a block of convolutions"):
        with_stem_channels(get("resnet50"), 32)


def test_efficient_last_stage():
    edited = with_efficient_last_stage(A1)
    assert edited.blocks == A1.blocks[:-1]
    assert edited.head == replace(A1.head, channels=960, hidden=1280)
    assert with_efficient_last_stage(get("mobilenet_v3_large_original_last_stage")) == get("mobilenet_v3_large")
    three = parse_arch("r3_k3_s11_e6_i32_o32 head_o64")
    assert str(with_efficient_last_stage(three)) == "r2_k3_s11_e6_i32_o32 head_o192_f64"


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "mobilenet_v1", "mobilenet_v3_large"])
def test_efficient_last_stage_needs_a_residual_and_a_wide_convolution(name):
    with pytest.raises(ValueError, match="replaces an inverted residual followed by a wide 1x1 convolution"):
        with_efficient_last_stage(get(name))


def test_squeeze_rule_changes_those_there_are():
    edited = with_squeeze_rule(A1, 0.5, "expansion")
    assert [block.se for block in edited.blocks] == [
        block.se and SqueezeExcite(0.5, "expansion") for block in A1.blocks
    ]
    assert with_squeeze_rule(get("mobilenet_v2"), 0.5, "expansion") == get("mobilenet_v2")
    module = parse_arch("branches_i32_se0.25(k1_o8|k1_o8)")
    assert str(with_squeeze_rule(module, 0.5, "gated")) == "branches_i32_gse0.5(k1_o8|k1_o8)"
    with pytest.raises(ValueError, match=r"squeeze-and-excitation ratio 2.0: must lie in \(0, 1\]"):
        with_squeeze_rule(A1, 2, "input")


@pytest.mark.parametrize("name", ZOO)
def test_squeeze_on_every_network(name):
    """On every layer that has a branch to put it on; without it again the network is as it was."""
    arch = get(name)
    edited = with_squeeze(arch, 0.25)
    for block, before in zip(edited.blocks, arch.blocks, strict=True):
        if isinstance(block, BlockSpec | Branches):
            assert block == replace(before, se=SqueezeExcite(0.25, before.se.rule if before.se else "gated"))
        else:
            assert block == before
    scales = [op for op in lower(edited, ZOO[name].resolution, 10).ops if isinstance(op, Scale)]
    assert len(scales) == sum(hasattr(layer, "squeezed_channels") for layer in arch.layers())
    bare = without_squeeze(edited)
    assert not any(isinstance(op, Scale) for op in lower(bare, ZOO[name].resolution, 10).ops)
    assert bare == without_squeeze(arch)
    if not any(isinstance(op, Scale) for op in lower(arch, ZOO[name].resolution, 10).ops):
        assert bare == arch


def test_squeeze_of_resnet_is_the_se_network():
    assert with_squeeze(get("resnet50"), 1 / 16) == get("se_resnet50")
    assert without_squeeze(get("se_resnet50")) == get("resnet50")


def test_activation_from_some_width_on():
    edited = with_activation(A1, "hswish", from_channels=80)
    assert [layer.activation for layer in edited.layers()] == ["relu"] * 6 + ["hswish"] * 10
    assert (edited.stem.activation, edited.head.activation) == ("hswish", "hswish")
    assert with_activation(with_activation(A1, "swish"), "relu") == A1
    everywhere = lower(with_activation(A1, "swish"), 64, 10).ops
    activations = {op.name.rpartition(".")[2]: op.activation for op in everywhere if isinstance(op, Conv)}
    assert activations == {
        **dict.fromkeys(["stem", "expand", "depthwise", "conv"], "swish"),
        "project": "none",
        "reduce": "relu",
        "gate": "sigmoid",
    }


def test_activation_splits_a_block_where_the_width_is_reached():
    arch = parse_arch("r2_k3_s11_e1_i32_o16 r1_k3_s11_e1_i16_o24 lrn branches_i24(k1_o8|k1_o8) r1_k3_s11_e1_i16_o16")
    edited = with_activation(arch, "hswish", from_channels=24)
    assert str(edited) == (
        "stem_k3_s22_o32_hswish r2_k3_s11_e1_i32_o16 r1_k3_s11_e1_i16_o24_hswish lrn "
        "branches_i24_hswish(k1_o8|k1_o8) r1_k3_s11_e1_i16_o16_hswish head_o1280_hswish"
    )


def test_kernel():
    edited = with_kernel(A1, 7)
    assert {layer.kernel for layer in edited.layers()} == {7}
    assert [replace(block, kernel=3) for block in edited.blocks] == [replace(block, kernel=3) for block in A1.blocks]
    assert with_kernel(GOOGLENET, 3).blocks[5:] == GOOGLENET.blocks[5:]  # modules have kernels of their own
    with pytest.raises(ValueError, match="kernel 4: must be odd and positive"):
        with_kernel(A1, 4)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_minimalistic(name):
    edited = minimalistic(get(name))
    assert edited == get(f"{name}_minimalistic")
    assert {(layer.kernel, layer.activation, layer.squeezed_channels) for layer in edited.layers()} == {(3, "relu", 0)}
    widths = [(layer.in_channels, layer.expanded_channels, layer.out_channels) for layer in get(name).layers()]
    assert [(layer.in_channels, layer.expanded_channels, layer.out_channels) for layer in edited.layers()] == widths


def test_scaled():
    double = scaled(get("mobilenet_v3_small"), 2.0)
    for layer, full in zip(double.layers(), get("mobilenet_v3_small").layers(), strict=True):
        assert (layer.in_channels, layer.out_channels) == (2 * full.in_channels, 2 * full.out_channels)
        assert layer.expanded_channels == 2 * full.expanded_channels
    assert (double.head.channels, double.head.hidden) == (2 * 576, 1024)
    other = scaled(get("mobilenet_v3_small"), 2.0, head_alpha=1.0, hidden_alpha=0.5)
    assert (other.head.channels, other.head.hidden) == (576, 512)
    exact = scaled(A1, 0.7, lambda width: int(width))
    assert [block.out_channels for block in exact.blocks] == [int(0.7 * block.out_channels) for block in A1.blocks]
    with pytest.raises(ValueError, match="the width multiplier is for plain, separable and inverted residual blocks"):
        scaled(parse_arch("maxpool_k3_s22 r1_k3_s11_e1_i32_o16"), 0.5)


@PROPERTY
@given(st.sampled_from([name for name in ZOO if ZOO[name].scale]), st.floats(0.05, 4))
def test_scaled_networks_chain_and_keep_the_rest(name, alpha):
    arch = ZOO[name].scale(alpha)
    kept = [(layer.op, layer.kernel, layer.stride, layer.activation, layer.gate) for layer in arch.layers()]
    assert kept == [
        (layer.op, layer.kernel, layer.stride, layer.activation, layer.gate) for layer in get(name).layers()
    ]
    assert all(layer.in_channels >= 8 and layer.out_channels >= 8 for layer in arch.layers())
    lower(arch, 32, 10)


EDITS = (
    lambda arch: with_expansions(arch, {1: 64, 2: 72, 7: 200, 8: 184, 9: 184}),
    with_efficient_last_stage,
    lambda arch: with_stem_channels(arch, 16),
    lambda arch: with_squeeze_rule(arch, 0.25, "expansion"),
    lambda arch: with_activation(arch, "hswish", from_channels=80),
)


def test_from_mnasnet_a1_to_mobilenet_v3_large():
    """arXiv 1905.02244, sections 4 to 6. The counts between are those of an independent counter; the paper prints 312 and
    217 M multiply-adds for the ends, -30 M for the last stage and -10 M for the stem."""
    history = replayed(A1, EDITS)
    counts = [counted(arch) for arch in (A1, *history)]
    assert [million(c.macs) for c in counts] == [311.6, 260.1, 225.8, 215.3, 216.6, 216.6]
    assert [round(c.params / 1e6, 2) for c in counts] == [3.89, 3.73, 4.23, 4.23, 5.48, 5.48]
    # 16 filters fewer in the stem, 3x3x3 and BN, in the first depthwise convolution, 3x3 and BN, and of 16 in its projection
    assert counts[2].params - counts[3].params == 16 * (27 + 2) + 16 * (9 + 2) + 16 * 16
    assert counts[4].params - counts[3].params == 1_254_314
    assert history[-1] == get("mobilenet_v3_large")
    assert history[-1].key == get("mobilenet_v3_large").key
    assert (counts[-1].macs, counts[-1].params) == (216_589_760, 5_483_032)


def test_the_order_of_independent_edits_does_not_matter():
    assert replayed(A1, EDITS[::-1])[-1].key == get("mobilenet_v3_large").key
    assert replayed(A1, ()) == []
