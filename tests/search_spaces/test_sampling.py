"""Narrower variants keep the structure: ties, skips, expansions; only widths differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.arch import BlockSpec
from search_spaces.edits import one_layer_blocks
from search_spaces.graph import Conv
from search_spaces.lower import lower
from search_spaces.module import Branches
from search_spaces.sampling import width_corners, width_variant
from search_spaces.zoo import ZOO, get
from tests.strategies import PROPERTY

NARROWABLE = [name for name in ZOO if not any(isinstance(block, Branches) for block in get(name).blocks)]


def structure(arch):
    """Operations with all but their widths; squeezed widths included in what is forgotten."""
    return [(op.name, type(op), op.inputs, op.shape[1:], getattr(op, "kernel", 0)) for op in renamed(arch)]


def renamed(arch):
    """The operations with layers numbered through, for a variant has a block for each layer."""
    return lower(one_layer_blocks(arch), 64, 10).ops


def widths(arch):
    return [op.shape[0] for op in renamed(arch) if not op.name.startswith("classifier")]


def least_width(op, one, other):
    """Of a free width; an expansion of 8 channels that get no narrower than 8 would be left out."""
    return 16 if op.name.endswith(".expand") and one.in_channels == other.in_channels == 8 else 8


@pytest.mark.parametrize("name", NARROWABLE)
def test_full_corner_is_the_network_itself(name):
    full, *narrow = width_corners(get(name))
    assert full.key == get(name).key
    for arch in narrow:
        assert structure(arch) == structure(get(name))
        free = [op.shape[0] for op in renamed(arch) if ".se." not in op.name and op.name != "classifier"]
        assert set(free) <= {8, 16}
    for op, one, other in zip(renamed(full), *map(renamed, narrow), strict=True):
        if isinstance(op, Conv) and op.groups == 1 and ".se." not in op.name:
            assert min(one.shape[0], other.shape[0]) == least_width(op, one, other)


@PROPERTY
@given(st.sampled_from(sorted(NARROWABLE)), st.integers(0, 2**32 - 1))
def test_variants_differ_in_widths_alone(name, seed):
    variant = width_variant(get(name), np.random.default_rng(seed))
    assert structure(variant) == structure(get(name))
    for full, width in zip(widths(get(name)), widths(variant), strict=True):
        assert 1 <= width <= full
    outer = [block.out_channels for block in variant.blocks if isinstance(block, BlockSpec)]
    assert all(width % 8 == 0 for width in (*outer, variant.stem.channels, variant.head.channels or 0))


@pytest.mark.parametrize("name", sorted(ZOO.keys() - set(NARROWABLE)))
def test_parallel_branches_have_no_variants(name):
    with pytest.raises(ValueError, match="the widths of parallel branches have no variants"):
        width_corners(get(name))


def test_widths_are_drawn_all_over():
    rng = np.random.default_rng(0)
    drawn = {width_variant(get("mobilenet_v2"), rng).head.channels for _ in range(2000)}
    assert drawn == set(range(8, 1281, 8))
