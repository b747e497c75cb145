"""The network that a run came to, measured and trained again: how far its figures move."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from latency.latency import Latency
from nas.accuracy import wilson_interval
from nas.errors import UserError
from nas.finalist import WINNER, Finalist
from nas.images import Images, load_images
from nas.netadapt.adapt_config import read_adapt_config
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_run import AdaptRun
from nas.netadapt.adapting import adapted_again
from nas.reproduction.reproduce_record import FOUND, ReproduceRecord
from nas.reproduction.reproduce_run import ReproduceRun
from nas.reproduction.reproducing import found_again
from nas.run import Run, read_config
from nas.search import winner_again
from nas.train_data import opened
from search_spaces.arch_string import parse_arch


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found of a network, once.

    Attributes:
        latency: measured; None where the run measures nothing.
        num_correct: test images that it classified right after its training; None where it was not trained.
        num_test: images of the test split; None likewise.
        seed: of that training.
    """

    latency: Latency | None
    num_correct: int | None
    num_test: int | None
    seed: int

    @property
    def accuracy(self) -> float | None:
        """On the test split, in [0, 1]."""
        return None if self.num_correct is None or self.num_test is None else self.num_correct / self.num_test

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy over test images."""
        if self.num_correct is None or self.num_test is None:
            return None
        return wilson_interval(self.num_correct, self.num_test)


@dataclass(frozen=True, slots=True)
class Remeasured:
    """A network's figures twice.

    Attributes:
        arch: its string.
        recorded: when the run ended.
        again: now, trained with another seed.
    """

    arch: str
    recorded: Figures
    again: Figures

    @property
    def latency_change(self) -> float | None:
        """Relative to the recorded latency; None where there is none."""
        before, now = self.recorded.latency, self.again.latency
        if before is None or now is None or "failed" in (before.status, now.status):
            return None
        return now.latency_ms / before.latency_ms - 1

    @property
    def accuracy_change(self) -> float | None:
        """Difference of the two accuracies, in [-1, 1]; None where one is not known."""
        before, now = self.recorded.accuracy, self.again.accuracy
        return None if before is None or now is None else now - before


def remeasured_search(folder: Path, console: Console) -> Remeasured:
    """Measure and train a search's winner again, as its final comparison did, with another seed.

    Raises:
        UserError: the run is not finished, its device or its data are others now, or the training failed.
    """
    document = _final(folder, "nas search")
    recorded = next(Finalist(**found) for found in document["finalists"] if found["name"] == WINNER)
    if recorded.inherited:
        raise UserError(f"{folder}: its winner began with the supernet's weights; another seed needs another supernet")
    images = load_images(read_config(folder))
    if images is None:
        raise UserError(f"{folder}: its recipe has no data set to train on")
    with Run(folder) as run:
        seed = run.config.seed + 1
        again = winner_again(run, images, parse_arch(recorded.arch), seed, console)
    before = Figures(recorded.measured, recorded.num_correct, recorded.num_test, run.config.seed)
    return Remeasured(recorded.arch, before, Figures(again.measured, again.num_correct, again.num_test, seed))


def remeasured_adaptation(folder: Path, console: Console) -> Remeasured:
    """Measure the network that an adaptation came to again, and train it from scratch with a seed that it has not had.

    Raises:
        UserError: as `remeasured_search`.
    """
    _final(folder, "nas adapt")
    adapted = next(network for network in AdaptRecord.read(folder).finals if network.name == "adapted")
    dataset = opened(read_adapt_config(folder).training.data, console)
    with AdaptRun(folder) as run:
        seed = run.config.seed + max(1, run.config.num_trainings)
        latency, correct = adapted_again(run, dataset, parse_arch(adapted.arch), seed, console)
    correct_before = adapted.trained[0].num_correct if adapted.trained else None
    num_test = adapted.num_test if adapted.trained else None
    before = Figures(adapted.latency, correct_before, num_test, run.config.seed)
    return Remeasured(adapted.arch, before, Figures(latency, correct, adapted.num_test, seed))


def remeasured_reproduction(folder: Path, console: Console) -> Remeasured:
    """Measure what a reproduction has found again, and train it with a seed that the comparison has not had.

    Raises:
        UserError: as `remeasured_search`.
    """
    _final(folder, "nas reproduce")
    found = ReproduceRecord.read(folder).network(FOUND)
    if found is None or not found.trained:
        raise UserError(f"{folder}: nothing was found; begin again with nas reproduce")
    with ReproduceRun(folder) as run:
        seed = run.config.search.seed + len(found.trained)
        images = Images.load(run.config.search)
        latency, correct = found_again(run, parse_arch(found.arch), images, seed, console)
    first = found.trained[0]
    before = Figures(found.latency, first.num_correct, found.num_test, first.seed)
    return Remeasured(found.arch, before, Figures(latency, correct, found.num_test, seed))


def _final(folder: Path, command: str) -> dict[str, Any]:
    path = folder / "final.json"
    if not path.is_file():
        raise UserError(f"{folder}: not finished (no final.json); go on with: {command} --resume {folder}")
    return dict(json.loads(path.read_text()))
