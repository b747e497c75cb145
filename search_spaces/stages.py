"""Spaces of inverted residual stages that a recipe spells out: each decision of a stage is one value or a list of options.

The form of MnasNet's released networks, of MobileNetV2 and of Accel-NASBench's space (arXiv 2404.08005): a stem, stages of
identical layers of which only the first has the stride, a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import cast

from search_spaces.arch import ArchSpec, BlockSpec, Head, Norm, SkipOp, SqueezeExcite, SqueezeRule, Stem
from search_spaces.choice import Choice, Choices, Option
from search_spaces.space import SearchSpace
from search_spaces.values import Activation, check

DECISIONS = ("expand", "kernel", "layers", "se", "filters", "skip")
"""What may be left open in a stage, in the order in which a controller takes them; choices are called ``b1.expand``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions:
    """Options of one stage; a single one is no decision.

    Attributes:
        filters: output width.
        kernel: odd sides of the depthwise convolution.
        expand: expanded over input channels; 1 leaves the expansion out.
        layers: number of layers.
        se: squeeze-and-excitation ratios in [0, 1]; 0 is none.
        skip: `search_spaces.block.SkipOp`.
        stride: of the first layer; never a decision.
    """

    filters: tuple[int, ...]
    kernel: tuple[int, ...] = (3,)
    expand: tuple[int, ...] = (6,)
    layers: tuple[int, ...] = (1,)
    se: tuple[float, ...] = (0.0,)
    skip: tuple[SkipOp, ...] = ("identity",)
    stride: int = 1

    def options(self, decision: str) -> tuple[Option, ...]:
        """Of one of `DECISIONS`."""
        return cast(tuple[Option, ...], getattr(self, decision))


@dataclass(frozen=True, kw_only=True, slots=True)
class StageLayout:
    """Everything about a space of stages but its name.

    Attributes:
        stages: at least one.
        stem: the first convolution.
        head: what follows the stages.
        activation: of the stages' layers.
        se_rule: how wide squeeze-and-excitation is.
        norm: batch normalisation.
    """

    stages: tuple[StageOptions, ...]
    stem: Stem = field(default_factory=Stem)
    head: Head = field(default_factory=Head)
    activation: Activation = "relu"
    se_rule: SqueezeRule = "input"
    norm: Norm = field(default_factory=Norm)


def stage_space(name: str, layout: StageLayout) -> SearchSpace:
    """The space of all combinations of options.

    Raises:
        ValueError: no stages, nothing to decide, equal options, or an option that no network can have.
    """
    check(len(layout.stages) > 0, f"space {name!r} has no stages")
    choices = [
        Choice(f"b{number}.{decision}", stage.options(decision))
        for number, stage in enumerate(layout.stages, start=1)
        for decision in DECISIONS
    ]
    fixed = {choice.name: choice.options[0] for choice in choices}
    for choice in choices:
        for option in choice.options:
            try:
                _to_arch(layout, fixed, {choice.name: option})
            except ValueError as error:
                raise ValueError(f"space {name!r}: {choice.name}: {error}") from None
    decisions = tuple(choice for choice in choices if len(choice.options) > 1)
    check(len(decisions) > 0, f"space {name!r} is one network: a list of options somewhere makes it a choice")
    open_names = tuple(choice.name for choice in decisions)
    return SearchSpace(name, decisions, partial(_to_arch, layout, fixed), partial(_to_choices, name, open_names))


def _to_arch(layout: StageLayout, fixed: Choices, choices: Choices) -> ArchSpec:
    taken = {**fixed, **choices}
    blocks = []
    in_channels = layout.stem.channels
    for number, stage in enumerate(layout.stages, start=1):
        expand, kernel, layers, se, filters, skip = (taken[f"b{number}.{decision}"] for decision in DECISIONS)
        block = BlockSpec(
            kernel=cast(int, kernel),
            stride=stage.stride,
            in_channels=in_channels,
            out_channels=cast(int, filters),
            repeats=cast(int, layers),
            expand_ratio=cast(int, expand),
            se=SqueezeExcite(cast(float, se), layout.se_rule) if se else None,
            skip=cast(SkipOp, skip),
            activation=layout.activation,
        )
        blocks.append(block)
        in_channels = block.out_channels
    return ArchSpec(tuple(blocks), layout.stem, layout.head, layout.norm)


def _to_choices(name: str, open_names: tuple[str, ...], arch: ArchSpec) -> dict[str, Option]:
    """The open decisions as `arch` has them; whatever else differs shows when they are translated back."""
    options: dict[str, Option] = {}
    for number, block in enumerate(arch.blocks, start=1):
        if not isinstance(block, BlockSpec):
            raise ValueError(f"not in space {name!r}: block {number} is a {type(block).__name__}")
        taken = (
            block.expand_ratio,
            block.kernel,
            block.repeats,
            block.se.ratio if block.se else 0.0,
            block.out_channels,
            block.skip,
        )
        options |= {f"b{number}.{decision}": option for decision, option in zip(DECISIONS, taken, strict=True)}
    return {choice: options[choice] for choice in open_names if choice in options}
