"""A search space: named choices and a pure translation to architectures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from search_spaces.arch import AnyLayer, ArchSpec, Block
from search_spaces.choice import Choice, Choices, Option


@dataclass(frozen=True)
class SearchSpace:
    """Candidates as combinations of choices.

    Attributes:
        name: as recipes call it.
        choices: the decisions, in the order in which a controller takes them; names are unique.
        to_arch: the architecture of one option per choice. Pure.
        to_choices: its inverse: the canonical options of an architecture of the space. Raises ValueError outside it.
        to_slots: which place of the space each block of a candidate fills, by name; where it is the same in two candidates,
            a supernet gives them the same weights. None: block n fills ``bN``.
    """

    name: str
    choices: tuple[Choice, ...]
    to_arch: Callable[[Choices], ArchSpec]
    to_choices: Callable[[ArchSpec], Choices]
    to_slots: Callable[[Choices], tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise ValueError(f"space {self.name!r} repeats a choice name: {names}")

    @property
    def size(self) -> int:
        """Number of combinations."""
        return math.prod(len(choice.options) for choice in self.choices)

    def check(self, choices: Choices) -> None:
        """Raise ValueError unless `choices` has exactly one allowed option for every choice."""
        names = {choice.name for choice in self.choices}
        if choices.keys() != names:
            unknown, missing = sorted(choices.keys() - names), sorted(names - choices.keys())
            raise ValueError(f"space {self.name!r}: unknown choices {unknown}, missing choices {missing}")
        for choice in self.choices:
            choice.index(choices[choice.name])

    def decode(self, choices: Choices) -> ArchSpec:
        """The architecture of `choices`; ValueError when they are not of this space."""
        self.check(choices)
        return self.to_arch(choices)

    def encode(self, arch: ArchSpec) -> dict[str, Option]:
        """The canonical choices of `arch`: ``decode(encode(arch)) == arch``.

        Raises:
            ValueError: `arch` is not in the space; the message says which decision has no such option.
        """
        choices = dict(self.to_choices(arch))
        try:
            self.check(choices)
        except ValueError as error:
            raise ValueError(f"not in space {self.name!r}: {error}") from None
        point = self.to_arch(choices)
        if point != arch:
            raise ValueError(f"not in space {self.name!r}: {arch}; the point with its choices is {point}")
        return choices

    def slots(self, choices: Choices) -> tuple[str, ...]:
        """The places that the blocks of `choices` fill, in order, each by a name of its own."""
        if self.to_slots is not None:
            return self.to_slots(choices)
        return tuple(f"b{number}" for number in range(1, len(self.to_arch(choices).blocks) + 1))

    def sample(self, rng: np.random.Generator) -> dict[str, Option]:
        """One candidate, uniform over combinations."""
        return {choice.name: choice.options[rng.integers(len(choice.options))] for choice in self.choices}

    def neighbours(self, choices: Choices) -> Iterator[dict[str, Option]]:
        """All candidates that differ from `choices` in exactly one decision."""
        self.check(choices)
        for choice in self.choices:
            yield from self._alternatives(choices, choice)

    def active(self, choices: Choices) -> frozenset[str]:
        """Names of the decisions that shape the network of `choices`.

        A decision is inactive where every other option of it gives the same network, one of the same `key`: the skip of
        a block whose only layer has a stride, for example.

        Raises:
            ValueError: `choices` are not of this space.
        """
        arch = self.decode(choices)
        return frozenset(
            choice.name
            for choice in self.choices
            if any(not _same_network(arch, self.to_arch(other)) for other in self._alternatives(choices, choice))
        )

    def _alternatives(self, choices: Choices, choice: Choice) -> Iterator[dict[str, Option]]:
        """All candidates that differ from `choices` in `choice` alone."""
        for option in choice.options:
            if option != choices[choice.name]:
                yield {**choices, choice.name: option}


def _same_network(one: ArchSpec, other: ArchSpec) -> bool:
    """Whether the keys are equal; some ten times faster, for it resolves only the blocks between the first and last change."""
    if one.aux or other.aux:  # they name blocks by number
        return one.key == other.key
    if (one.stem, one.head, one.norm) != (other.stem, other.head, other.norm):
        return False
    shorter = min(len(one.blocks), len(other.blocks))
    start = _num_equal(one.blocks, other.blocks)
    end = min(_num_equal(one.blocks[::-1], other.blocks[::-1]), shorter - start)
    return _layers(one.blocks[start : len(one.blocks) - end]) == _layers(other.blocks[start : len(other.blocks) - end])


def _num_equal(one: Sequence[Block], other: Sequence[Block]) -> int:
    """How many pairs at the beginning are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _layers(blocks: Sequence[Block]) -> list[AnyLayer]:
    return [layer for block in blocks for layer in block.layers()]
