"""Spaces that a recipe spells out."""

from __future__ import annotations

import itertools
import pickle

import pytest
from hypothesis import given

from search_spaces.arch import Head, Norm, Stem
from search_spaces.arch_string import parse_arch
from search_spaces.choice import Choice
from search_spaces.stages import StageLayout, StageOptions, stage_space
from search_spaces.zoo import get
from tests.strategies import PROPERTY, choices_of

LAYOUT = StageLayout(
    stages=(
        StageOptions(filters=(16,), expand=(1,)),
        StageOptions(
            filters=(24, 32),
            expand=(3, 6),
            kernel=(3, 5),
            layers=(1, 2),
            se=(0.0, 0.25),
            skip=("identity", "none"),
            stride=2,
        ),
    ),
    stem=Stem(8),
    head=Head(None, dropout=0.1),
    activation="hswish",
    se_rule="expansion",
    norm=Norm(1e-5),
)
SPACE = stage_space("small", LAYOUT)


def test_only_lists_of_options_are_decisions_in_a_stated_order():
    assert SPACE.choices == (
        Choice("b2.expand", (3, 6)),
        Choice("b2.kernel", (3, 5)),
        Choice("b2.layers", (1, 2)),
        Choice("b2.se", (0.0, 0.25)),
        Choice("b2.filters", (24, 32)),
        Choice("b2.skip", ("identity", "none")),
    )
    assert SPACE.size == 64


def test_a_candidate_is_the_network_that_its_options_say():
    choices = {"b2.expand": 6, "b2.kernel": 5, "b2.layers": 2, "b2.se": 0.25, "b2.filters": 32, "b2.skip": "none"}
    arch = SPACE.decode(choices)
    first, second, third = arch.layers()
    assert [(x.in_channels, x.expanded_channels, x.out_channels, x.stride) for x in (first, second, third)] == [
        (8, 8, 16, 1),
        (16, 96, 32, 2),
        (32, 192, 32, 1),
    ]
    assert [x.kernel for x in (first, second, third)] == [3, 5, 5]
    assert [x.squeezed_channels for x in (first, second, third)] == [0, 24, 48]
    assert [x.skip for x in (first, second, third)] == ["none", "none", "none"]
    assert {x.activation for x in (first, second, third)} == {"hswish"}
    assert (arch.stem, arch.head, arch.norm) == (LAYOUT.stem, LAYOUT.head, LAYOUT.norm)


def test_every_candidate_translates_both_ways():
    names = [choice.name for choice in SPACE.choices]
    for options in itertools.product(*(choice.options for choice in SPACE.choices)):
        choices = dict(zip(names, options, strict=True))
        assert SPACE.encode(SPACE.decode(choices)) == choices
        assert parse_arch(str(SPACE.decode(choices))) == SPACE.decode(choices)


@given(choices=choices_of(SPACE))
@PROPERTY
def test_a_space_travels_to_other_processes(choices):
    assert pickle.loads(pickle.dumps(SPACE)).decode(choices) == SPACE.decode(choices)


def test_networks_outside():
    with pytest.raises(ValueError, match=r"not in space 'small'"):
        SPACE.encode(get("mobilenet_v2"))
    with pytest.raises(ValueError, match=r"block 1 is a Pool"):
        SPACE.encode(get("googlenet"))
    inside = SPACE.decode({c.name: c.options[0] for c in SPACE.choices})
    for other in (str(inside).replace("s22_e3", "s11_e3"), str(inside).replace("e3", "e4")):
        assert other != str(inside)
        with pytest.raises(ValueError, match=r"not in space 'small'"):
            SPACE.encode(parse_arch(other))


def test_mobilenet_v2_can_be_spelled_out():
    rows = ((1, 1, 16, 1), (6, 2, 24, 2), (6, 3, 32, 2), (6, 4, 64, 2), (6, 3, 96, 1), (6, 3, 160, 2), (6, 1, 320, 1))
    stages = tuple(StageOptions(filters=(c,), expand=(t,), kernel=(3, 5), layers=(n,), stride=s) for t, n, c, s in rows)
    published = get("mobilenet_v2")
    layout = StageLayout(
        stages=stages, stem=published.stem, head=published.head, activation="relu6", norm=published.norm or Norm()
    )
    space = stage_space("v2", layout)
    assert space.decode({c.name: 3 for c in space.choices}).key == published.key
    assert space.size == 2**7


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), "space 'x' has no stages"),
        ((StageOptions(filters=(16,)),), "space 'x' is one network"),
        ((StageOptions(filters=(16,), kernel=(3, 4)),), "space 'x': b1.kernel: kernel 4: must be odd and positive"),
        ((StageOptions(filters=(16,), kernel=(3, 3)),), "choice 'b1.kernel' repeats an option"),
        ((StageOptions(filters=(16, 24)), StageOptions(filters=(8,), se=(0.0, 2.0))), "space 'x': b2.se: squeeze"),
        ((StageOptions(filters=(16, 24), stride=3),), "stride 3: must be 1 or 2"),
        ((StageOptions(filters=()),), "choice 'b1.filters' has no options"),
    ],
)
def test_impossible_spaces(stages, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the message is compared as it stands)
        stage_space("x", StageLayout(stages=stages))
    assert message in str(error.value)
