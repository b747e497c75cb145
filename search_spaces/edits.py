"""Named edits: functions ArchSpec -> ArchSpec, of which both the history of a network and a search are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from search_spaces.arch import (
    Activation,
    ArchSpec,
    AuxHead,
    Block,
    BlockSpec,
    SqueezeExcite,
    SqueezeRule,
    Stem,
    make_divisible,
)
from search_spaces.module import Branches

Width = Callable[[float], int]
"""Rounds a scaled width."""


def _with_blocks(arch: ArchSpec, edit: Callable[[BlockSpec], BlockSpec]) -> ArchSpec:
    blocks = (edit(block) if isinstance(block, BlockSpec) else block for block in arch.blocks)
    return replace(arch, blocks=tuple(blocks))


def one_layer_blocks(arch: ArchSpec) -> ArchSpec:
    """The same network, each layer a block of its own, so that each can be edited alone."""
    blocks: list[Block] = []
    for block in arch.blocks:
        if not isinstance(block, BlockSpec):
            blocks.append(block)
            continue
        given = block.in_channels
        for position in range(block.repeats):
            stride = block.stride if position == 0 else 1
            blocks.append(replace(block, repeats=1, in_channels=given, stride=stride))
            given = block.out_channels
    return replace(arch, blocks=tuple(blocks), aux=arch.aux_by_layer())


def joined_blocks(arch: ArchSpec) -> ArchSpec:
    """The inverse of `one_layer_blocks`: neighbours that one block can hold become one.

    An auxiliary head reads the end of a block: the layer that it reads stays one.
    """
    blocks: list[Block] = []
    read = {head.after: head for head in arch.aux}
    aux: list[AuxHead] = []
    for number, block in enumerate(arch.blocks, start=1):
        if blocks and number - 1 not in read and (joined := _joined(blocks[-1], block)):
            blocks[-1] = joined
        else:
            blocks.append(block)
        if number in read:
            aux.append(replace(read[number], after=len(blocks)))
    return replace(arch, blocks=tuple(blocks), aux=tuple(aux))


def _joined(first: Block, second: Block) -> BlockSpec | None:
    if not isinstance(first, BlockSpec) or not isinstance(second, BlockSpec):
        return None
    joined = replace(first, repeats=first.repeats + second.repeats)
    same = [*first.layers(), *second.layers()] == list(joined.layers())
    return joined if same else None


def with_expansions(arch: ArchSpec, widths: dict[int, int]) -> ArchSpec:
    """Absolute expanded widths of some layers.

    Args:
        arch: the network.
        widths: number of the layer among all inverted residuals, from 0 -> channels.

    Raises:
        ValueError: no inverted residual of that number.
    """
    flat = one_layer_blocks(arch)
    blocks, number = list(flat.blocks), 0
    left = dict(widths)
    for position, block in enumerate(blocks):
        if isinstance(block, BlockSpec) and block.op == "mbconv":
            if number in left:
                blocks[position] = expanded(block, left.pop(number))
            number += 1
    if left:
        raise ValueError(f"no inverted residuals number {sorted(left)}: the network has {number}")
    return joined_blocks(replace(flat, blocks=tuple(blocks)))


def expanded(block: BlockSpec, channels: int) -> BlockSpec:
    """`block` with so many channels inside, as a ratio where it is a whole one, as the published strings are written."""
    ratio, rest = divmod(channels, block.in_channels)
    if rest:
        return replace(block, expand_ratio=1, expand_channels=channels)
    return replace(block, expand_ratio=ratio, expand_channels=None)


def with_stem_channels(arch: ArchSpec, channels: int) -> ArchSpec:
    """Another number of first filters; the first block, whose expansion follows its input, takes them.

    Its skip follows the rule of the published tables, identity where stride and widths of an inverted residual allow.
    """
    first = arch.blocks[0]
    if not isinstance(first, BlockSpec):
        raise ValueError("the stem is not followed by a block of convolutions")
    keeps_shape = channels == first.out_channels and first.stride == 1
    skip = "identity" if keeps_shape and first.op == "mbconv" else first.skip
    blocks = (replace(first, in_channels=channels, skip=skip), *arch.blocks[1:])
    return replace(arch, blocks=blocks, stem=replace(arch.stem, channels=channels))


def with_efficient_last_stage(arch: ArchSpec) -> ArchSpec:
    """MobileNetV3's last stage: the last block keeps its expansion alone, pooled before the wide layer.

    The expansion becomes the head's convolution and the wide 1x1 convolution a biased layer without BN behind the pooling
    (arXiv 1905.02244, figure 5).

    Raises:
        ValueError: the network does not end in one inverted residual and a wide convolution.
    """
    flat = one_layer_blocks(arch)
    last, head = flat.blocks[-1], flat.head
    if not isinstance(last, BlockSpec) or last.op != "mbconv" or head.channels is None or head.hidden is not None:
        raise ValueError("the efficient last stage replaces an inverted residual followed by a wide 1x1 convolution")
    [layer] = last.layers()
    efficient = replace(head, channels=layer.expanded_channels, hidden=head.channels)
    return joined_blocks(replace(flat, blocks=flat.blocks[:-1], head=efficient))


def _with_squeezes(arch: ArchSpec, edit: Callable[[SqueezeExcite | None], SqueezeExcite | None]) -> ArchSpec:
    """Each squeeze-and-excitation edited, and None where there could be one."""
    can = (replace(b, se=edit(b.se)) if isinstance(b, BlockSpec | Branches) else b for b in arch.blocks)
    return replace(arch, blocks=tuple(can))


def with_squeeze_rule(arch: ArchSpec, ratio: float, rule: SqueezeRule) -> ArchSpec:
    """Another ratio and rule of squeeze-and-excitation, on the blocks that have one."""
    return _with_squeezes(arch, lambda se: SqueezeExcite(ratio, rule) if se else None)


def with_squeeze(arch: ArchSpec, ratio: float) -> ArchSpec:
    """Squeeze-and-excitation on everything that it can stand on: blocks of convolutions, and Inception modules.

    What has none gets SENet's form (arXiv 1709.01507: ratio of the channels that it gates, sigmoid); what has one keeps
    its rule and gets the ratio.
    """
    return _with_squeezes(arch, lambda se: SqueezeExcite(ratio, se.rule if se else "gated"))


def without_squeeze(arch: ArchSpec) -> ArchSpec:
    """No squeeze-and-excitation."""
    return _with_squeezes(arch, lambda _: None)


def with_activation(arch: ArchSpec, activation: Activation, from_channels: int = 0) -> ArchSpec:
    """`activation` in stem, head and the layers from the first one that gives at least `from_channels` channels.

    MobileNetV3's h-swish@N (arXiv 1905.02244, table 5): N = 80 for Large, and every layer for N = 0. The activation
    inside squeeze-and-excitation stays ReLU.
    """
    flat = one_layer_blocks(arch)
    blocks, reached = list(flat.blocks), False
    for position, block in enumerate(blocks):
        if not isinstance(block, BlockSpec | Branches):
            continue
        reached = reached or block.out_channels >= from_channels
        if reached:
            blocks[position] = replace(block, activation=activation)
    stem, head = replace(flat.stem, activation=activation), replace(flat.head, activation=activation)
    return joined_blocks(replace(flat, blocks=tuple(blocks), stem=stem, head=head))


def with_kernel(arch: ArchSpec, kernel: int) -> ArchSpec:
    """One kernel size in all blocks."""
    return _with_blocks(arch, lambda block: replace(block, kernel=kernel))


def minimalistic(arch: ArchSpec) -> ArchSpec:
    """MobileNetV3's minimalistic form: no SE, ReLU, 3x3 kernels (slim `V3_LARGE_MINIMALISTIC`)."""
    return joined_blocks(one_layer_blocks(with_kernel(without_squeeze(with_activation(arch, "relu")), 3)))


def scaled(
    arch: ArchSpec,
    alpha: float,
    width: Width = make_divisible,
    *,
    head_alpha: float | None = None,
    hidden_alpha: float = 1.0,
) -> ArchSpec:
    """Every width between blocks times `alpha`.

    Args:
        arch: the network of width 1, of blocks of convolutions only.
        alpha: width multiplier.
        width: rounds.
        head_alpha: multiplier of the head's convolution; by default `alpha`.
        hidden_alpha: multiplier of the hidden layer.

    Raises:
        ValueError: the network has other blocks.
    """
    flat = one_layer_blocks(arch)
    stem: Stem = replace(flat.stem, channels=width(flat.stem.channels * alpha))
    blocks: list[Block] = []
    given = stem.channels
    for block in flat.blocks:
        if not isinstance(block, BlockSpec) or block.is_bottleneck:
            raise ValueError("the width multiplier is for plain, separable and inverted residual blocks")
        inner = block.expand_channels
        if (
            inner is not None
        ):  # MobileNetV3's factors such as 184/80, of the scaled input (slim `expand_input_by_factor`)
            inner = width(given * inner / block.in_channels)
        out = width(block.out_channels * alpha)
        blocks.append(replace(block, in_channels=given, out_channels=out, expand_channels=inner))
        given = out
    channels, hidden = flat.head.channels, flat.head.hidden
    head = replace(
        flat.head,
        channels=channels and width(channels * (alpha if head_alpha is None else head_alpha)),
        hidden=hidden and width(hidden * hidden_alpha),
    )
    return joined_blocks(replace(flat, blocks=tuple(blocks), stem=stem, head=head))


Edit = Callable[[ArchSpec], ArchSpec]


def replayed(arch: ArchSpec, edits: Sequence[Edit]) -> list[ArchSpec]:
    """What `arch` is after each of `edits`, in order."""
    history: list[ArchSpec] = []
    for edit in edits:
        arch = edit(arch)
        history.append(arch)
    return history
