"""A policy that is trained along with the weights of a supernet: what it is a function of, and its parts, alive."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from controllers.reinforce import ReinforceConfig, ReinforceController
from nas.gradients import mixed_precision
from nas.image_set import ImageSet
from nas.jsonl import JsonLines
from nas.objective import Objective
from nas.path_sampling import PathSampler
from nas.policy_sampler import FORMAT, JOURNAL, VERSION, PolicySampler, Scored, read_steps, replay
from nas.study import Constraints
from nas.supernet_evaluator import BATCH, geometric_mean_probability
from search_spaces.arch import ArchSpec
from search_spaces.choice import Choices
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet

LatencyMs = Callable[[ArchSpec], float | None]
"""Milliseconds of a candidate, known at once; None where a search could not use it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyTask:
    """All that a policy is a function of, beside the supernet that it is trained with.

    Attributes:
        reinforce: constants of the controller.
        objective: at its resolved target.
        latency: digest of where latencies come from.
        constraints: what breaks them is told as a failure.
        num_candidates: in a step.
        num_images: held-out images that score the candidates of a step; fewer if there are not as many.
        warm_up: share of all steps in which the policy rests; in [0, 1].
    """

    reinforce: ReinforceConfig
    objective: Objective
    latency: str
    constraints: Constraints
    num_candidates: int = 4
    num_images: int = BATCH
    warm_up: float = 0.25

    def num_warm_up(self, num_steps: int) -> int:
        """Of `num_steps`, those in which the policy rests."""
        return warm_up_steps(self.warm_up, num_steps)


def warm_up_steps(share: float, num_steps: int) -> int:
    """A share in [0, 1] of `num_steps`, rounded up."""
    return math.ceil(share * num_steps)


class HeldOutRewards:
    """Rewards of candidates as the shared weights are now, on one batch of held-out images; `policy_sampler.Rewards`.

    Args:
        supernet: in training; nothing of it is changed.
        holdout: images that it is not trained on, on its device.
        latency_ms: of candidates.
        task: says how many images, and the objective.
    """

    def __init__(self, supernet: Supernet, holdout: ImageSet, latency_ms: LatencyMs, task: PolicyTask) -> None:
        self._supernet = supernet
        self._holdout = holdout
        self._latency_ms = latency_ms
        self._task = task

    @torch.no_grad()
    def __call__(self, candidates: Sequence[Choices], generator: torch.Generator) -> list[Scored]:
        """All on the same images, drawn from the generator; the score is that of the `SupernetEvaluator`."""
        chosen = torch.randperm(len(self._holdout), generator=generator)[: self._task.num_images]
        images, labels = next(self._holdout.batches(chosen, len(chosen)))
        images = self._holdout.normalised(images)
        found = []
        for choices in candidates:
            with mixed_precision(images.device):
                logits = self._supernet.path(choices)(images).float()
            score = float(geometric_mean_probability(logits, labels))
            found.append(self._scored(score, self._latency_ms(self._supernet.space.to_arch(choices))))
        return found

    def _scored(self, score: float, latency_ms: float | None) -> Scored:
        objective = self._task.objective
        if latency_ms is None or not math.isfinite(score):  # weights that diverge: the training will say so
            return Scored(objective.failure_reward, score if math.isfinite(score) else None, latency_ms)
        return Scored(objective.reward(score, latency_ms), score, latency_ms)


class PolicyTraining:
    """What `trained_supernet` trains along with the weights.

    Args:
        task: constants.
        space: of the supernet.
        seed: of the controller's draws.
        holdout: images that no weight is trained on, on the device that trains.
        latency_ms: of candidates; what the task's `latency` is the digest of.

    Attributes:
        task: as given.
        controller: fresh at first; when the supernet is there, it has learned.
    """

    def __init__(
        self, task: PolicyTask, space: SearchSpace, seed: int, holdout: ImageSet, latency_ms: LatencyMs
    ) -> None:
        self.task = task
        self.controller = ReinforceController(space.choices, seed, task.reinforce)
        self._holdout = holdout
        self._latency_ms = latency_ms

    @contextlib.contextmanager
    def sampler(
        self, supernet: Supernet, warm_up: PathSampler, num_steps: int, folder: Path
    ) -> Iterator[PolicySampler]:
        """What draws the candidates of a training of `num_steps`, with its journal in `folder`; fresh."""
        with JsonLines(folder / JOURNAL, FORMAT, VERSION) as journal:
            yield PolicySampler(
                self.controller,
                HeldOutRewards(supernet, self._holdout, self._latency_ms, self.task),
                warm_up,
                num_warm_up=self.task.num_warm_up(num_steps),
                num_candidates=self.task.num_candidates,
                journal=journal,
            )

    def recall(self, num_steps: int, folder: Path) -> None:
        """Learn what the finished training of `num_steps` in `folder` taught.

        Raises:
            UserError: the journal is missing, damaged or of another policy.
        """
        num_told = num_steps - self.task.num_warm_up(num_steps)
        replay(self.controller, read_steps(folder / JOURNAL), num_told, folder / JOURNAL)
