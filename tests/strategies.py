"""Hypothesis strategies for architectures and candidates, shared by the tests of all packages."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import settings
from hypothesis import strategies as st

from search_spaces.arch import BLOCK_ACTIVATIONS, ArchSpec, AuxHead, Block, BlockSpec, Head, Norm, SqueezeExcite, Stem
from search_spaces.choice import Choices
from search_spaces.lower import lower
from search_spaces.module import Branch, BranchConv, Branches, Fork, LocalNorm, Pool, Step
from search_spaces.space import SearchSpace

PROPERTY = settings(deadline=None, derandomize=True, database=None)
"""Settings of a property test: the same examples on every run, no time limit per example."""

Widths = st.SearchStrategy[int]

_KERNELS = st.sampled_from((1, 3, 5, 7))
_STRIDES = st.sampled_from((1, 2))
_ACTIVATIONS = st.sampled_from(BLOCK_ACTIVATIONS)
_SKIPS = st.sampled_from(("identity", "pool", "none"))
_DROPOUTS = st.sampled_from((0.0, 0.2)) | st.floats(0.0, 1.0, exclude_max=True)
_OPEN_FRACTIONS = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)
_LARGEST_LEAST_RESOLUTION = 400


def squeeze_excites() -> st.SearchStrategy[SqueezeExcite]:
    """All rules; usual ratios and any float in (0, 1]."""
    ratios = st.sampled_from((0.0625, 0.25, 0.5, 1.0)) | st.floats(0.0, 1.0, exclude_min=True)
    return st.builds(SqueezeExcite, ratios, st.sampled_from(("input", "expansion", "gated")))


@st.composite
def specs(draw: st.DrawFn, in_channels: int, widths: Widths) -> BlockSpec:
    """Any block of identical layers that receives `in_channels`."""
    op = draw(st.sampled_from(("conv", "dwsep", "mbconv", "bottleneck", "bottleneck_v1")))
    bottleneck = op.startswith("bottleneck")
    absolute = bottleneck or (op == "mbconv" and draw(st.booleans()))
    skip = draw(st.sampled_from(("identity", "none")) if bottleneck else _SKIPS)
    valid = op == "conv" and skip == "none" and draw(st.booleans())
    return BlockSpec(
        kernel=draw(st.sampled_from((1, 3)) if valid else _KERNELS),
        stride=draw(_STRIDES),
        in_channels=in_channels,
        out_channels=draw(st.just(in_channels) | widths),  # equal widths are where skips apply
        op=op,
        repeats=1 if valid else draw(st.integers(1, 3)),
        expand_ratio=draw(st.integers(1, 6)) if op == "mbconv" and not absolute else 1,
        expand_channels=draw(st.just(in_channels) | widths) if absolute else None,
        se=draw(st.none() | squeeze_excites()),
        skip=skip,
        activation=draw(_ACTIVATIONS | st.just("none") if op == "conv" else _ACTIVATIONS),
        padding="valid" if valid else "same",
    )


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Any pooling."""
    kind, kernel = draw(st.sampled_from(("max", "average"))), draw(st.integers(2, 5))
    padding = draw(st.sampled_from(("same", "valid", "ceil") if kernel % 2 else ("valid", "ceil")))
    counts_padding = kind == "average" and padding == "same" and draw(st.booleans())
    return Pool(kind, kernel, draw(_STRIDES), padding, counts_padding)


def _same_steps(widths: Widths) -> st.SearchStrategy[Step]:
    """Steps that keep height and width."""
    sides = st.sampled_from((1, 3, 7))
    convs = st.builds(BranchConv, st.tuples(sides, sides), widths)
    averages = st.builds(Pool, st.just("average"), st.just(3), st.just(1), st.just("same"), st.booleans())
    return convs | averages | st.just(Pool("max", 5, 1))


@st.composite
def _last_steps(draw: st.DrawFn, widths: Widths) -> st.SearchStrategy[Step]:
    """What ends the branches of one module: steps that make the same of height and width."""
    padding, stride = draw(st.sampled_from(("same", "valid"))), draw(_STRIDES)
    sides = st.sampled_from((1, 3))
    kernel = draw(st.tuples(sides, sides))
    steps: st.SearchStrategy[Step] = st.builds(BranchConv, st.just(kernel), widths, st.just(stride), st.just(padding))
    if kernel == (3, 3):
        steps |= st.sampled_from((Pool("max", 3, stride, padding), Pool("average", 3, stride, padding)))
    if (padding, stride) == ("same", 1):
        inner = st.lists(st.lists(_same_steps(widths), min_size=1, max_size=2).map(tuple), min_size=2, max_size=2)
        steps |= st.builds(Fork, inner.map(tuple))
    return steps


@st.composite
def modules(draw: st.DrawFn, in_channels: int, widths: Widths) -> Branches:
    """Parallel branches that end in maps of one size whatever they receive."""
    last = draw(_last_steps(widths))

    def branch() -> Branch:
        return (*draw(st.lists(_same_steps(widths), max_size=2)), draw(last))

    branches = tuple(branch() for _ in range(draw(st.integers(2, 3))))
    return Branches(in_channels, branches, draw(st.none() | squeeze_excites()), draw(_ACTIVATIONS))


@st.composite
def blocks(draw: st.DrawFn, in_channels: int, widths: Widths) -> Block:
    """Any block that receives `in_channels`; half of them blocks of identical layers."""
    if draw(st.booleans()):
        return draw(specs(in_channels, widths))
    local_norms = st.builds(LocalNorm, st.sampled_from((3, 5)))
    return draw(pools() | local_norms | modules(in_channels, widths))


@st.composite
def _aux_heads(draw: st.DrawFn, num_blocks: int, widths: Widths) -> tuple[AuxHead, ...]:
    places = draw(st.lists(st.integers(1, num_blocks), max_size=2, unique=True).map(sorted))
    weights = st.sampled_from((0.3, 1.0)) | _OPEN_FRACTIONS
    optional = st.none() | widths
    return tuple(draw(st.builds(AuxHead, st.just(p), weights, widths, optional, optional, _DROPOUTS)) for p in places)


@st.composite
def stems(draw: st.DrawFn, widths: Widths) -> Stem:
    """Any stem; those without padding have small windows."""
    padding = draw(st.sampled_from(("same", "valid")))
    kernels = _KERNELS if padding == "same" else st.sampled_from((1, 3))
    return Stem(draw(widths), draw(kernels), draw(_STRIDES), draw(_ACTIVATIONS), padding)


@st.composite
def archs(draw: st.DrawFn, max_width: int = 400, max_blocks: int = 4) -> ArchSpec:
    """Any valid architecture: blocks of every kind with every token of the string form, norm, stem, head, auxiliary heads."""
    widths = st.integers(1, max_width)
    default_stem = st.just(Stem()) if max_width >= Stem().channels else st.nothing()
    default_head = st.just(Head()) if max_width >= Head().channels else st.nothing()
    stem = draw(default_stem | stems(widths))
    head = draw(default_head | st.builds(Head, st.none() | widths, st.none() | widths, _ACTIVATIONS, _DROPOUTS))
    chain: list[Block] = []
    width = stem.channels
    for _ in range(draw(st.integers(1, max_blocks))):
        chain.append(draw(blocks(width, widths)))
        width = chain[-1].receive(width)
    norm = draw(st.just(Norm()) | st.none() | st.builds(Norm, st.just(1e-5) | _OPEN_FRACTIONS))
    return ArchSpec(tuple(chain), stem, head, norm, draw(_aux_heads(len(chain), widths)))


def fits(arch: ArchSpec, resolution: int) -> bool:
    """Whether every window of `arch` fits into what it gets."""
    try:
        lower(arch, resolution, 1, training=True)
    except ValueError as error:
        if "the input resolution is too small for this network" not in str(error):
            raise
        return False
    return True


def least_resolution(arch: ArchSpec) -> int:
    """The smallest at which `arch` can be built: a window that fits into a map fits into every larger one."""
    return 1 + bisect_left(range(1, _LARGEST_LEAST_RESOLUTION), True, key=lambda side: fits(arch, side))


@st.composite
def sized_archs(draw: st.DrawFn, max_width: int = 400, max_blocks: int = 4, span: int = 32) -> tuple[ArchSpec, int]:
    """Any architecture, and a resolution at which it can be built, at most `span` above the least one."""
    arch = draw(archs(max_width, max_blocks))
    least = least_resolution(arch)
    return arch, draw(st.integers(least, least + span))


def choices_of(space: SearchSpace) -> st.SearchStrategy[Choices]:
    """Any candidate of `space`."""
    return st.fixed_dictionaries({choice.name: st.sampled_from(choice.options) for choice in space.choices})
