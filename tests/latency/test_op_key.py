"""Keys print and parse back, reach no further than a layer, and tell apart what a runtime may treat differently."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from latency.op_key import OpKey, op_keys
from search_spaces.arch import Norm
from search_spaces.arch_string import parse_arch
from search_spaces.graph import INPUT, Conv, Graph, Op
from search_spaces.lower import lower, lower_block, lower_head
from search_spaces.zoo import ZOO
from tests.strategies import PROPERTY, sized_archs


def keys_of(text, resolution=32):
    graph = lower(parse_arch(text), resolution, 10)
    return {op.name: str(key) for op, key in zip(graph.ops, op_keys(graph), strict=True)}


@PROPERTY
@given(sized_archs())
def test_print_and_parse_back(sized):
    arch, resolution = sized
    for key in op_keys(lower(arch, resolution, 10)):
        assert OpKey.parse(str(key)) == key


@pytest.mark.parametrize("name", ZOO)
def test_keys_of_published_networks(name):
    """Each operation has one, and what it says of widths and sizes is what the graph says."""
    graph = lower(ZOO[name].arch, 97, 10)
    shapes = {INPUT: graph.input_shape, **{op.name: op.shape for op in graph.ops}}
    for op, key in zip(graph.ops, op_keys(graph), strict=True):
        assert OpKey.parse(str(key)) == key
        assert key.out_channels == op.shape[0]
        if key.kind != "linear":
            assert (key.height, key.width) == shapes[op.inputs[0]][1:]
            assert key.in_channels == sum(shapes[i][0] for i in (op.inputs if key.kind == "concat" else op.inputs[:1]))


def test_grouped_convolution_keeps_its_groups():
    conv = Conv("c", (INPUT,), (16, 8, 8), 8, (3, 3), 1, 4, False, Norm(), "relu")
    (key,) = op_keys(Graph((8, 8, 8), (conv,)))
    assert str(key) == "grouped 8->16 k3 s1 g4 @8x8 relu"
    assert OpKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pointwise 96->24 k1 s1 @56x56",
        "pointwise 96->24 k1 s1 @56x56 none >add ",
        "pointwise 096->24 k1 s1 @56x56 none",
        "pointwise 0->24 k1 s1 @56x56 none",
        "pointwise 96->24 k1 s1 g1 @56x56 none",
        "dense 96->24 k1 s1 @56x56 none",
        "pointwise 96->24 k1 s1 @56x56 silu",
        "pointwise 96->24 k1 s1 @56x56 none >mul",
        "conv 96->24 k3x3 s1 @56x56 none",
        "conv 96->24 k3x s1 @56x56 none",
        "conv 96->24 k3 s1 same @56x56 none",
        "conv 96->24 k3 s1 valid g2 @56x56 none",
        "pool 96->96 k3 s2 @56x56 none",
    ],
)
def test_parsing_is_strict(text):
    with pytest.raises(ValueError, match="expected the form 'pointwise 96->24"):
        OpKey.parse(text)


def test_a_pooling_that_comes_before_a_layer_is_not_its_shortcut():
    keys = keys_of("stem_k3_s22_o16 avgpool_k3_s11 r1_k3_s11_e6_i16_o16 head_o64")
    assert keys["b2.l1.project"] == "pointwise 96->16 k1 s1 @16x16 none >add"
    assert keys["b2.l1.add"] == keys_of("stem_k3_s22_o16 r1_k3_s11_e6_i16_o16 head_o64")["b1.l1.add"]


def test_inverted_residual_with_squeeze_and_excite():
    keys = keys_of("stem_k3_s22_o16 r2_k3_s11_e6_i16_o16_se0.25 head_o64")
    assert keys["stem"] == "conv 3->16 k3 s2 @32x32 relu"
    assert keys["b1.l1.expand"] == "pointwise 16->96 k1 s1 @16x16 relu"
    assert keys["b1.l1.depthwise"] == "depthwise 96->96 k3 s1 @16x16 relu >scale"
    assert keys["b1.l1.se.pool"] == "global_pool 96->96 k1 s1 @16x16 none"
    assert keys["b1.l1.se.gate"] == "pointwise 4->96 k1 s1 @1x1 sigmoid >gate"
    assert keys["b1.l1.se.scale"] == "scale 96->96 k1 s1 @16x16 none"
    assert keys["b1.l1.project"] == "pointwise 96->16 k1 s1 @16x16 none >add"
    assert keys["b1.l1.add"] == "add 16->16 k1 s1 @16x16 none <plain >add"
    assert keys["classifier"] == "linear 64->10 k1 s1 @1x1 none"
    assert {name.replace("l2", "l1"): key for name, key in keys.items() if ".l2." in name} == {
        name: key for name, key in keys.items() if ".l1." in name
    }


@pytest.mark.parametrize(
    ("block", "add"),
    [
        ("conv_i16_o16", "<activated >add"),
        ("conv_i16_o16_se0.25", "<scale >add"),
        ("e3_i16_o16", "<plain >add"),
        ("e3_i16_o16_poolskip", "<plain >add_pooled"),
        ("dwsep_i16_o16", "<activated >add"),
    ],
)
def test_what_an_add_joins(block, add):
    assert keys_of(f"stem_k3_s22_o16 r1_k3_s11_{block} head_o64")["b1.l1.add"] == f"add 16->16 k1 s1 @16x16 none {add}"


@pytest.mark.parametrize("op", ["b4", "bv4"])
def test_bottleneck(op):
    keys = keys_of(f"stem_k3_s22_o16 maxpool_k3_s22 r2_k3_s22_{op}_i16_o32 head_noconv")
    assert keys["b1.l1.pool"] == "max_pool 16->16 k3 s2 @16x16 none"
    assert keys["b2.l1.expand"] == "pointwise 4->32 k1 s1 @4x4 none >add"
    assert keys["b2.l1.shortcut"] == "pointwise 16->32 k1 s2 @8x8 none >add"
    assert keys["b2.l1.add"] == keys["b2.l2.add"] == "add 32->32 k1 s1 @4x4 relu <plain >add"
    reduce, conv = ("s2 @8x8", "s1 @4x4") if op == "bv4" else ("s1 @8x8", "s2 @8x8")
    assert keys["b2.l1.reduce"] == f"pointwise 16->4 k1 {reduce} relu"
    assert keys["b2.l1.conv"] == f"conv 4->4 k3 {conv} relu"


def test_modules_poolings_and_local_normalisation():
    keys = keys_of(
        "stem_k3_s22_o16_valid lrn maxpool_k3_s22_ceil avgpool_k3_s11_countpad "
        "branches_i16_gse0.5(k1_o4|k1x7_o8|maxpool_k3_s11,(k1x3_o2|k3x1_o2)) "
        "branches_i16(k3_s22_o8_valid|maxpool_k3_s22_valid) head_noconv"
    )
    assert keys["stem"] == "conv 3->16 k3 s2 valid @32x32 relu"
    assert keys["b1.l1.lrn"] == "local_norm 16->16 k5 s1 @15x15 none"
    assert keys["b2.l1.pool"] == "max_pool 16->16 k3 s2 ceil @15x15 none"
    assert keys["b3.l1.pool"] == "average_pool 16->16 k3 s1 @7x7 none"
    assert keys["b4.l1.branch2.1"] == "conv 16->8 k1x7 s1 @7x7 relu"
    assert keys["b4.l1.branch3.2.branch2.1"] == "conv 16->2 k3x1 s1 @7x7 relu"
    assert keys["b4.l1.concat"] == "concat 16->16 k1 s1 @7x7 none >scale"
    assert keys["b5.l1.branch1.1"] == "conv 16->8 k3 s2 valid @7x7 relu"
    assert keys["b5.l1.branch2.1"] == "max_pool 16->16 k3 s2 valid @7x7 none"
    assert keys["b5.l1.concat"] == "concat 24->24 k1 s1 @3x3 none"


@PROPERTY
@given(sized_archs())
def test_a_block_has_the_same_keys_in_every_network(sized):
    arch, resolution = sized
    graph = lower(arch, resolution, 10)
    keys = dict(zip((op.name for op in graph.ops), op_keys(graph), strict=True))
    position = 1
    for number, block in enumerate(arch.blocks, start=1):
        before = graph.ops[position - 1]
        alone = lower_block(block, before.shape, number, before.name, arch.norm)
        assert alone.ops == graph.ops[position : position + len(alone.ops)]
        assert op_keys(lower_block(block, before.shape, 1)) == [keys[op.name] for op in alone.ops]  # of any norm
        position += len(alone.ops)
    head = lower_head(arch.head, graph.ops[position - 1].shape, 10)
    assert op_keys(head) == [keys[op.name] for op in graph.ops[position:]]


def test_family_forgets_the_widths_alone():
    narrow, wide = (OpKey.parse(f"pointwise 16->{width} k1 s1 @8x8 none >add") for width in (24, 32))
    assert narrow.family == wide.family
    assert replace(narrow, before="").family != wide.family
    assert not narrow.ties_widths
    assert OpKey.parse("depthwise 16->16 k3 s1 @8x8 relu").ties_widths


def test_operation_without_a_key_is_an_error():
    with pytest.raises(TypeError, match="no latency key for operation"):
        op_keys(Graph((3, 8, 8), (Op("mystery", (INPUT,), (3, 8, 8)),)))
