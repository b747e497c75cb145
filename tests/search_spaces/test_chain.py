"""Spaces in which every layer is chosen from operations."""

from __future__ import annotations

import itertools
import pickle

import pytest
from hypothesis import given

from search_spaces.arch import Head, Stem
from search_spaces.arch_string import parse_arch
from search_spaces.chain import ChainLayout, LayerOp, Place, chain_space
from search_spaces.choice import Choice
from tests.strategies import PROPERTY, choices_of

OPS = {
    "nothing": None,
    "reduce": LayerOp(op="conv", kernel=1, activation="none", skip="none"),
    "e3_k3": LayerOp(expand=3),
    "e6_k5": LayerOp(expand=6, kernel=5),
}
MACRO_PLACES = tuple(
    Place(filters=width, stride=1 if place else 2, ops=("nothing" if place else "reduce", "e3_k3", "e6_k5"))
    for width, places in ((64, 2), (128, 3), (256, 3))
    for place in range(places)
)
"""NAS-Bench-Macro (arXiv 2103.11922)."""
MACRO = chain_space("macro", ChainLayout(ops=OPS, places=MACRO_PLACES, stem=Stem(32, stride=1), head=Head(dropout=0.0)))


def test_every_place_with_several_operations_is_a_decision():
    assert MACRO.choices[:2] == (
        Choice("l1", ("reduce", "e3_k3", "e6_k5")),
        Choice("l2", ("nothing", "e3_k3", "e6_k5")),
    )
    assert MACRO.size == 3**8


def test_a_place_left_empty_has_no_block_and_keeps_the_slots_of_the_others():
    choices = dict.fromkeys((f"l{n}" for n in range(1, 9)), "e3_k3") | {
        "l1": "reduce",
        "l2": "nothing",
        "l4": "nothing",
    }

    arch = MACRO.decode(choices)

    text = (
        "stem_k3_s11_o32 r1_k1_s22_conv_i32_o64_noskip_linear r1_k3_s22_e3_i64_o128 r1_k3_s11_e3_i128_o128 "
        "r1_k3_s22_e3_i128_o256 r2_k3_s11_e3_i256_o256 head_o1280_d0"
    )
    assert arch.key == parse_arch(text).key
    assert MACRO.slots(choices) == ("b1", "b3", "b5", "b6", "b7", "b8")


def test_nas_bench_macro_has_the_published_number_of_distinct_networks():
    small = chain_space("stages", ChainLayout(ops=OPS, places=MACRO_PLACES[:5], stem=Stem(32, stride=1)))
    names = [choice.name for choice in small.choices]

    networks = {
        small.decode(dict(zip(names, options, strict=True))).key
        for options in itertools.product(*(choice.options for choice in small.choices))
    }

    assert len(networks) == 9 * 21  # of all three stages: 9 x 21 x 21 = 3 969


@PROPERTY
@given(choices_of(MACRO))
def test_canonical_choices_leave_the_latest_places_empty(choices):
    arch = MACRO.decode(choices)

    canonical = MACRO.encode(arch)

    assert MACRO.decode(canonical) == arch
    assert not (canonical["l4"] == "nothing" and canonical["l5"] != "nothing")
    assert not (canonical["l7"] == "nothing" and canonical["l8"] != "nothing")


def test_a_network_of_another_space_is_refused():
    other = chain_space("other", ChainLayout(ops=OPS, places=MACRO_PLACES[:3], stem=Stem(32, stride=1)))

    with pytest.raises(ValueError, match="not in space 'macro'"):
        MACRO.encode(other.decode(other.encode(other.decode({"l1": "reduce", "l2": "nothing", "l3": "e6_k5"}))))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((), "has no places"),
        ((Place(filters=8, ops=("e9",)),), "l1 names .'e9'.; ops are nothing"),
        ((Place(filters=8, stride=2, ops=("nothing", "e3_k3")),), "l1: nothing is no layer, but the place makes 8"),
        ((Place(filters=8, ops=("e3_k3",)),), "one network"),
        ((Place(filters=8, stride=3, ops=("e3_k3", "e6_k5")),), "l1: e3_k3: stride 3"),
    ],
)
def test_impossible_chains_are_refused(places, message):
    with pytest.raises(ValueError, match=message):
        chain_space("bad", ChainLayout(ops=OPS, places=places))


def test_a_space_travels_to_other_processes():
    copy = pickle.loads(pickle.dumps(MACRO))

    assert copy.choices == MACRO.choices
    assert copy.slots(dict.fromkeys((f"l{n}" for n in range(1, 9)), "e6_k5")) == tuple(f"b{n}" for n in range(1, 9))
