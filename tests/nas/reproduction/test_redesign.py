"""The edits by hand: in the published order they are what lies between NetAdapt's outcome and MobileNetV3."""

import pytest

from nas.reproduction.redesign import EDITS, all_edits, edited, hswish_in_the_second_half
from search_spaces.arch_string import parse_arch
from search_spaces.edits import with_expansions
from search_spaces.zoo import get

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
