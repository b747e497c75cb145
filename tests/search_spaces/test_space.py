"""Search spaces: what they hold, and that choices and architectures translate both ways."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import zoo
from search_spaces.arch import ArchSpec, AuxHead, BlockSpec
from search_spaces.arch_string import parse_arch
from search_spaces.chain import ChainLayout, LayerOp, Place, chain_space
from search_spaces.choice import Choice
from search_spaces.mnasnet import MNASNET
from search_spaces.mobilenet_v3 import MOBILENET_V3
from search_spaces.space import SearchSpace
from tests.strategies import PROPERTY, choices_of

SMALL = SearchSpace(
    "small",
    (Choice("kernel", (3, 5, 7)), Choice("filters", (16, 24)), Choice("skip", ("identity", "none"))),
    lambda c: ArchSpec((BlockSpec(c["kernel"], 1, 32, c["filters"], repeats=2, skip=c["skip"]),)),
    lambda a: {"kernel": a.blocks[0].kernel, "filters": a.blocks[0].out_channels, "skip": a.blocks[0].skip},
)
OPTIONS = {choice.name: choice.options for choice in MNASNET.choices}


def test_choice_refuses_no_options_and_equal_options():
    with pytest.raises(ValueError, match=r"choice 'b1.se' has no options"):
        Choice("b1.se", ())
    with pytest.raises(ValueError, match=r"choice 'b1.se' repeats an option: \(0, 0.0\)"):
        Choice("b1.se", (0, 0.0))


def test_choice_index():
    choice = Choice("b1.kernel", (3, 5))
    assert [choice.index(option) for option in choice.options] == [0, 1]
    with pytest.raises(ValueError, match=r"b1.kernel=7 is not allowed; options: \[3, 5\]"):
        choice.index(7)


def test_space_refuses_equal_names():
    with pytest.raises(ValueError, match=r"space 'twice' repeats a choice name: \['k', 'k'\]"):
        SearchSpace("twice", (Choice("k", (3,)), Choice("k", (5,))), SMALL.to_arch, SMALL.to_choices)


def test_size_equals_enumeration():
    names = [choice.name for choice in SMALL.choices]
    combinations = itertools.product(*(choice.options for choice in SMALL.choices))
    archs = {SMALL.decode(dict(zip(names, options, strict=True))) for options in combinations}
    assert SMALL.size == len(archs) == len({arch.key for arch in archs}) == 12
    assert all(SMALL.decode(SMALL.encode(arch)) == arch for arch in archs)


@pytest.mark.parametrize("name", ["mnasnet_a1", "mnasnet_b1"])
def test_released_networks_are_points(name):
    arch = zoo.get(name)
    choices = MNASNET.encode(arch)
    assert list(choices) == list(OPTIONS)
    assert MNASNET.decode(choices) == arch


def test_choices_of_mnasnet_a1():
    choices = MNASNET.encode(zoo.get("mnasnet_a1"))
    assert [choices[f"b{b}.op"] for b in range(1, 8)] == ["sepconv", *["mbconv6"], "mbconv3", *["mbconv6"] * 4]
    assert [choices[f"b{b}.layers"] for b in range(1, 8)] == [1, 2, 3, 4, 2, 3, 1]
    assert [choices[f"b{b}.filters"] for b in range(1, 8)] == [16, 24, 40, 80, 112, 160, 320]
    assert [choices[f"b{b}.se"] for b in range(1, 8)] == [0.0, 0.0, 0.25, 0.0, 0.25, 0.25, 0.0]
    assert [choices[f"b{b}.skip"] for b in range(1, 8)] == ["none", *["identity"] * 6]


@pytest.mark.parametrize(
    ("block", "filters", "layers"),
    [
        (1, (16, 24), (1, 2)),  # 12 rounds to 16; no block without layers
        (2, (24, 32), (1, 2, 3)),  # 18 rounds to 24: 16 would be below 90 %
        (3, (24, 32, 40), (2, 3, 4)),
        (4, (48, 64, 80), (3, 4, 5)),
        (5, (72, 96, 112, 120), (2, 3, 4)),
        (6, (120, 160, 192, 200), (2, 3, 4)),
        (7, (240, 320, 400), (1, 2)),
    ],
)
def test_options_relative_to_mobilenet_v2(block, filters, layers):
    assert OPTIONS[f"b{block}.filters"] == filters
    assert OPTIONS[f"b{block}.layers"] == layers


def test_options_of_every_block():
    for b in range(1, 8):
        assert OPTIONS[f"b{b}.op"] == ("conv", "sepconv", "mbconv3", "mbconv6")
        assert OPTIONS[f"b{b}.kernel"] == (3, 5)
        assert OPTIONS[f"b{b}.se"] == (0.0, 0.25)
        assert OPTIONS[f"b{b}.skip"] == ("identity", "pool", "none")
    assert len(OPTIONS) == 42


def test_size_of_mnasnet():
    per_block = 4 * 2 * 2 * 3
    assert MNASNET.size == per_block**7 * math.prod((2 * 2, 2 * 3, 3 * 3, 3 * 3, 4 * 3, 4 * 3, 3 * 2))


@PROPERTY
@pytest.mark.parametrize("space", [MNASNET, MOBILENET_V3], ids=lambda space: space.name)
@given(data=st.data())
def test_decode_and_encode_are_inverse(space, data):
    choices = data.draw(choices_of(space))
    arch = space.decode(choices)
    assert space.encode(arch) == choices
    assert space.decode(space.encode(arch)) == arch
    assert [block.stride for block in arch.blocks] == [1, 2, 2, 2, 1, 2, 1][: len(arch.blocks)]


def test_size_of_mobilenet_v3():
    assert [choice for choice in MNASNET.choices if not choice.name.startswith("b7.")] == list(MOBILENET_V3.choices)
    assert MOBILENET_V3.size * 4 * 2 * 2 * 3 * 3 * 2 == MNASNET.size


def test_sample_is_in_the_space_and_a_function_of_the_generator():
    draws = [MNASNET.sample(np.random.default_rng(7)) for _ in range(2)]
    assert draws[0] == draws[1] != MNASNET.sample(np.random.default_rng(8))
    assert list(draws[0]) == list(OPTIONS)
    MNASNET.check(draws[0])


def test_sample_reaches_every_option():
    rng = np.random.default_rng(0)
    samples = [MNASNET.sample(rng) for _ in range(200)]  # would miss one with probability 42 x 4 x 0.75^200 < 1e-22
    for name, options in OPTIONS.items():
        assert {sample[name] for sample in samples} == set(options)


@pytest.mark.parametrize("space", [SMALL, MNASNET], ids=["small", "mnasnet"])
def test_neighbours_differ_in_one_choice(space):
    choices = space.sample(np.random.default_rng(1))
    neighbours = list(space.neighbours(choices))
    assert len(neighbours) == sum(len(choice.options) - 1 for choice in space.choices)
    assert len({tuple(n.items()) for n in neighbours}) == len(neighbours)
    for neighbour in neighbours:
        space.check(neighbour)
        assert sum(neighbour[name] != choices[name] for name in choices) == 1


CHAIN = chain_space(
    "chain",
    ChainLayout(
        ops={"k3": LayerOp(), "k5": LayerOp(kernel=5), "skip": None},
        places=tuple(Place(filters=32, ops=ops) for ops in [("k3", "k5"), ("k3", "skip"), ("k3", "k5", "skip")]),
    ),
)


@settings(PROPERTY, max_examples=15)
@pytest.mark.parametrize("space", [MNASNET, SMALL, CHAIN], ids=["mnasnet", "small", "chain"])
@given(data=st.data())
def test_a_decision_is_active_where_it_changes_the_key(space, data):
    choices = data.draw(choices_of(space))
    key = space.decode(choices).key

    def matters(choice):
        return any(space.decode({**choices, choice.name: option}).key != key for option in choice.options)

    assert space.active(choices) == {choice.name for choice in space.choices if matters(choice)}


def test_what_is_inactive_in_mnasnet():
    choices = {**MNASNET.encode(zoo.get("mnasnet_a1")), "b2.layers": 1}
    widening = {"b1.skip", "b7.skip"}  # of one layer, which gives another width than it gets
    assert OPTIONS.keys() - MNASNET.active(choices) == widening | {"b2.skip"}
    assert OPTIONS.keys() - MNASNET.active({**choices, "b2.layers": 2}) == widening
    with pytest.raises(ValueError, match="is not allowed"):
        MNASNET.active({**choices, "b2.layers": 9})


def test_auxiliary_heads_do_not_blur_what_is_active():
    plain = SMALL.to_arch

    def to_arch(choices):
        return replace(plain(choices), aux=(AuxHead(after=1, weight=0.3),))

    space = replace(SMALL, to_arch=to_arch)
    assert space.active(space.sample(np.random.default_rng(0))) == SMALL.active(SMALL.sample(np.random.default_rng(0)))


def test_decode_names_what_is_wrong():
    good = SMALL.sample(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"space 'small': unknown choices \['depth'\], missing choices \[\]"):
        SMALL.decode(good | {"depth": 3})
    with pytest.raises(ValueError, match=r"unknown choices \[\], missing choices \['kernel', 'skip'\]"):
        SMALL.decode({"filters": 16})
    with pytest.raises(ValueError, match=r"kernel=4 is not allowed; options: \[3, 5, 7\]"):
        SMALL.decode(good | {"kernel": 4})
    with pytest.raises(ValueError, match=r"kernel=4 is not allowed"):
        next(SMALL.neighbours(good | {"kernel": 4}))


A1 = str(zoo.get("mnasnet_a1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (str(zoo.get("mobilenet_v3_large")), "needs 7 blocks and its stem and head"),
        (f"{A1} head_o640", "needs 7 blocks and its stem and head"),
        (f"stem_k3_s22_o32_relu6 {A1}", "needs 7 blocks and its stem and head"),
        (A1.replace("o112", "o104").replace("i112", "i104"), r"b5.filters=104 is not allowed; options: \[72, 96, 112"),
        (A1.replace("r4", "r6"), r"b4.layers=6 is not allowed; options: \[3, 4, 5\]"),
        (A1.replace("k5_s22_e3", "k7_s22_e3"), r"b3.kernel=7 is not allowed; options: \[3, 5\]"),
        (A1.replace("o40_se0.25", "o40_se0.5"), r"b3.se=0.5 is not allowed; options: \[0.0, 0.25\]"),
        (A1.replace("e3", "e4"), "block 3 is mbconv e4; ops: conv, sepconv, mbconv3, mbconv6"),
        (A1.replace("s22_e3", "s11_e3"), "the point with its choices is .*r3_k5_s22_e3"),
        (A1.replace("e6_i16", "x96_i16"), "the point with its choices is .*r2_k3_s22_e1_i16"),
        (A1.replace("o40_se", "o40_hse"), "the point with its choices is .*o40_se0.25"),
        (A1.replace("o24 ", "o24_relu6 "), "the point with its choices"),
    ],
)
def test_encode_refuses_what_is_outside(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        MNASNET.encode(parse_arch(text))
    assert str(caught.value).startswith("not in space 'mnasnet': ")
