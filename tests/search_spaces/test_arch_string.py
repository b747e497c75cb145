"""The string form: the published strings, round trips, and errors that show the token and what is allowed."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given

from search_spaces import zoo
from search_spaces.arch import ArchSpec, AuxHead, BlockSpec, Head, Norm, SqueezeExcite, Stem
from search_spaces.arch_string import format_block, parse_arch
from search_spaces.module import BranchConv, Branches, Fork, LocalNorm, Pool
from tests.strategies import PROPERTY, archs

# tensorflow/tpu, models/official/mnasnet/mnasnet_models.py: mnasnet_a1, mnasnet_b1
PUBLISHED = {
    "mnasnet_a1": [
        "r1_k3_s11_e1_i32_o16_noskip",
        "r2_k3_s22_e6_i16_o24",
        "r3_k5_s22_e3_i24_o40_se0.25",
        "r4_k3_s22_e6_i40_o80",
        "r2_k3_s11_e6_i80_o112_se0.25",
        "r3_k5_s22_e6_i112_o160_se0.25",
        "r1_k3_s11_e6_i160_o320",
    ],
    "mnasnet_b1": [
        "r1_k3_s11_e1_i32_o16_noskip",
        "r3_k3_s22_e3_i16_o24",
        "r3_k5_s22_e3_i24_o40",
        "r3_k5_s22_e6_i40_o80",
        "r2_k3_s11_e6_i80_o96",
        "r4_k5_s22_e6_i96_o192",
        "r1_k3_s11_e6_i192_o320_noskip",
    ],
}
BLOCK = "r1_k3_s11_e6_i32_o16"
BLOCK_TOKENS = (
    "rN, kN, s11|s22, eN, xN, bN, bvN, conv, dwsep, iN, oN, se0.N, hse0.N, gse0.N, noskip, poolskip, "
    "relu|relu6|hswish|swish, linear, valid"
)
ORDER = r"order is \[norm\] \[stem\] blocks \[head\] \[aux \.\.\.\], norm, stem and head once"
OPERATION = "eN, xN, bN, bvN, conv or dwsep"
MODULE = "branches_i16(k1_o8|k1_o8,k3_o16)"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_strings_print_unchanged(name):
    arch = parse_arch(" ".join(PUBLISHED[name]))
    assert arch == zoo.get(name)
    assert [format_block(block) for block in arch.blocks] == PUBLISHED[name]
    assert str(arch) == " ".join(PUBLISHED[name])


@pytest.mark.parametrize("name", zoo.ZOO)
def test_networks_of_the_zoo(name):
    assert parse_arch(str(zoo.get(name))) == zoo.get(name)


def test_words_become_the_decisions_that_they_name():
    text = (
        "norm_e0.00001 stem_k7_s22_o64_valid maxpool_k3_s22_ceil r1_k1_s11_conv_i64_o32_noskip_valid lrn lrn_k3 "
        "r2_k3_s22_b8_i32_o64 r1_k3_s11_bv8_i64_o64_noskip r1_k3_s11_dwsep_i64_o16_gse0.25_swish "
        "avgpool_k5_s11_countpad branches_i16_hse0.5_relu6(k1x7_s22_o4_valid|maxpool_k3_s22_valid,(k1_o2|k3x1_o3)) "
        "head_noconv_f24_d0.5 aux_b5_w0.3_o8_c16_f32_d0.7 aux_b9_w1_o8"
    )
    arch = parse_arch(text)
    assert arch == ArchSpec(
        blocks=(
            Pool("max", 3, 2, "ceil"),
            BlockSpec(1, 1, 64, 32, op="conv", skip="none", padding="valid"),
            LocalNorm(),
            LocalNorm(3),
            BlockSpec(3, 2, 32, 64, op="bottleneck", repeats=2, expand_channels=8),
            BlockSpec(3, 1, 64, 64, op="bottleneck_v1", expand_channels=8, skip="none"),
            BlockSpec(3, 1, 64, 16, op="dwsep", se=SqueezeExcite(0.25, "gated"), activation="swish"),
            Pool("average", 5, 1, "same", counts_padding=True),
            Branches(
                16,
                (
                    (BranchConv((1, 7), 4, 2, "valid"),),
                    (
                        Pool("max", 3, 2, "valid"),
                        Fork(((BranchConv((1, 1), 2),), (BranchConv((3, 1), 3),))),
                    ),
                ),
                SqueezeExcite(0.5, "expansion"),
                "relu6",
            ),
        ),
        stem=Stem(64, 7, 2, padding="valid"),
        head=Head(None, 24, dropout=0.5),
        norm=Norm(1e-5),
        aux=(AuxHead(5, 0.3, 8, 16, 32, 0.7), AuxHead(9, 1.0, 8)),
    )
    assert str(arch) == text
    assert parse_arch(f"nonorm {MODULE.replace('i16', 'i32')}").norm is None


@PROPERTY
@given(archs())
def test_parse_inverts_print(arch):
    assert parse_arch(str(arch)) == arch
    assert str(parse_arch(str(arch))) == str(arch)


@pytest.mark.parametrize("ratio", [1.0, 0.1234567891, 1 / 3, 1e-5, 5e-324])
def test_every_digit_of_a_ratio_is_printed(ratio):
    arch = parse_arch(BLOCK)
    block = dataclasses.replace(arch.blocks[0], se=SqueezeExcite(ratio))
    arch = dataclasses.replace(arch, blocks=(block,), head=Head(dropout=ratio / 2))
    assert parse_arch(str(arch)) == arch


def test_order_of_tokens_and_white_space_do_not_matter():
    shuffled = "\n o16_relu6_i32_se0.25_e6_noskip_s22_k3_r2\t head_d0.1_f64_o960 "
    assert parse_arch(shuffled) == parse_arch("r2_k3_s22_e6_i32_o16_se0.25_noskip_relu6 head_o960_f64_d0.1")


@pytest.mark.parametrize(
    ("text", "token", "allowed"),
    [
        # unknown, or a value that no token has
        ("r1_k3_s11_e6_i32_o16_silu", "unknown token 'silu'", BLOCK_TOKENS),
        ("r1_k3_s11_b_i32_o16", "unknown token 'b'", BLOCK_TOKENS),
        ("r1_k3_s11_e6_i32_o16_same", "unknown token 'same'", BLOCK_TOKENS),
        (f"norm_e1 {BLOCK}", "epsilon 1.0", "must lie in (0, 1)"),
        (f"norm_e0.001_m0.1 {BLOCK}", "unknown token 'm0.1'", "e0.N"),
        (f"{BLOCK} maxpool_k3_s22_o16", "unknown token 'o16'", "kN, s11|s22, valid, ceil, countpad"),
        (f"{BLOCK} minpool_k3_s22", "unknown token 'minpool'", BLOCK_TOKENS),
        (f"{BLOCK} lrn_s5", "unknown token 's5'", "kN"),
        (f"{BLOCK} branches_i16_k3(k1_o8|k1_o8)", "unknown token 'k3'", "iN, se0.N, hse0.N, gse0.N, relu|"),
        (f"{BLOCK} branches_i16(k1x_o8|k1_o8)", "unknown token 'k1x'", "kN|kNxN, s22, oN, valid"),
        (f"{BLOCK} branches_i16(k1_s11_o8|k1_o8)", "unknown token 's11'", "kN|kNxN, s22, oN, valid"),
        (f"{BLOCK} branches_i16(k1_o8|k1_o8,)", "unknown token ''", "kN|kNxN, s22, oN, valid"),
        (f"{BLOCK} aux_b1_w0.3_o8_k3", "unknown token 'k3'", "bN, w0.N, oN, cN, fN, d0.N"),
        ("r1_k3_s12_e6_i32_o16", "unknown token 's12'", "s11|s22"),
        ("r1_k3_s11_e0_i32_o16", "unknown token 'e0'", BLOCK_TOKENS),
        ("r0_k3_s11_e6_i32_o16", "unknown token 'r0'", BLOCK_TOKENS),
        ("r1_k3_s11_e1.5_i32_o16", "unknown token 'e1.5'", BLOCK_TOKENS),
        ("r1_k3_s11_e6_i32_o16_se2", "unknown token 'se2'", "se0.N"),
        ("r1_k3_s11_e6_i32_o16_se0.2.5", "unknown token 'se0.2.5'", "se0.N"),
        ("r1_k3_s11_e6_i32_o1\u0663", "unknown token 'o1\u0663'", BLOCK_TOKENS),  # an Arabic digit
        ("r1_k3_s11_e6_i32_o16_", "unknown token ''", BLOCK_TOKENS),
        (
            f"stem_k3_s22_o32_e6 {BLOCK}",
            "unknown token 'e6'",
            "kN, s11|s22, oN, relu|relu6|hswish|swish, valid",
        ),
        (f"{BLOCK} head_o1280_k3", "unknown token 'k3'", "oN, noconv, fN, relu|relu6|hswish|swish, d0.N"),
        # a value out of range
        ("r1_k4_s11_e6_i32_o16", "kernel 4", "must be odd and positive"),
        ("r1_k3_s11_e6_i32_o16_se0", "ratio 0.0", "must lie in (0, 1]"),
        (f"{BLOCK} head_o1280_d1", "dropout 1.0", "must lie in [0, 1)"),
        (f"{BLOCK} maxpool_k1_s22", "pool kernel 1", "must be at least 2"),
        (f"{BLOCK} lrn_k4", "kernel 4", "must be odd and positive"),
        (f"{BLOCK} branches_i16(k1x2_o8|k1_o8)", "kernel 2", "must be odd and positive"),
        (f"{BLOCK} aux_b1_w0_o8", "weight 0.0", "must lie in (0, 1]"),
        # missing
        ("k3_s11_e6_i32_o16", "missing token r ", BLOCK_TOKENS),
        ("r1_k3_s11_i32_o16", f"missing token {OPERATION}", BLOCK_TOKENS),
        ("r1", f"missing token {OPERATION}, i, k, o, s ", BLOCK_TOKENS),
        (f"stem_k3_s22 {BLOCK}", "missing token o ", "kN, s11|s22, oN"),
        (f"{BLOCK} head", "missing token o ", "oN, noconv, fN"),
        (f"norm {BLOCK}", "missing token e ", "e0.N"),
        (f"{BLOCK} maxpool_k3", "missing token s ", "kN, s11|s22, valid, ceil"),
        (f"{BLOCK} branches_i16(k1_o8|o8)", "missing token k ", "kN|kNxN, s22, oN, valid"),
        (f"{BLOCK} branches(k1_o8|k1_o8)", "missing token i ", "iN, se0.N"),
        (f"{BLOCK} aux_b1_o8", "missing token w ", "bN, w0.N, oN, cN, fN, d0.N"),
        # repeated or exclusive
        ("r1_k3_k5_s11_e6_i32_o16", "token 'k5' repeats 'k3'", "allowed once: k"),
        ("r1_k3_s11_e6_x200_i32_o16", "token 'x200' repeats 'e6'", f"allowed once: {OPERATION}"),
        ("r1_k3_s11_e6_conv_i32_o16", "token 'conv' repeats 'e6'", f"allowed once: {OPERATION}"),
        ("r1_k3_s11_e6_i32_o16_se0.25_hse0.25", "token 'hse0.25' repeats 'se0.25'", "allowed once: se"),
        ("r1_k3_s11_dwsep_bv8_i32_o16", "token 'bv8' repeats 'dwsep'", f"allowed once: {OPERATION}"),
        ("r1_k3_s11_e6_i32_o16_gse0.25_se0.25", "token 'se0.25' repeats 'gse0.25'", "allowed once: se"),
        (f"{BLOCK} head_o1280_noconv", "token 'noconv' repeats 'o1280'", "allowed once: o"),
        (f"{BLOCK} maxpool_k3_s22_ceil_valid", "token 'valid' repeats 'ceil'", "allowed once: padding"),
        ("r1_k3_s11_e6_i32_o16_noskip_poolskip", "token 'poolskip' repeats 'noskip'", "allowed once: skip"),
        ("r1_k3_s11_e6_i32_o16_relu_relu6", "token 'relu6' repeats 'relu'", "allowed once: activation"),
    ],
)
def test_errors_show_the_token_and_what_is_allowed(text, token, allowed):
    with pytest.raises(ValueError, match=r"token|must") as caught:
        parse_arch(text)
    message = str(caught.value)
    part = next(word for word in text.split() if word != BLOCK or text == BLOCK)
    assert token in message
    assert allowed in message
    assert repr(part) in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r1_k3_s11_e6_i32_o16_valid", "valid padding is for plain convolutions without skip"),
        ("r1_k3_s11_conv_i32_o16_valid", "valid padding is for plain convolutions without skip"),
        ("r1_k3_s11_b8_i32_o16_poolskip", "a bottleneck's skip is identity or none"),
        ("maxpool_k2_s22", "pool kernel 2: even ones are valid or ceil"),
        ("maxpool_k3_s22_countpad", "counts_padding is for average pooling with padding same"),
        ("avgpool_k3_s22_valid_countpad", "counts_padding is for average pooling with padding same"),
        ("branches_i32(k1_o8)", "a module needs at least two branches"),
        ("branches_i32(k1_o8|(k1_o8|k1_o8),k3_o8)", "a fork ends its branch"),
        ("branches_i32(k1_o8|k3_o8,(k1_o8))", "a module needs at least two branches"),
        ("branches_i32(k1_o8|k1_o8", "expected branches in parentheses, such as (k1_o64|k1_o96,k3_o128)"),
        ("branches_i32", "expected branches in parentheses, such as (k1_o64|k1_o96,k3_o128)"),
        ("branches_i32(k1_o8|(k1_o8|k1_o8)x)", "expected branches in parentheses"),
        ("branches_i32(k1_o8|k1_o8)(k1_o8)", "parentheses do not match"),
        ("branches_i32(k1_o8|k1_o8))", "parentheses do not match"),
    ],
)
def test_errors_of_words_that_do_not_go_together_show_the_part(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_arch(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one block"),
        (" \n", "at least one block"),
        ("stem_k3_s22_o32 head_o1280", "at least one block"),
        ("r1_k3_s11_e6_i16_o16", "block 1 takes i16, but receives 32"),
        (f"{BLOCK} r1_k3_s11_e6_i24_o40", "block 2 takes i24, but receives 16"),
        (f"{BLOCK} branches_i24(k1_o8|k1_o8)", "block 2 takes i24, but receives 16"),
        (f"{BLOCK} {MODULE} lrn maxpool_k3_s22 {BLOCK}", "block 5 takes i32, but receives 24"),
        (f"stem_k3_s22_o32 stem_k3_s22_o32 {BLOCK}", ORDER),
        (f"{BLOCK} stem_k3_s22_o32", ORDER),
        (f"{BLOCK} head_o1280 r1_k3_s11_e6_i16_o16", ORDER),
        (f"{BLOCK} head_o1280 head_o1280", ORDER),
        (f"stem_k3_s22_o32 nonorm {BLOCK}", ORDER),
        (f"nonorm norm_e0.001 {BLOCK}", ORDER),
        (f"aux_b1_w0.3_o8 {BLOCK}", ORDER),
        (f"{BLOCK} aux_b1_w0.3_o8 head_o1280", ORDER),
        (f"{BLOCK} aux_b2_w0.3_o8", "an auxiliary head reads block 2 of 1"),
    ],
)
def test_parts_must_chain_and_be_in_order(text, message):
    with pytest.raises(ValueError, match=message):
        parse_arch(text)
