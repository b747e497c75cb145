"""Spaces in which every layer is chosen from operations that a recipe spells out; nothing may be one of them.

The form of ProxylessNAS, FBNet, TuNAS's first space (arXiv 2008.06120) and NAS-Bench-Macro (arXiv 2103.11922): a stem, a
chain of places with fixed widths and strides, a head. A place that is left empty has no block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from search_spaces.arch import ArchSpec, BlockSpec, ConvOp, Head, Norm, SkipOp, SqueezeExcite, SqueezeRule, Stem
from search_spaces.choice import Choice, Choices, Option
from search_spaces.space import SearchSpace
from search_spaces.values import Activation, check


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerOp:
    """One operation that may stand in a place; attributes as of `search_spaces.block.BlockSpec`.

    Attributes:
        se: squeeze-and-excitation ratio in [0, 1]; 0 is none.
        activation: None is the layout's.
    """

    op: ConvOp = "mbconv"
    kernel: int = 3
    expand: int = 1
    se: float = 0.0
    skip: SkipOp = "identity"
    activation: Activation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One place of the chain.

    Attributes:
        filters: its output width.
        stride: 1 or 2.
        ops: names of what may stand there; a single one is no decision.
    """

    filters: int
    ops: tuple[str, ...]
    stride: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainLayout:
    """Everything about such a space but its name.

    Attributes:
        ops: name -> operation; None is no layer, where the place neither strides nor changes the width.
        places: at least one.
        stem: the first convolution.
        head: what follows the chain.
        activation: of operations that do not name their own.
        se_rule: how wide squeeze-and-excitation is.
        norm: batch normalisation.
    """

    ops: Mapping[str, LayerOp | None]
    places: tuple[Place, ...]
    stem: Stem = field(default_factory=Stem)
    head: Head = field(default_factory=Head)
    activation: Activation = "relu"
    se_rule: SqueezeRule = "input"
    norm: Norm = field(default_factory=Norm)

    def block(self, number: int, name: str) -> BlockSpec | None:
        """What stands in place `number`, from 1, with the operation called `name`."""
        op, place = self.ops[name], self.places[number - 1]
        if op is None:
            return None
        return BlockSpec(
            kernel=op.kernel,
            stride=place.stride,
            in_channels=self.places[number - 2].filters if number > 1 else self.stem.channels,
            out_channels=place.filters,
            op=op.op,
            expand_ratio=op.expand,
            se=SqueezeExcite(op.se, self.se_rule) if op.se else None,
            skip=op.skip,
            activation=op.activation or self.activation,
        )


def chain_space(name: str, layout: ChainLayout) -> SearchSpace:
    """The space of all combinations of operations; its choices are called ``l1``, ``l2`` and so on.

    Raises:
        ValueError: no places, nothing to decide, an unknown or repeated operation, or one that cannot stand in a place.
    """
    check(len(layout.places) > 0, f"space {name!r} has no places")
    for number, place in enumerate(layout.places, start=1):
        unknown = [op for op in place.ops if op not in layout.ops]
        check(not unknown, f"space {name!r}: l{number} names {unknown}; ops are {', '.join(layout.ops)}")
        for op in place.ops:
            _check(name, layout, number, op)
    choices = [Choice(f"l{number}", place.ops) for number, place in enumerate(layout.places, start=1)]
    decisions = tuple(choice for choice in choices if len(choice.options) > 1)
    check(len(decisions) > 0, f"space {name!r} is one network: a list of ops somewhere makes it a choice")
    return SearchSpace(
        name, decisions, partial(_to_arch, layout), partial(_to_choices, name, layout), partial(_to_slots, layout)
    )


def _check(name: str, layout: ChainLayout, number: int, op: str) -> None:
    try:
        block = layout.block(number, op)
    except ValueError as error:
        raise ValueError(f"space {name!r}: l{number}: {op}: {error}") from None
    place = layout.places[number - 1]
    before = layout.places[number - 2].filters if number > 1 else layout.stem.channels
    check(
        block is not None or (place.stride == 1 and place.filters == before),
        f"space {name!r}: l{number}: {op} is no layer, but the place makes {place.filters} channels at stride "
        f"{place.stride} of {before}",
    )


def _taken(layout: ChainLayout, choices: Choices) -> list[str]:
    return [cast(str, choices.get(f"l{number}", place.ops[0])) for number, place in enumerate(layout.places, start=1)]


def _to_arch(layout: ChainLayout, choices: Choices) -> ArchSpec:
    blocks = [layout.block(number, name) for number, name in enumerate(_taken(layout, choices), start=1)]
    return ArchSpec(tuple(block for block in blocks if block), layout.stem, layout.head, layout.norm)


def _to_slots(layout: ChainLayout, choices: Choices) -> tuple[str, ...]:
    return tuple(
        f"b{number}" for number, name in enumerate(_taken(layout, choices), start=1) if layout.ops[name] is not None
    )


def _to_choices(name: str, layout: ChainLayout, arch: ArchSpec) -> dict[str, Option]:
    """The choices of an architecture that leave the latest places empty, which makes them canonical."""
    impossible: set[tuple[int, int]] = set()

    def place(number: int, given: int) -> list[str] | None:
        """Operations of the places from `number` on, for the blocks from `given` on."""
        if number > len(layout.places):
            return [] if given == len(arch.blocks) else None
        if (number, given) in impossible:
            return None
        ops = sorted(layout.places[number - 1].ops, key=lambda op: layout.ops[op] is None)
        for op in ops:
            block = layout.block(number, op)
            if block is not None and (given == len(arch.blocks) or arch.blocks[given] != block):
                continue
            rest = place(number + 1, given + (block is not None))
            if rest is not None:
                return [op, *rest]
        impossible.add((number, given))
        return None

    found = place(1, 0)
    if found is None:
        raise ValueError(f"not in space {name!r}: {arch}")
    taken = {f"l{number}": op for number, op in enumerate(found, start=1)}
    return {f"l{n}": taken[f"l{n}"] for n, place_ in enumerate(layout.places, start=1) if len(place_.ops) > 1}
