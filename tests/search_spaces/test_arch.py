"""Specs: what they refuse, how rules resolve to layers, when two specs have one key."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given

from search_spaces import zoo
from search_spaces.arch import ArchSpec, AuxHead, BlockSpec, Head, Layer, Norm, SqueezeExcite, Stem, make_divisible
from search_spaces.arch_string import parse_arch
from tests.strategies import PROPERTY, archs

BLOCK = BlockSpec(kernel=3, stride=1, in_channels=16, out_channels=16)


@pytest.mark.parametrize(
    ("width", "rounded"),
    [
        (1, 8),
        (8, 8),
        (11, 16),
        (12, 16),
        (18, 24),
        (19, 24),
        (20, 24),
        (26, 24),
        (27, 32),
        (28, 32),
        (120, 120),
        (124, 128),
    ],
)
def test_make_divisible(width, rounded):
    assert make_divisible(width) == rounded  # 18: nearest is 16, which is below 90 %


def test_make_divisible_is_monotone_and_never_below_90_percent():
    widths = np.arange(1, 2000) / 4
    rounded = [make_divisible(width) for width in widths]
    assert rounded == sorted(rounded)
    assert all(r % 8 == 0 and r >= 0.9 * w for r, w in zip(rounded, widths, strict=True))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("op", "dwconv", "op 'dwconv': allowed are conv, dwsep, mbconv, bottleneck, bottleneck_v1"),
        ("skip", "add", "skip 'add': allowed are identity, pool, none"),
        ("activation", "gelu", "activation 'gelu': allowed are relu, relu6, hswish, swish"),
        ("activation", "sigmoid", "activation 'sigmoid'"),
        ("kernel", 4, "kernel 4: must be odd and positive"),
        ("kernel", -3, "kernel -3"),
        ("kernel", 3.0, "kernel 3.0"),
        ("kernel", "3", "kernel '3'"),
        ("kernel", True, "kernel True"),
        ("stride", 3, "stride 3: must be 1 or 2"),
        ("stride", True, "stride True"),
        ("repeats", 0, "repeats 0: must be an integer, at least 1"),
        ("repeats", True, "repeats True"),
        ("in_channels", 16.0, "in_channels 16.0"),
        ("out_channels", np.int64(16), r"out_channels np.int64\(16\)"),
        ("expand_ratio", 0, "expand_ratio 0"),
        ("expand_channels", 0, "expand_channels 0"),
        ("expand_channels", "96", "expand_channels '96'"),
        ("padding", "ceil", "padding 'ceil': allowed are same, valid"),
        ("padding", "valid", "valid padding is for plain convolutions without skip"),
        ("op", "bottleneck", "a bottleneck needs expand_channels, its inner width"),
    ],
)
def test_block_refuses(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(BLOCK, **{field: value})


def test_expansions_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        dataclasses.replace(BLOCK, expand_ratio=6, expand_channels=96)
    for op in ("conv", "dwsep"):
        for expansion in ({"expand_ratio": 6}, {"expand_channels": 96}):
            with pytest.raises(ValueError, match="has no expansion"):
                dataclasses.replace(BLOCK, op=op, **expansion)


@pytest.mark.parametrize("op", ["bottleneck", "bottleneck_v1"])
def test_a_bottleneck_has_an_absolute_inner_width_and_no_pooled_skip(op):
    block = dataclasses.replace(BLOCK, op=op, expand_channels=4, repeats=2)
    assert [layer.expanded_channels for layer in block.layers()] == [4, 4]
    with pytest.raises(ValueError, match="a bottleneck's skip is identity or none"):
        dataclasses.replace(block, skip="pool")
    with pytest.raises(ValueError, match="needs expand_channels"):
        dataclasses.replace(BLOCK, op=op, expand_ratio=2)


@pytest.mark.parametrize("ratio", [0, -0.25, 1.5, float("nan"), "0.25", True])
def test_squeeze_ratio_must_be_a_fraction(ratio):
    with pytest.raises(ValueError, match=f"squeeze-and-excitation ratio {ratio!r}"):
        SqueezeExcite(ratio)


def test_squeeze_rule_must_be_known():
    with pytest.raises(ValueError, match="squeeze rule 'output': allowed are input, expansion, gated"):
        SqueezeExcite(0.25, "output")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stem(channels=0), "stem channels 0"),
        (lambda: Stem(kernel=2), "stem kernel 2: must be odd"),
        (lambda: Stem(stride=4), "stem stride 4: must be 1 or 2"),
        (lambda: Stem(activation="none"), "activation 'none'"),
        (lambda: Stem(padding="ceil"), "stem padding 'ceil': allowed are same, valid"),
        (lambda: Head(channels=1280.0), "head channels 1280.0"),
        (lambda: Head(hidden=0), "hidden width 0"),
        (lambda: Head(dropout=1.0), "dropout 1.0"),
        (lambda: Head(dropout="0.2"), "dropout '0.2': must be a number"),
        (lambda: Norm(0), r"norm epsilon 0.0: must lie in \(0, 1\)"),
        (lambda: Norm(True), "norm epsilon True: must be a number"),
        (lambda: AuxHead(0, 0.3), "auxiliary head's block 0: must be an integer"),
        (lambda: AuxHead(1, 0), r"auxiliary weight 0.0: must lie in \(0, 1\]"),
        (lambda: AuxHead(1, "1"), "auxiliary weight '1': must be a number"),
        (lambda: AuxHead(1, 0.3, channels=0), "auxiliary channels 0"),
        (lambda: AuxHead(1, 0.3, final_channels=0), "auxiliary final_channels 0"),
        (lambda: AuxHead(1, 0.3, hidden=1.0), "auxiliary hidden 1.0"),
        (lambda: AuxHead(1, 0.3, dropout=1), r"auxiliary dropout 1.0: must lie in \[0, 1\)"),
        (lambda: ArchSpec((BLOCK,), Stem(16), aux=(AuxHead(2, 0.3),)), "an auxiliary head reads block 2 of 1"),
        (lambda: ArchSpec((BLOCK, BLOCK), Stem(16), aux=(AuxHead(2, 0.3), AuxHead(1, 0.3))), "must ascend"),
        (lambda: ArchSpec((BLOCK,), Stem(16), aux=(AuxHead(1, 0.3), AuxHead(1, 0.3))), r"\[1, 1\]: must ascend"),
        (lambda: ArchSpec(()), "at least one block"),
        (lambda: ArchSpec((BLOCK,)), "block 1 takes i16, but receives 32"),
        (
            lambda: ArchSpec((BLOCK, dataclasses.replace(BLOCK, in_channels=8)), Stem(16)),
            "block 2 takes i8, but receives 16",
        ),
    ],
)
def test_network_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_squeezed_channels_of_all_rules():
    assert SqueezeExcite(0.25, "input").squeezed_channels(40, 120) == 10  # MnasNet: of the input, truncated
    assert SqueezeExcite(0.25, "input").squeezed_channels(22, 132) == 5  # 5.5
    assert SqueezeExcite(0.25, "input").squeezed_channels(3, 18) == 1
    assert SqueezeExcite(0.25, "expansion").squeezed_channels(24, 72) == 24  # 18, to a multiple of 8
    assert SqueezeExcite(1 / 16, "gated").squeezed_channels(64, 256) == 16  # SENet: of what it gates, truncated
    assert SqueezeExcite(1 / 16, "gated").squeezed_channels(64, 24) == 1
    gates = [SqueezeExcite(0.25, rule).gate for rule in ("input", "expansion", "gated")]
    assert gates == ["sigmoid", "hsigmoid", "sigmoid"]


def test_only_the_first_layer_has_stride_and_new_width():
    block = BlockSpec(
        kernel=5, stride=2, in_channels=24, out_channels=40, repeats=3, expand_ratio=3, se=SqueezeExcite(0.25)
    )
    seen = [
        (
            layer.stride,
            layer.in_channels,
            layer.expanded_channels,
            layer.out_channels,
            layer.squeezed_channels,
            layer.skip,
        )
        for layer in block.layers()
    ]
    assert seen == [(2, 24, 72, 40, 6, "none"), (1, 40, 120, 40, 10, "identity"), (1, 40, 120, 40, 10, "identity")]


def test_absolute_expansion_holds_for_every_layer():
    block = BlockSpec(kernel=3, stride=1, in_channels=40, out_channels=80, repeats=2, expand_channels=184)
    assert [layer.expanded_channels for layer in block.layers()] == [184, 184]


@pytest.mark.parametrize(
    ("skip", "stride", "in_channels", "applied"),
    [
        ("identity", 1, 16, "identity"),
        ("identity", 2, 16, "none"),
        ("identity", 1, 8, "none"),
        ("pool", 1, 16, "pool"),
        ("pool", 2, 16, "pool"),
        ("pool", 2, 8, "none"),
        ("none", 1, 16, "none"),
    ],
)
def test_where_skips_apply(skip, stride, in_channels, applied):
    block = dataclasses.replace(BLOCK, skip=skip, stride=stride, in_channels=in_channels)
    assert [layer.skip for layer in block.layers()] == [applied]


@pytest.mark.parametrize("op", ["bottleneck", "bottleneck_v1"])
@pytest.mark.parametrize(
    ("skip", "stride", "in_channels", "applied"),
    [
        ("identity", 1, 16, "identity"),
        ("identity", 2, 16, "projection"),
        ("identity", 1, 8, "projection"),
        ("none", 1, 16, "none"),
        ("none", 2, 8, "none"),
    ],
)
def test_where_a_bottleneck_projects_its_input(op, skip, stride, in_channels, applied):
    changes = {"skip": skip, "stride": stride, "in_channels": in_channels, "repeats": 2}
    block = dataclasses.replace(BLOCK, op=op, expand_channels=4, **changes)
    assert [layer.skip for layer in block.layers()] == [applied, "none" if skip == "none" else "identity"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("r2_k3_s11_e6_i32_o32", "r1_k3_s11_e6_i32_o32 r1_k3_s11_e6_i32_o32"),
        ("r3_k3_s22_e6_i32_o16", "r1_k3_s22_e6_i32_o16 r2_k3_s11_e6_i16_o16"),
        ("r1_k3_s11_e6_i32_o16", "r1_k3_s11_e6_i32_o16_noskip"),  # widths differ: no skip either way
        ("r1_k3_s22_e6_i32_o32", "r1_k3_s22_e6_i32_o32_noskip"),  # stride 2
        ("r1_k3_s22_e6_i32_o16_poolskip", "r1_k3_s22_e6_i32_o16"),
        ("stem_k3_s22_o16 r1_k3_s11_e6_i16_o24", "stem_k3_s22_o16 r1_k3_s11_x96_i16_o24"),
        ("r1_k3_s11_e1_i32_o16", "r1_k3_s11_x32_i32_o16"),
        ("r1_k3_s11_e6_i32_o16_se0.25", "r1_k3_s11_e6_i32_o16_se0.26"),  # both squeeze to 8
        ("r1_k3_s11_e6_i32_o16", "norm_e0.001 stem_k3_s22_o32 r1_k3_s11_e6_i32_o16 head_o1280"),
        ("r2_k3_s22_b8_i32_o64", "r1_k3_s22_b8_i32_o64 r1_k3_s11_b8_i64_o64"),
        (
            "r2_k3_s11_dwsep_i32_o32 r1_k3_s11_dwsep_i32_o16 aux_b1_w0.3_o8 aux_b2_w1_o8",
            "r1_k3_s11_dwsep_i32_o32 r1_k3_s11_dwsep_i32_o32 r1_k3_s11_dwsep_i32_o16 aux_b2_w0.3_o8 aux_b3_w1_o8",
        ),
    ],
)
def test_key_is_equal_for_one_network_written_twice(one, other):
    assert parse_arch(one).key == parse_arch(other).key


def test_key_tells_networks_apart():
    texts = [
        "r2_k3_s11_e6_i32_o32",
        "r1_k3_s11_e6_i32_o32",
        "r2_k5_s11_e6_i32_o32",
        "r2_k3_s22_e6_i32_o32",
        "r2_k3_s22_e6_i32_o32_poolskip",
        "r2_k3_s11_e3_i32_o32",
        "r2_k3_s11_x200_i32_o32",
        "r2_k3_s11_e6_i32_o40",
        "r2_k3_s11_e6_i32_o32_noskip",
        "r2_k3_s11_e6_i32_o32_poolskip",
        "r2_k3_s11_e6_i32_o32_se0.25",
        "r2_k3_s11_e6_i32_o32_hse0.25",
        "r2_k3_s11_e6_i32_o32_relu6",
        "r2_k3_s11_e6_i32_o32_gse0.25",
        "r2_k3_s11_e6_i32_o32_swish",
        "r2_k3_s11_conv_i32_o32",
        "r2_k3_s11_conv_i32_o32_noskip",
        "r2_k3_s11_conv_i32_o32_noskip_valid",
        "r2_k3_s11_dwsep_i32_o32",
        "r2_k3_s11_b8_i32_o32",
        "r2_k3_s22_b8_i32_o32",
        "r2_k3_s22_bv8_i32_o32",
        "norm_e0.00001 r2_k3_s11_e6_i32_o32",
        "nonorm r2_k3_s11_e6_i32_o32",
        "stem_k3_s22_o32_valid r2_k3_s11_e6_i32_o32",
        "r2_k3_s11_e6_i32_o32 maxpool_k3_s22",
        "r2_k3_s11_e6_i32_o32 maxpool_k3_s22_ceil",
        "r2_k3_s11_e6_i32_o32 avgpool_k3_s22",
        "r2_k3_s11_e6_i32_o32 avgpool_k3_s22_countpad",
        "r2_k3_s11_e6_i32_o32 lrn",
        "r2_k3_s11_e6_i32_o32 lrn_k3",
        "branches_i32(k1_o8|k3_o8)",
        "branches_i32(k1_o8|k3x1_o8)",
        "branches_i32(k1_o8|k1x3_o8)",
        "branches_i32_se0.25(k1_o8|k3_o8)",
        "branches_i32_swish(k1_o8|k3_o8)",
        "branches_i32(k1_o8|k3_o8,k1_o8)",
        "branches_i32(k1_o8|k3_o8,(k1_o4|k3_o4))",
        "r2_k3_s11_e6_i32_o32 head_noconv",
        "r2_k3_s11_e6_i32_o32 aux_b1_w0.3_o8",
        "r2_k3_s11_e6_i32_o32 aux_b1_w0.4_o8",
        "r2_k3_s11_e6_i32_o32 aux_b1_w0.3_o8_f8",
        "r2_k3_s11_e6_i32_o32 aux_b1_w0.3_o8_c8",
        "r2_k3_s11_e6_i32_o32 aux_b1_w0.3_o8_d0.3",
        "r1_k3_s11_e6_i32_o32 r1_k3_s11_e6_i32_o32 aux_b1_w0.3_o8",
        "r2_k3_s11_e1_i32_o32",
        "stem_k3_s11_o32 r2_k3_s11_e6_i32_o32",
        "stem_k3_s22_o32_hswish r2_k3_s11_e6_i32_o32",
        "r2_k3_s11_e6_i32_o32 head_o640",
        "r2_k3_s11_e6_i32_o32 head_o1280_f1280",
        "r2_k3_s11_e6_i32_o32 head_o1280_d0.3",
        *(str(network.arch) for network in zoo.ZOO.values()),
    ]
    keys = [parse_arch(text).key for text in texts]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)


def test_key_does_not_depend_on_the_type_of_a_number():
    head = [Head(dropout=0), Head(dropout=0.0), Head(dropout=np.float64(0.0))]
    assert len({ArchSpec((BLOCK,), Stem(16), h).key for h in head}) == 1


def test_key_is_stable():
    """Keys are stored with results: a change of this value orphans every stored one."""
    assert zoo.get("mnasnet_a1").key == "711d6eb94e5cd7f9"


@PROPERTY
@given(archs())
def test_key_of_a_block_split_into_its_layers(arch):
    split, ends = [], []
    for block in arch.blocks:
        for layer in block.layers():
            if isinstance(layer, Layer):
                fields = {"repeats": 1, "stride": layer.stride, "in_channels": layer.in_channels}
                split.append(dataclasses.replace(block, **fields))
            else:
                split.append(block)
        ends.append(len(split))
    aux = tuple(dataclasses.replace(head, after=ends[head.after - 1]) for head in arch.aux)
    assert dataclasses.replace(arch, blocks=tuple(split), aux=aux).key == arch.key


def test_unknown_network_of_the_zoo_lists_the_known():
    with pytest.raises(ValueError, match=r"no network named 'mnasnet_a2'; known: .*mnasnet_a1.*mobilenet_v3_small"):
        zoo.get("mnasnet_a2")
