"""The edits by hand: in the published order they are what lies between NetAdapt's outcome and MobileNetV3."""

import pytest
from hypothesis import given

from nas.reproduction.redesign import EDITS, all_edits, edited, hswish_in_the_second_half
from search_spaces.arch_string import parse_arch
from search_spaces.edits import with_expansions
from search_spaces.mnasnet import MNASNET
from search_spaces.mobilenet_v3 import MOBILENET_V3
from search_spaces.zoo import get
from tests.strategies import PROPERTY, choices_of

ADAPTED = {1: 64, 2: 72, 7: 200, 8: 184, 9: 184}  # expansions of MnasNet-A1 that MobileNetV3's authors changed


def test_they_lead_from_the_adapted_seed_to_mobilenet_v3_large():
    adapted = with_expansions(get("mnasnet_a1"), ADAPTED)
    assert all_edits(adapted, list(EDITS)) == get("mobilenet_v3_large")
    assert all_edits(adapted, list(reversed(EDITS))) == get("mobilenet_v3_large")


@pytest.mark.parametrize(("network", "channels"), [("mobilenet_v3_large", 80), ("mobilenet_v3_small", 40)])
def test_hswish_begins_where_the_published_tables_have_it(network, channels):
    published = get(network)
    blocks = hswish_in_the_second_half(published).blocks
    first = next(block for block in blocks if block.activation == "hswish")
    assert first.out_channels == channels
    assert hswish_in_the_second_half(published) == published


def test_an_edit_that_does_not_fit_says_why():
    large = get("mobilenet_v3_large")
    assert edited(large, "last_stage").arch is None
    assert "last stage" in edited(large, "last_stage").reason
    assert edited(large, "stem").reason == "changes nothing"
    shallow = parse_arch("stem_k3_s22_o16 r1_k3_s11_e3_i16_o16 head_o64")
    assert "stride" in edited(shallow, "hswish").reason
    assert all_edits(large, list(EDITS)) == large


@PROPERTY
@given(choices_of(MNASNET))
def test_mobilenet_v3_holds_what_the_edits_by_hand_make_of_mnasnet(choices):
    """Where they fit: the last block is one inverted residual of six times its input, the first may have a skip."""
    choices = {**choices, "b7.op": "mbconv6", "b7.layers": 1, "b1.op": "sepconv", "b1.skip": "identity"}
    redesigned = all_edits(MNASNET.decode(choices), list(EDITS))
    kept = {name: option for name, option in choices.items() if not name.startswith("b7.")}
    assert MOBILENET_V3.decode(kept).key == redesigned.key


def test_mobilenet_v3_large_before_netadapt_is_a_point():
    choices = MOBILENET_V3.encode(all_edits(get("mnasnet_a1"), list(EDITS)))
    a1 = MNASNET.encode(get("mnasnet_a1"))
    assert choices == {name: a1[name] for name in choices} | {"b1.skip": "identity"}
    with pytest.raises(ValueError, match="needs 6 blocks and its stem and head"):
        MOBILENET_V3.encode(get("mobilenet_v3_large"))
