"""MnasNet's factorised hierarchical space (arXiv 1807.11626, section 4.1): seven blocks, six decisions each.

Options are relative to MobileNetV2: layers -1, 0, +1 and filters x 0.75, 1, 1.25, rounded to multiples of 8, options that
coincide listed once. The released MnasNet-A1 and B1 leave that grid (112 = 1.167 x 96, 192 = 1.2 x 160), so their widths
are added: both are points of the space. The paper's size example (432 per block) counts 3 of its widths and layers each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from search_spaces.arch import (
    Activation,
    ArchSpec,
    BlockSpec,
    ConvOp,
    Head,
    SkipOp,
    SqueezeExcite,
    SqueezeRule,
    Stem,
    make_divisible,
)
from search_spaces.choice import Choice, Choices, Option
from search_spaces.space import SearchSpace

KERNELS = (3, 5)
SE_RATIOS = (0.0, 0.25)
SKIP_OPS: tuple[SkipOp, ...] = ("identity", "pool", "none")
FILTER_RATIOS = (0.75, 1.0, 1.25)
LAYER_STEPS = (-1, 0, 1)

_CONV_OPS: dict[str, tuple[ConvOp, int]] = {
    "conv": ("conv", 1),
    "sepconv": ("mbconv", 1),
    "mbconv3": ("mbconv", 3),
    "mbconv6": ("mbconv", 6),
}
CONV_OPS = tuple(_CONV_OPS)
_CONV_OP_NAMES = {value: name for name, value in _CONV_OPS.items()}


@dataclass(frozen=True, slots=True)
class ReferenceBlock:
    """MobileNetV2's figures of one block, and the released networks' widths that the ratios do not reach."""

    layers: int
    filters: int
    stride: int
    released_filters: tuple[int, ...] = ()

    def layer_options(self) -> tuple[int, ...]:
        """Numbers of layers."""
        return tuple(n for step in LAYER_STEPS if (n := self.layers + step) >= 1)

    def filter_options(self) -> tuple[int, ...]:
        """Output widths."""
        return tuple(sorted({make_divisible(self.filters * r) for r in FILTER_RATIOS} | set(self.released_filters)))


BLOCKS = (
    ReferenceBlock(1, 16, 1),
    ReferenceBlock(2, 24, 2),
    ReferenceBlock(3, 32, 2),  # A1 and B1: 40
    ReferenceBlock(4, 64, 2),  # A1 and B1: 80
    ReferenceBlock(3, 96, 1, released_filters=(112,)),  # A1
    ReferenceBlock(3, 160, 2, released_filters=(192,)),  # B1
    ReferenceBlock(1, 320, 1),
)


@dataclass(frozen=True, slots=True)
class FactorisedLayout:
    """What the candidates of a factorised space have in common.

    Attributes:
        blocks: the reference figures of each block.
        stem: of all candidates.
        head: width of the last block -> what follows it.
        activations: of each block.
        se_rule: what a squeeze-and-excitation ratio is of.
    """

    blocks: tuple[ReferenceBlock, ...]
    stem: Stem
    head: Callable[[int], Head]
    activations: tuple[Activation, ...]
    se_rule: SqueezeRule


def factorised_space(name: str, layout: FactorisedLayout) -> SearchSpace:
    """The space of six decisions for each block of `layout`."""
    return SearchSpace(name, _choices(layout), partial(_to_arch, layout), partial(_to_choices, name, layout))


def _choices(layout: FactorisedLayout) -> tuple[Choice, ...]:
    decisions: list[Choice] = []
    for number, block in enumerate(layout.blocks, start=1):
        decisions += [
            Choice(f"b{number}.op", CONV_OPS),
            Choice(f"b{number}.kernel", KERNELS),
            Choice(f"b{number}.se", SE_RATIOS),
            Choice(f"b{number}.skip", SKIP_OPS),
            Choice(f"b{number}.filters", block.filter_options()),
            Choice(f"b{number}.layers", block.layer_options()),
        ]
    return tuple(decisions)


def _to_arch(layout: FactorisedLayout, choices: Choices) -> ArchSpec:
    blocks = []
    in_channels = layout.stem.channels
    for number, (reference, activation) in enumerate(zip(layout.blocks, layout.activations, strict=True), start=1):
        name = f"b{number}"
        op, expand_ratio = _CONV_OPS[cast(str, choices[f"{name}.op"])]
        ratio = cast(float, choices[f"{name}.se"])
        block = BlockSpec(
            kernel=cast(int, choices[f"{name}.kernel"]),
            stride=reference.stride,
            in_channels=in_channels,
            out_channels=cast(int, choices[f"{name}.filters"]),
            op=op,
            repeats=cast(int, choices[f"{name}.layers"]),
            expand_ratio=expand_ratio,
            se=SqueezeExcite(ratio, layout.se_rule) if ratio else None,
            skip=cast(SkipOp, choices[f"{name}.skip"]),
            activation=activation,
        )
        blocks.append(block)
        in_channels = block.out_channels
    return ArchSpec(tuple(blocks), stem=layout.stem, head=layout.head(in_channels))


def _to_choices(name: str, layout: FactorisedLayout, arch: ArchSpec) -> dict[str, Option]:
    last = arch.blocks[-1]
    fits = len(arch.blocks) == len(layout.blocks) and isinstance(last, BlockSpec)
    if not fits or arch.stem != layout.stem or arch.head != layout.head(cast(BlockSpec, last).out_channels):
        raise ValueError(f"not in space {name!r}: needs {len(layout.blocks)} blocks and its stem and head, got {arch}")
    choices: dict[str, Option] = {}
    for number, block in enumerate(arch.blocks, start=1):
        if not isinstance(block, BlockSpec):
            raise ValueError(f"not in space {name!r}: block {number} is a {type(block).__name__}")
        op = _CONV_OP_NAMES.get((block.op, block.expand_ratio))
        if op is None:
            options = ", ".join(CONV_OPS)
            raise ValueError(
                f"not in space {name!r}: block {number} is {block.op} e{block.expand_ratio}; ops: {options}"
            )
        choices |= {
            f"b{number}.op": op,
            f"b{number}.kernel": block.kernel,
            f"b{number}.se": block.se.ratio if block.se else 0.0,
            f"b{number}.skip": block.skip,
            f"b{number}.filters": block.out_channels,
            f"b{number}.layers": block.repeats,
        }
    return choices


_RELU: Activation = "relu"

MNASNET = factorised_space(
    "mnasnet", FactorisedLayout(BLOCKS, Stem(), lambda _: Head(), (_RELU,) * len(BLOCKS), se_rule="input")
)
"""The space that recipes name ``mnasnet``."""
