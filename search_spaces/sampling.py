"""Narrower variants of one architecture: the networks among which a refinement of its widths will move.

Every layer becomes a block of its own, so that each expansion has its own width. Widths tied by a residual connection stay
equal, and a layer has a skip in a variant exactly where it has one in the original: the variants differ in widths alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from search_spaces.arch import ArchSpec, Block, BlockSpec
from search_spaces.module import Branches

DIVISOR = 8

Width = Callable[[int], int]
"""A full width -> the width it gets."""


def _smallest(_: int) -> int:
    return DIVISOR


def _full(width: int) -> int:
    return width


def _second_smallest(width: int) -> int:
    return min(width, 2 * DIVISOR)


def width_variant(arch: ArchSpec, rng: np.random.Generator) -> ArchSpec:
    """`arch` with every free width drawn from the multiples of 8 up to its full width, and that itself."""

    def draw(width: int) -> int:
        options = [*range(DIVISOR, width, DIVISOR), width]
        return int(options[rng.integers(len(options))])

    return with_widths(arch, draw, draw)


def width_corners(arch: ArchSpec) -> tuple[ArchSpec, ...]:
    """The extreme variants: full widths, and two narrow ones that between them have every width at its least.

    An expansion as wide as its input would be left out of the network, so that not all widths can be least at once.
    """
    return (
        with_widths(arch, _full, _full),
        with_widths(arch, _smallest, _second_smallest),
        with_widths(arch, _second_smallest, _smallest),
    )


def with_widths(arch: ArchSpec, outer: Width, inner: Width) -> ArchSpec:
    """`arch`, a layer a block, with new widths.

    Args:
        arch: the network of full widths.
        outer: gives the widths between layers, of stem and of head; asked once for each group of tied ones. Where the
            answer equals the input's, which would drop a bottleneck's projection, it gives `DIVISOR` channels less, or
            more at the least width.
        inner: gives the expanded widths; where the answer equals the input's, which would drop the expansion, the layer
            gets `DIVISOR` channels more, or fewer at its full width.

    Raises:
        ValueError: the network has parallel branches.
    """
    stem = replace(arch.stem, channels=outer(arch.stem.channels))
    blocks: list[Block] = []
    width = stem.channels
    for block in arch.blocks:
        if isinstance(block, Branches):
            raise ValueError("the widths of parallel branches have no variants")
        if not isinstance(block, BlockSpec):
            blocks.append(block)
            continue
        for layer in block.layers():
            out = width if layer.skip in ("identity", "pool") else outer(layer.out_channels)
            if layer.skip == "projection" and layer.stride == 1:
                out = _unlike(width, out, layer.out_channels, -DIVISOR)
            has_expansion = layer.op == "mbconv" and layer.expanded_channels != layer.in_channels
            expanded = None
            if has_expansion:
                expanded = _unlike(width, inner(layer.expanded_channels), layer.expanded_channels, DIVISOR)
            elif block.is_bottleneck:
                expanded = inner(layer.expanded_channels)
            blocks.append(
                BlockSpec(
                    kernel=layer.kernel,
                    stride=layer.stride,
                    in_channels=width,
                    out_channels=out,
                    op=layer.op,
                    expand_channels=expanded,
                    se=block.se,
                    skip="identity" if layer.skip == "projection" else layer.skip,
                    activation=layer.activation,
                    padding=layer.padding,
                )
            )
            width = out
    head = arch.head
    channels = None if head.channels is None else outer(head.channels)
    hidden = None if head.hidden is None else outer(head.hidden)
    return replace(arch, blocks=tuple(blocks), stem=stem, head=replace(head, channels=channels, hidden=hidden), aux=())


def _unlike(taken: int, width: int, full: int, step: int) -> int:
    """`width`, or where that is `taken` the next one, in the direction of `step` if there is one."""
    if width != taken:
        return width
    return width + step if DIVISOR <= width + step <= full else max(width - step, 1)
