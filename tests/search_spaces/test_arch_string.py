"""The string form: the published strings, round trips, and errors that show the token and what is allowed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from search_spaces import zoo
from search_spaces.arch import Head, SqueezeExcite
from search_spaces.arch_string import format_block, parse_arch
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
BLOCK_TOKENS = "rN, kN, s11|s22, eN, xN, conv, iN, oN, se0.N, hse0.N, noskip, poolskip, relu|relu6|hswish"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_strings_print_unchanged(name):
    arch = parse_arch(" ".join(PUBLISHED[name]))
    assert arch == zoo.get(name)
    assert [format_block(block) for block in arch.blocks] == PUBLISHED[name]
    assert str(arch) == " ".join(PUBLISHED[name])


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
        ("r1_k3_s11_e6_i32_o16_swish", "unknown token 'swish'", BLOCK_TOKENS),
        ("r1_k3_s12_e6_i32_o16", "unknown token 's12'", "s11|s22"),
        ("r1_k3_s11_e0_i32_o16", "unknown token 'e0'", BLOCK_TOKENS),
        ("r0_k3_s11_e6_i32_o16", "unknown token 'r0'", BLOCK_TOKENS),
        ("r1_k3_s11_e1.5_i32_o16", "unknown token 'e1.5'", BLOCK_TOKENS),
        ("r1_k3_s11_e6_i32_o16_se2", "unknown token 'se2'", "se0.N"),
        ("r1_k3_s11_e6_i32_o16_se0.2.5", "unknown token 'se0.2.5'", "se0.N"),
        ("r1_k3_s11_e6_i32_o1\u0663", "unknown token 'o1\u0663'", BLOCK_TOKENS),  # an Arabic digit
        ("r1_k3_s11_e6_i32_o16_", "unknown token ''", BLOCK_TOKENS),
        (f"stem_k3_s22_o32_e6 {BLOCK}", "unknown token 'e6'", "kN, s11|s22, oN, relu|relu6|hswish"),
        (f"{BLOCK} head_o1280_k3", "unknown token 'k3'", "oN, fN, relu|relu6|hswish, d0.N"),
        # a value out of range
        ("r1_k4_s11_e6_i32_o16", "kernel 4", "must be odd and positive"),
        ("r1_k3_s11_e6_i32_o16_se0", "ratio 0.0", "must lie in (0, 1]"),
        (f"{BLOCK} head_o1280_d1", "dropout 1.0", "must lie in [0, 1)"),
        # missing
        ("k3_s11_e6_i32_o16", "missing token r ", BLOCK_TOKENS),
        ("r1_k3_s11_i32_o16", "missing token eN, xN or conv", BLOCK_TOKENS),
        ("r1", "missing token eN, xN or conv, i, k, o, s ", BLOCK_TOKENS),
        (f"stem_k3_s22 {BLOCK}", "missing token o ", "kN, s11|s22, oN"),
        (f"{BLOCK} head", "missing token o ", "oN, fN"),
        # repeated or exclusive
        ("r1_k3_k5_s11_e6_i32_o16", "token 'k5' repeats 'k3'", "allowed once: k"),
        ("r1_k3_s11_e6_x200_i32_o16", "token 'x200' repeats 'e6'", "allowed once: eN, xN or conv"),
        ("r1_k3_s11_e6_conv_i32_o16", "token 'conv' repeats 'e6'", "allowed once: eN, xN or conv"),
        ("r1_k3_s11_e6_i32_o16_se0.25_hse0.25", "token 'hse0.25' repeats 'se0.25'", "allowed once: se"),
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
        ("", "at least one block"),
        (" \n", "at least one block"),
        ("stem_k3_s22_o32 head_o1280", "at least one block"),
        ("r1_k3_s11_e6_i16_o16", "block 1 takes i16, but receives 32"),
        (f"{BLOCK} r1_k3_s11_e6_i24_o40", "block 2 takes i24, but receives 16"),
        (f"stem_k3_s22_o32 stem_k3_s22_o32 {BLOCK}", "stem comes first and the head last, each once"),
        (f"{BLOCK} stem_k3_s22_o32", "stem comes first"),
        (f"{BLOCK} head_o1280 r1_k3_s11_e6_i16_o16", "the head last"),
        (f"{BLOCK} head_o1280 head_o1280", "each once"),
    ],
)
def test_parts_must_chain_and_be_in_order(text, message):
    with pytest.raises(ValueError, match=message):
        parse_arch(text)
