"""Which candidates a supernet trains in one step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from search_spaces.choice import Choice, Choices, Option
from search_spaces.space import SearchSpace

PathSampler = Callable[[SearchSpace, torch.Generator], list[dict[str, Option]]]
"""Candidates of one step, drawn from the generator."""


def fair_paths(space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
    """As many candidates as the widest decision has options, in which the options of every decision are equally frequent.

    Strict fairness (FairNAS, arXiv 1907.01845, section 3.3), where all decisions have equally many options; where one has
    fewer, and its number does not divide theirs, the options that come once more are drawn.
    """
    num_paths = max(len(choice.options) for choice in space.choices)
    columns = {choice.name: _dealt(choice, num_paths, generator) for choice in space.choices}
    return [{name: column[number] for name, column in columns.items()} for number in range(num_paths)]


def _dealt(choice: Choice, num_paths: int, generator: torch.Generator) -> list[Option]:
    """Options for `num_paths` candidates: whole shuffled decks, then a part of one."""
    num_options = len(choice.options)
    decks = [torch.randperm(num_options, generator=generator) for _ in range(math.ceil(num_paths / num_options))]
    dealt = torch.cat(decks)[:num_paths]
    shuffled = dealt[torch.randperm(num_paths, generator=generator)]
    return [choice.options[int(position)] for position in shuffled]


def uniform_path(space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
    """One candidate, uniform over combinations (single path one-shot, arXiv 1904.00420, section 3.2)."""
    return [{choice.name: _drawn(choice, generator) for choice in space.choices}]


def _drawn(choice: Choice, generator: torch.Generator) -> Option:
    return choice.options[int(torch.randint(len(choice.options), (), generator=generator))]


ANCHOR_ALONE, ONE_BLOCK, ALL_BLOCKS = 0.04, 0.2, 0.8
"""Of `DepartingPaths`: shares of the steps after which one block may depart, more than one, and all."""

SAMPLERS: dict[str, PathSampler] = {"fair": fair_paths, "uniform": uniform_path}
"""By the names that recipes use."""


class DepartingPaths:
    """The anchor in every step, beside a candidate that departs from it: in one block at first, in any number in the end.

    What a channel means is then learnt once, by the anchor, and the options of a block learn to keep to it while all other
    blocks are as they know them. Where every block is drawn anew from the start, options of a large space take very long to
    agree: `experiments/benchmarks/supernet_interference.py`. (BigNAS's sandwich, arXiv 2003.11142, section 3.1, with a
    curriculum for the space in place of distillation.)

    Args:
        anchor: a candidate.
        num_steps: of the training.
    """

    def __init__(self, anchor: Choices, num_steps: int) -> None:
        self._anchor = dict(anchor)
        self._num_steps = num_steps
        self._step = 0

    def resume(self, num_steps: int) -> None:
        """Go on after so many steps."""
        self._step = num_steps

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
        """As `PathSampler`; two candidates, but one while the anchor learns alone."""
        (drawn,) = uniform_path(space, generator)
        progress = self._step / self._num_steps
        self._step += 1
        if progress < ANCHOR_ALONE:
            return [dict(self._anchor)]
        blocks = list(dict.fromkeys(_block(name) for name in self._anchor))
        most = 1 + math.floor((len(blocks) - 1) * min(max((progress - ONE_BLOCK) / (ALL_BLOCKS - ONE_BLOCK), 0.0), 1.0))
        number = most
        if torch.rand((), generator=generator) < 0.5:
            number = 1 + int(torch.randint(most, (), generator=generator))
        departed = {blocks[position] for position in torch.randperm(len(blocks), generator=generator)[:number].tolist()}
        chosen = {name: drawn[name] if _block(name) in departed else option for name, option in self._anchor.items()}
        return [dict(self._anchor), chosen]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The generator before and after a step drew its candidates, and these."""

    before: torch.Tensor
    after: torch.Tensor
    paths: list[dict[str, Option]]


class RepeatableSampler:
    """`sampler`, whose step is the same one again where it is repeated from the same state of the generator.

    A step that ran out of memory is repeated so, on smaller parts of its batch.
    """

    def __init__(self, sampler: PathSampler) -> None:
        self._sampler = sampler
        self._last: _Drawn | None = None

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
        """As `PathSampler`."""
        before = generator.get_state()
        if self._last is not None and torch.equal(before, self._last.before):
            generator.set_state(self._last.after)
            return self._last.paths
        paths = self._sampler(space, generator)
        self._last = _Drawn(before, generator.get_state(), paths)
        return paths


def _block(choice: str) -> str:
    """Decisions of one block share what stands before the dot: ``b3.kernel``."""
    return choice.partition(".")[0]
