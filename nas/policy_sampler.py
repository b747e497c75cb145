"""Candidates for the steps of a supernet's training, chosen by a policy that learns from the same steps.

TuNAS's search (arXiv 2008.06120, section 3.2; constants from its code): weights and policy are trained together. The policy
rests for the first quarter of all steps; then every step asks it for candidates, scores them on held-out images, and trains
their weights. Differences: in the first quarter candidates are drawn without the policy, where TuNAS averages operations
and takes the largest widths; some candidates share a step, where TuNAS has one per core; they are scored before the step
trains them rather than after it, so that none of them is favoured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from controllers.controller import Controller, Outcome, Suggestion
from nas.errors import UserError
from nas.jsonl import JsonLines, read_json_lines
from nas.path_sampling import PathSampler
from search_spaces.choice import Choices, Option
from search_spaces.space import SearchSpace

FORMAT = "nas-policy-steps"
VERSION = 1
JOURNAL = "policy.jsonl"
"""In a supernet's folder: what the policy was told, a line a step."""

_TRAIN_AGAIN = "delete its folder to train the supernet again"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a candidate is worth at the moment.

    Attributes:
        reward: finite; the objective's failure reward where one of the others is missing.
        score: with shared weights on held-out images, in [0, 1]; None where it is not a number.
        latency_ms: None where the search could not use the candidate.
    """

    reward: float
    score: float | None
    latency_ms: float | None

    @property
    def failed(self) -> bool:
        """Whether the reward stands for a failure."""
        return self.score is None or self.latency_ms is None


Rewards = Callable[[Sequence[Choices], torch.Generator], list[Scored]]
"""Scores candidates alike, on what it draws from the generator."""


class PolicySampler:
    """A `PathSampler` whose later steps ask a controller, tell it the rewards, and train what it asked for.

    A step whose scoring ran out of memory is asked for again, and its candidates are those that were asked for before.

    Args:
        controller: fresh; it learns.
        rewards: of candidates.
        warm_up: draws the candidates of the first steps, of which the controller knows nothing.
        num_warm_up: how many steps that are.
        num_candidates: asked for in each later step.
        journal: gets a line for each of those; open, in `FORMAT`.
    """

    def __init__(
        self,
        controller: Controller,
        rewards: Rewards,
        warm_up: PathSampler,
        *,
        num_warm_up: int,
        num_candidates: int,
        journal: JsonLines,
    ) -> None:
        self._controller = controller
        self._rewards = rewards
        self._warm_up = warm_up
        self._num_warm_up = num_warm_up
        self._num_candidates = num_candidates
        self._journal = journal
        self._num_steps = 0
        self._asked: list[Suggestion] = []  # and not told yet

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
        """The candidates of the next step."""
        warming_up = self._num_steps < self._num_warm_up
        paths = self._warm_up(space, generator) if warming_up else self._learn(space, generator)
        self._num_steps += 1
        return paths

    def resume(self, num_steps: int) -> None:
        """Bring a fresh sampler to where it was after `num_steps` steps; forget those that the journal has beyond.

        Raises:
            UserError: the journal is not that of this controller, or lacks steps.
        """
        self._journal.keep(lambda record: record["step"] < num_steps)
        expected = max(0, num_steps - self._num_warm_up)
        replay(self._controller, self._journal.records, expected, self._journal.path)
        self._num_steps = num_steps

    def _learn(self, space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
        # kept until they are told: a step may run out of memory while it scores them, and is then done again
        self._asked = self._asked or [self._controller.ask() for _ in range(self._num_candidates)]
        paths = [dict(suggestion.choices) for suggestion in self._asked]
        entries = [
            {
                "choices": choices,
                "inactive": sorted(choices.keys() - space.active(choices)),
                "score": scored.score,
                "latency_ms": scored.latency_ms,
                "reward": scored.reward,
                "failed": scored.failed,
            }
            for choices, scored in zip(paths, self._rewards(paths, generator), strict=True)
        ]
        self._journal.append({"step": self._num_steps, "candidates": entries})
        _tell(self._controller, self._asked, entries)
        self._asked = []
        return paths


def replay(controller: Controller, records: Sequence[Mapping[str, Any]], num_expected: int, path: Path) -> None:
    """Ask and tell a fresh controller what a journal says.

    Args:
        controller: learns it.
        records: of the journal.
        num_expected: how many there should be.
        path: of the journal, for messages.

    Raises:
        UserError: there are more or fewer, or the controller asks for other candidates.
    """
    if len(records) != num_expected:
        raise UserError(
            f"{path}: the policy has learned in {num_expected} steps, {len(records)} are here; {_TRAIN_AGAIN}"
        )
    for record in records:
        asked = [controller.ask() for _ in record["candidates"]]
        if [dict(suggestion.choices) for suggestion in asked] != [entry["choices"] for entry in record["candidates"]]:
            raise UserError(
                f"{path}: step {record['step']} is not what this seed and controller ask for; {_TRAIN_AGAIN}"
            )
        _tell(controller, asked, record["candidates"])


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Records of a journal.

    Raises:
        UserError: no such file, or of another version.
    """
    try:
        return read_json_lines(path, FORMAT, VERSION)
    except UserError as error:
        raise UserError(f"{error}; {_TRAIN_AGAIN}") from None


def _tell(controller: Controller, asked: Sequence[Suggestion], entries: Sequence[Mapping[str, Any]]) -> None:
    for suggestion, entry in zip(asked, entries, strict=True):
        active = frozenset(suggestion.choices.keys() - entry["inactive"])
        controller.tell(suggestion, Outcome(entry["reward"], failed=entry["failed"], active=active))
