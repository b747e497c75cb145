"""The redesign, edit by edit: each tried on what the edits before it have left, and kept where it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import ray
import torch

from latency.latency import Latency
from nas.evaluator import best_device
from nas.image_set import ImageSet
from nas.netadapt.outcomes import Outcomes, outcomes, paired
from nas.objective import Objective
from nas.reproduction.edit_trial import EditTrial
from nas.reproduction.redesign import edited
from nas.reproduction.reproduce_config import RedesignSection
from nas.training import own_randomness, train
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

Judged = Callable[[ArchSpec], Outcomes]
"""A network -> what it makes of each held-out image after its trainings, their mean."""


def redesigned(
    arch: ArchSpec,
    section: RedesignSection,
    objective: Objective,
    latency: Callable[[ArchSpec], Latency],
    judged: Judged,
    done: Sequence[EditTrial] = (),
    finished: Callable[[EditTrial], None] = lambda _: None,
) -> ArchSpec:
    """`arch` after the edits that are kept.

    Args:
        arch: the network.
        section: the edits, in order.
        objective: of accuracy and latency.
        latency: of a network, measured.
        judged: see `Judged`.
        done: what became of the first edits, in an earlier process.
        finished: told what became of each of the others.
    """
    for number, wanted in enumerate(section.edits):
        if number < len(done):
            trial = done[number]
        else:
            found = edited(arch, wanted.edit)
            if found.arch is None:
                trial = EditTrial(wanted.edit, None, kept=False, reason=f"does not fit: {found.reason}")
            else:
                trial = _tried(wanted.edit, wanted.keep == "always", arch, found.arch, objective, latency, judged)
            finished(trial)
        if trial.kept and trial.arch is not None:
            arch = parse_arch(trial.arch)
    return arch


def _tried(
    name: str,
    always: bool,
    before: ArchSpec,
    after: ArchSpec,
    objective: Objective,
    latency: Callable[[ArchSpec], Latency],
    judged: Judged,
) -> EditTrial:
    old, new = latency(before), latency(after)
    outcomes_before, outcomes_after = judged(before), judged(after)
    change = paired(outcomes_after, outcomes_before)
    accuracy = float(outcomes_after.mean())
    gain = objective.reward(accuracy, new.latency_ms) - objective.reward(float(outcomes_before.mean()), old.latency_ms)
    better = "the objective rises" if gain > 0 else "the objective falls" if gain < 0 else "the objective stays"
    return EditTrial(
        edit=name,
        arch=str(after),
        kept=always or gain > 0,
        reason=f"kept always; {better}" if always else better,
        latency=new.to_dict(),
        latency_ratio=new.ratio / old.ratio,
        accuracy=accuracy,
        change=change.mean,
        half_width=change.half_width,
        reward_change=gain,
    )


@ray.remote(num_cpus=1, max_retries=0)
def _trained(
    arch: str, training: ImageSet, holdout: ImageSet, recipe: TrainingRecipe, num_classes: int, seed: int, threads: int
) -> Outcomes:
    torch.set_num_threads(threads)
    device = best_device()
    training, holdout = training.to(device), holdout.to(device)
    module = build_module(lower(parse_arch(arch), training.images.shape[-1], num_classes), seed).to(device)
    with own_randomness(seed):
        for _ in train(module, training, recipe, seed):
            pass
    return outcomes(module, holdout, "accuracy")


class Trainings:
    """Trains networks from scratch and says what they make of held-out images; the same network is trained once.

    Args:
        training: images to train on.
        holdout: images to score on.
        recipe: how to train.
        num_classes: outputs of the networks.
        seeds: of the trainings of each network.
        threads: of each training.
    """

    def __init__(
        self,
        training: ImageSet,
        holdout: ImageSet,
        recipe: TrainingRecipe,
        num_classes: int,
        seeds: Sequence[int],
        threads: int,
    ) -> None:
        self._images = ray.put(training), ray.put(holdout)
        self._recipe, self._num_classes, self._threads = recipe, num_classes, threads
        self._seeds = seeds
        self._known: dict[str, Outcomes] = {}

    def __call__(self, arch: ArchSpec) -> Outcomes:
        """See `Judged`."""
        if arch.key not in self._known:
            tasks = [
                _trained.options(name=f"redesign, seed {seed}", num_cpus=self._threads).remote(
                    str(arch), *self._images, self._recipe, self._num_classes, seed, self._threads
                )
                for seed in self._seeds
            ]
            self._known[arch.key] = np.mean(ray.get(tasks), axis=0)
        return self._known[arch.key]
