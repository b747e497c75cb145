"""Who says how accurate a network would be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from nas.errors import UserError
from nas.training import Epoch, ImageSet, num_correct, own_randomness, train
from nas.training_recipe import TrainingRecipe
from nas.trial import read_trials
from search_spaces.arch import ArchSpec
from search_spaces.lower import lower
from search_spaces.torch_module import build_module


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An estimate of accuracy.

    Attributes:
        accuracy: on held-out images, in [0, 1].
        epoch: epochs trained so far.
        samples: training images seen so far.
        seconds: wall time so far.
    """

    accuracy: float
    epoch: int
    samples: int
    seconds: float


class Evaluator(Protocol):
    """Estimates the accuracy of networks."""

    def evaluate(self, arch: ArchSpec, seed: int) -> Iterator[Evaluation]:
        """Estimates of growing effort, at least one; the last one counts.

        A generator rather than one number, so that the caller can show progress and stop in between.

        Raises:
            Exception: whatever went wrong with this network; the caller records it and goes on.
        """
        ...


class ProxyTrainer:
    """MnasNet's proxy task: train from scratch for a few epochs, score on images held out of the training split.

    Args:
        training: images to train on.
        holdout: images to score on; none of them in `training`, none of the test split.
        recipe: how to train.
        num_classes: outputs of the network.
    """

    def __init__(self, training: ImageSet, holdout: ImageSet, recipe: TrainingRecipe, num_classes: int) -> None:
        self._training = training
        self._holdout = holdout
        self._recipe = recipe
        self._num_classes = num_classes

    def evaluate(self, arch: ArchSpec, seed: int) -> Iterator[Evaluation]:
        """One estimate an epoch; raises `DivergedError` when the loss is not finite."""
        started = time.perf_counter()
        device = best_device()
        training, holdout = self._training.to(device), self._holdout.to(device)
        module = build_module(lower(arch, training.images.shape[-1], self._num_classes), seed).to(device)
        samples = 0
        epochs = train(module, training, self._recipe, seed)
        while (epoch := _next_epoch(epochs, seed + samples)) is not None:
            samples += epoch.samples
            accuracy = num_correct(module, holdout) / len(holdout)
            yield Evaluation(accuracy, epoch.number, samples, time.perf_counter() - started)


def _next_epoch(epochs: Iterator[Epoch], seed: int) -> Epoch | None:
    with own_randomness(seed):
        return next(epochs, None)


class RecordedEvaluator:
    """Accuracies of an earlier run, by network."""

    def __init__(self, accuracies: Mapping[str, float], source: str) -> None:
        self._accuracies = accuracies
        self._source = source

    @classmethod
    def of_run(cls, run: Path) -> RecordedEvaluator:
        """The accuracies in the journal of a run folder."""
        trials = read_trials(run / "trials.jsonl")
        return cls({t.arch.key: t.accuracy for t in trials if t.accuracy is not None}, str(run))

    def evaluate(self, arch: ArchSpec, seed: int) -> Iterator[Evaluation]:  # noqa: ARG002  (the record has one)
        """The recorded accuracy; raises LookupError for a network that the run has not trained."""
        if arch.key not in self._accuracies:
            raise LookupError(f"{self._source} has no accuracy of {arch}")
        yield Evaluation(self._accuracies[arch.key], epoch=0, samples=0, seconds=0.0)


def best_device() -> torch.device:
    """A CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_recorded_run(run: Path) -> None:
    """Raise UserError unless `run` is a run folder with a journal."""
    if not (run / "trials.jsonl").is_file():
        raise UserError(f"{run}: not a run folder (no trials.jsonl)")
