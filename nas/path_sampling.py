"""Which candidates a supernet trains in one step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from search_spaces.choice import Choice, Option
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


SAMPLERS: dict[str, PathSampler] = {"fair": fair_paths, "uniform": uniform_path}
"""By the names that recipes use."""
