"""An architecture with other widths and nothing else changed: what a refinement of widths proposes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from search_spaces.arch import ArchSpec, Block, BlockSpec, ConvOp, Shortcut
from search_spaces.edits import expanded
from search_spaces.lower import lower
from search_spaces.module import Branch, BranchConv, Branches, Fork, Step
from search_spaces.width_groups import ALL_KINDS, WidthGroup, width_groups

_OUTER: dict[ConvOp, str] = {
    "conv": "conv",
    "dwsep": "pointwise",
    "mbconv": "project",
    "bottleneck": "expand",
    "bottleneck_v1": "expand",
}
_INNER: dict[ConvOp, str] = {"mbconv": "expand", "bottleneck": "reduce", "bottleneck_v1": "reduce"}
"""Operation of a layer -> the convolution that has its outer and its inner width."""


_ROOMY = 1024
"""Pixels, into which the windows of any network fit."""


class StructureError(ValueError):
    """A width that would change more than widths: drop an expansion or a projection, or make a skip appear or vanish."""


def groups_of(arch: ArchSpec) -> tuple[WidthGroup, ...]:
    """Every width of `arch`; they are the same at all resolutions at which it can be built."""
    return width_groups(lower(arch, _ROOMY, 1)).groups


def narrowed(arch: ArchSpec, groups: Iterable[WidthGroup], widths: Mapping[str, int]) -> ArchSpec:
    """`arch` with some groups at other widths; squeezed widths follow by their own rule.

    Args:
        arch: a layer a block (`search_spaces.edits.one_layer_blocks`), so that every width can be said alone.
        groups: all of its widths.
        widths: name of a group -> channels, at least 1; the others stay.

    Raises:
        StructureError: a width at which the network would have other operations.
        ValueError: layers share a block, or a name is not that of a group which can be chosen.
    """
    if any(isinstance(block, BlockSpec) and block.repeats > 1 for block in arch.blocks):
        raise ValueError("widths are changed layer by layer: give one_layer_blocks(arch)")
    channels: dict[str, int] = {}
    unknown = set(widths)
    for group in groups:
        if group.kind in ALL_KINDS:
            unknown.discard(group.name)
        for member in group.members:
            channels[member] = channels.get(member, 0) + widths.get(group.name, group.width)
    if unknown:
        raise ValueError(f"no width groups that can be chosen: {', '.join(sorted(unknown))}")
    return _with_channels(arch, channels)


def _with_channels(arch: ArchSpec, channels: Mapping[str, int]) -> ArchSpec:
    """`arch` with so many output channels of its convolutions, by the names of their operations."""
    stem = replace(arch.stem, channels=channels["stem"])
    blocks: list[Block] = []
    given = stem.channels
    for number, block in enumerate(arch.blocks, start=1):
        name = f"b{number}.l1"
        if isinstance(block, BlockSpec):
            block = _block(name, block, given, channels)
        elif isinstance(block, Branches):
            branches = _branches(name, block.branches, channels)
            block = replace(block, in_channels=given, branches=branches)
        blocks.append(block)
        given = block.receive(given)
    head = replace(
        arch.head,
        channels=None if arch.head.channels is None else channels["head.conv"],
        hidden=None if arch.head.hidden is None else channels["head.hidden"],
    )
    return replace(arch, stem=stem, blocks=tuple(blocks), head=head)


def _block(name: str, block: BlockSpec, given: int, channels: Mapping[str, int]) -> BlockSpec:
    [layer] = block.layers()
    out = channels[f"{name}.{_OUTER[block.op]}"]
    has_expansion = block.op == "mbconv" and layer.expanded_channels != layer.in_channels
    inner = channels[f"{name}.{_INNER[block.op]}"] if has_expansion or block.is_bottleneck else None
    if has_expansion and inner == given:
        raise StructureError(f"{name}: at {inner} channels the expansion would widen nothing and be left out")
    if (given, out) == (layer.in_channels, layer.out_channels) and inner in (None, layer.expanded_channels):
        return block
    changed = replace(block, in_channels=given, out_channels=out, expand_ratio=1, expand_channels=inner)
    if has_expansion and inner is not None:
        changed = expanded(changed, inner)
    return _with_shortcut(name, changed, layer.skip)


def _with_shortcut(name: str, block: BlockSpec, wanted: Shortcut) -> BlockSpec:
    """`block` with the shortcut that its layer had, where a skip might appear because widths have become equal."""
    if wanted == "none" and next(block.layers()).skip != wanted:
        block = replace(block, skip="none")
    if (shortcut := next(block.layers()).skip) != wanted:
        widths = f"{block.in_channels} channels in and {block.out_channels} out"
        raise StructureError(f"{name}: with {widths} its shortcut would be {shortcut}, no longer {wanted}")
    return block


def _branches(name: str, branches: tuple[Branch, ...], channels: Mapping[str, int]) -> tuple[Branch, ...]:
    return tuple(
        tuple(_step(f"{name}.branch{number}.{place}", step, channels) for place, step in enumerate(branch, start=1))
        for number, branch in enumerate(branches, start=1)
    )


def _step(name: str, step: Step, channels: Mapping[str, int]) -> Step:
    match step:
        case BranchConv():
            return replace(step, channels=channels[name])
        case Fork():
            return replace(step, branches=_branches(name, step.branches, channels))
        case _:
            return step
