"""Narrower variants keep the structure: ties, skips, expansions; only widths differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.lower import lower
from search_spaces.sampling import width_corners, width_variant
from search_spaces.zoo import ZOO, get
from tests.strategies import PROPERTY


def structure(arch):
    """Operations with all but their widths; squeezed widths included in what is forgotten."""
    return [(op.name, type(op), op.inputs, op.shape[1:], getattr(op, "kernel", 0)) for op in renamed(arch)]


def renamed(arch):
    """The operations with layers numbered through, for a variant has a block for each layer."""
    from dataclasses import replace

    from search_spaces.arch import ArchSpec, BlockSpec

    blocks = []
    for block in arch.blocks:
        for layer in block.layers():
            expands = layer.op == "mbconv" and layer.expanded_channels != layer.in_channels
            blocks.append(
                BlockSpec(
                    kernel=layer.kernel,
                    stride=layer.stride,
                    in_channels=layer.in_channels,
                    out_channels=layer.out_channels,
                    op=layer.op,
                    expand_channels=layer.expanded_channels if expands else None,
                    se=block.se,
                    skip=layer.skip,
                    activation=layer.activation,
                )
            )
    return lower(replace(arch, blocks=ArchSpec(tuple(blocks), arch.stem, arch.head).blocks), 64, 10).ops


def widths(arch):
    return [op.shape[0] for op in renamed(arch) if not op.name.startswith("classifier")]


@pytest.mark.parametrize("name", ZOO)
def test_full_corner_is_the_network_itself(name):
    full, *narrow = width_corners(get(name))
    assert full.key == get(name).key
    for arch in narrow:
        assert structure(arch) == structure(get(name))
        free = [op.shape[0] for op in renamed(arch) if ".se." not in op.name and op.name != "classifier"]
        assert set(free) <= {8, 16}
    assert all(8 in pair for pair in zip(*(widths(arch) for arch in narrow), strict=True) if max(pair) > 4)


@PROPERTY
@given(st.sampled_from(sorted(ZOO)), st.integers(0, 2**32 - 1))
def test_variants_differ_in_widths_alone(name, seed):
    variant = width_variant(get(name), np.random.default_rng(seed))
    assert structure(variant) == structure(get(name))
    for full, width in zip(widths(get(name)), widths(variant), strict=True):
        assert 1 <= width <= full
    outer = [block.out_channels for block in variant.blocks] + [variant.stem.channels, variant.head.channels]
    assert all(width % 8 == 0 for width in outer)


def test_widths_are_drawn_all_over():
    rng = np.random.default_rng(0)
    drawn = {width_variant(get("mobilenet_v2"), rng).head.channels for _ in range(2000)}
    assert drawn == set(range(8, 1281, 8))
