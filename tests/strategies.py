"""Hypothesis strategies for architectures and candidates, shared by the tests of all packages."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from search_spaces.arch import BLOCK_ACTIVATIONS, ArchSpec, BlockSpec, Head, SqueezeExcite, Stem
from search_spaces.choice import Choices
from search_spaces.space import SearchSpace

PROPERTY = settings(deadline=None, derandomize=True, database=None)
"""Settings of a property test: the same examples on every run, no time limit per example."""

_KERNELS = st.sampled_from((1, 3, 5, 7))
_STRIDES = st.sampled_from((1, 2))
_ACTIVATIONS = st.sampled_from(BLOCK_ACTIVATIONS)
_SKIPS = st.sampled_from(("identity", "pool", "none"))


def squeeze_excites() -> st.SearchStrategy[SqueezeExcite]:
    """Both rules; usual ratios and any float in (0, 1]."""
    ratios = st.sampled_from((0.25, 0.5, 1.0)) | st.floats(0.0, 1.0, exclude_min=True)
    return st.builds(SqueezeExcite, ratios, st.sampled_from(("input", "expansion")))


@st.composite
def blocks(draw: st.DrawFn, in_channels: int, widths: st.SearchStrategy[int]) -> BlockSpec:
    """Any valid block that receives `in_channels`."""
    op = draw(st.sampled_from(("conv", "mbconv")))
    absolute = op == "mbconv" and draw(st.booleans())
    return BlockSpec(
        kernel=draw(_KERNELS),
        stride=draw(_STRIDES),
        in_channels=in_channels,
        out_channels=draw(st.just(in_channels) | widths),  # equal widths are where skips apply
        op=op,
        repeats=draw(st.integers(1, 3)),
        expand_ratio=1 if op == "conv" or absolute else draw(st.integers(1, 6)),
        expand_channels=draw(st.just(in_channels) | widths) if absolute else None,
        se=draw(st.none() | squeeze_excites()),
        skip=draw(_SKIPS),
        activation=draw(_ACTIVATIONS),
    )


@st.composite
def archs(draw: st.DrawFn, max_width: int = 400, max_blocks: int = 4) -> ArchSpec:
    """Any valid architecture: a chain of blocks with every token of the string form, a stem and a head."""
    widths = st.integers(1, max_width)
    default_stem = st.just(Stem()) if max_width >= Stem().channels else st.nothing()
    default_head = st.just(Head()) if max_width >= Head().channels else st.nothing()
    stem = draw(default_stem | st.builds(Stem, widths, _KERNELS, _STRIDES, _ACTIVATIONS))
    dropouts = st.sampled_from((0.0, 0.2)) | st.floats(0.0, 1.0, exclude_max=True)
    head = draw(default_head | st.builds(Head, widths, st.none() | widths, _ACTIVATIONS, dropouts))
    chain: list[BlockSpec] = []
    for _ in range(draw(st.integers(1, max_blocks))):
        chain.append(draw(blocks(chain[-1].out_channels if chain else stem.channels, widths)))
    return ArchSpec(tuple(chain), stem, head)


def choices_of(space: SearchSpace) -> st.SearchStrategy[Choices]:
    """Any candidate of `space`."""
    return st.fixed_dictionaries({choice.name: st.sampled_from(choice.options) for choice in space.choices})
