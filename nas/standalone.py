"""Networks trained by themselves, each once: what a proxy has to predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from nas.config import Config
from nas.errors import UserError
from nas.evaluator import ProxyTrainer
from nas.evaluators import proxy_trainer
from nas.images import Images
from nas.measurement_cache import cache_folder
from nas.run_folder import write_json
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch

FORMAT = "nas-standalone"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Job:
    """A training to be done: a network, a recipe, a seed."""

    arch: ArchSpec
    recipe: TrainingRecipe
    seed: int


@dataclass(frozen=True, slots=True)
class Standalone:
    """What came of one: accuracy on the held-out images, in [0, 1]; wall seconds of training and scoring."""

    accuracy: float
    seconds: float


@ray.remote(num_cpus=1, max_retries=0)
def _train(trainer: ProxyTrainer, arch: str, seed: int, threads: int) -> tuple[float, float]:
    torch.set_num_threads(threads)
    *_, last = trainer.evaluate(parse_arch(arch), seed)
    return last.accuracy, last.seconds


def train_standalone(
    jobs: Sequence[Job], config: Config, images: Images, finished: Callable[[Job, Standalone], None]
) -> list[Standalone]:
    """The outcome of each job; those that were done before, in this process or another, are remembered.

    Needs Ray, started or joined (`nas.ray_cluster`), where `num_left` are any; trains as many at once as the recipe's
    resources allow.

    Args:
        jobs: what to train.
        config: the recipe: its data and its resources.
        images: that data.
        finished: told each outcome as it comes.

    Raises:
        UserError: a training failed; the others that were done are remembered.
    """
    files = [_file(job, config, images) for job in jobs]
    outcomes: list[Standalone | None] = [_remembered(file) for file in files]
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome is not None:
            finished(job, outcome)
    left = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
    trainers = {recipe: ray.put(proxy_trainer(config, images, recipe)) for recipe in {job.recipe for job in left}}
    options = {"num_cpus": config.cpus_per_trial, "num_gpus": config.gpus_per_trial or 0.0}
    tasks = {
        _train.options(name=f"stand-alone {number}", **options).remote(
            trainers[job.recipe], str(job.arch), job.seed, config.cpus_per_trial
        ): number
        for number, job in enumerate(jobs)
        if outcomes[number] is None
    }
    while tasks:
        (ready,), _ = ray.wait(list(tasks))
        number = tasks.pop(ready)
        try:
            outcome = Standalone(*ray.get(ready))
        except ray.exceptions.RayError as error:
            reason = " ".join(str(getattr(error, "cause", None) or error).split())[:300]
            raise UserError(f"training {jobs[number].arch} by itself failed: {reason}") from None
        _remember(files[number], jobs[number], outcome)
        outcomes[number] = outcome
        finished(jobs[number], outcome)
    return [outcome for outcome in outcomes if outcome is not None]


def num_left(jobs: Sequence[Job], config: Config, images: Images) -> int:
    """How many of the jobs were not done before; with none `train_standalone` does without Ray."""
    return sum(_remembered(_file(job, config, images)) is None for job in jobs)


def _file(job: Job, config: Config, images: Images) -> Path:
    identity = {
        "version": VERSION,
        "arch": str(job.arch),
        "recipe": asdict(job.recipe),
        "seed": job.seed,
        "data": images.dataset.fingerprint,
        "resolution": config.data.resolution,
        "holdout": config.data.holdout,
        "split_seed": config.seed,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "standalone" / f"{digest}.json"


def _remembered(file: Path) -> Standalone | None:
    """What is in `file`; None where there is nothing, or nothing that can be read: a cache may be written anew."""
    try:
        document: dict[str, Any] = json.loads(file.read_text())
        return Standalone(float(document["accuracy"]), float(document["seconds"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _remember(file: Path, job: Job, outcome: Standalone) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "version": VERSION, "arch": str(job.arch), "seed": job.seed}
    write_json(file, about | asdict(outcome))
