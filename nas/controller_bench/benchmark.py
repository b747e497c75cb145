"""A benchmark: the reward of any candidate, at once, and the best that there is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas.arch_table import ArchTable, Positions, file_digest
from nas.controller_bench.description import Description, SurrogateDescription, TableDescription
from nas.errors import UserError
from nas.measurement_cache import cache_folder
from nas.objective import Objective
from nas.surrogate import Quality, Surrogate, fitted
from search_spaces.choice import Choice

Objectives = NDArray[np.float64]
"""Loss, and milliseconds where there are any, each to be small; shape (candidates, 1 or 2)."""

NUM_CLIMBS = 64
_CLIMBS_VERSION = 1


class Truth(Protocol):
    """What is known of all candidates; travels to other processes."""

    def objectives(self, positions: Positions) -> Objectives:
        """1 - accuracy of each candidate, and its latency where there is one."""
        ...


@dataclass(frozen=True)
class TableTruth:
    """A table of all candidates.

    Attributes:
        sizes: options of each decision.
        losses: 1 - accuracy of the candidate with that number: positions read as digits, the first the most significant.
    """

    sizes: tuple[int, ...]
    losses: NDArray[np.float64]

    def objectives(self, positions: Positions) -> Objectives:
        """1 - accuracy of each candidate."""
        losses: Objectives = self.losses[np.ravel_multi_index(tuple(positions.T), self.sizes)][:, None]
        return losses


@dataclass(frozen=True)
class SurrogateTruth:
    """Surrogates of accuracy and latency."""

    accuracy: Surrogate
    latency: Surrogate

    def objectives(self, positions: Positions) -> Objectives:
        """1 - accuracy and milliseconds of each candidate."""
        return np.stack([1 - self.accuracy.predict(positions), self.latency.predict(positions)], axis=1)


@dataclass(frozen=True)
class Benchmark:
    """A problem for controllers.

    Attributes:
        name: of the table.
        source: where it is from.
        digest: SHA-256 of the table's file.
        choices: the decisions.
        truth: of all candidates.
        objective: makes rewards of accuracy and latency; None: the reward is the accuracy.
        corner: worst values of the table, the reference point of hypervolumes; shape (1 or 2,).
        ideal: best values of the table, each by itself.
        best_reward: the highest that is known; of a full table, the highest.
        is_exact: whether it is the highest for certain.
        qualities: what -> how well its surrogate predicts.
    """

    name: str
    source: str
    digest: str
    choices: tuple[Choice, ...]
    truth: Truth
    objective: Objective | None
    corner: NDArray[np.float64]
    ideal: NDArray[np.float64]
    best_reward: float
    is_exact: bool
    qualities: Mapping[str, Quality]

    def rewards(self, objectives: Objectives) -> NDArray[np.float64]:
        """Rewards of candidates, from their objectives."""
        return _rewards(self.objective, objectives)


def _rewards(objective: Objective | None, objectives: Objectives) -> NDArray[np.float64]:
    if objective is None:
        return 1 - objectives[:, 0]
    return np.array([objective.reward(1 - float(loss), float(ms)) for loss, ms in objectives])


def open_benchmark(
    table: Path, description: Description, target_ms: float | None = None, exponent: float | None = None
) -> Benchmark:
    """The benchmark that a table is, as described.

    Args:
        table: CSV file.
        description: of its columns.
        target_ms: T in place of the description's.
        exponent: w in place of the description's alpha and beta.

    Raises:
        UserError: the table does not fit the description, or has no latency to set a target for.
    """
    if isinstance(description, TableDescription):
        if target_ms is not None or exponent is not None:
            raise UserError(f"--target-ms and --w: {description.name} has no latencies; its reward is the accuracy")
        return _tabulated(table, description)
    update = {"target_ms": target_ms, "alpha": exponent, "beta": exponent}
    try:
        objective = description.objective.model_copy(
            update={key: value for key, value in update.items() if value is not None}
        ).objective
    except ValueError as error:
        raise UserError(f"objective: {error}") from None
    return _with_surrogates(table, description, objective)


def _tabulated(path: Path, description: TableDescription) -> Benchmark:
    choices = tuple(Choice(f"b{number}", tuple(description.options)) for number in range(1, description.decisions + 1))
    table = ArchTable.of_digits(path, choices, description.digits)
    columns = np.stack([table.numbers(column) for column in description.accuracies])
    if np.isnan(columns).any():
        raise UserError(f"table {str(path)!r}: {', '.join(description.accuracies)} must be known of every network")
    sizes = tuple(len(choice.options) for choice in choices)
    number = np.ravel_multi_index(tuple(table.positions.T), sizes)
    rows = np.bincount(number, minlength=int(np.prod(sizes)))
    if not rows.all():
        absent = np.unravel_index(int((rows == 0).argmax()), sizes)
        name = "".join(str(c.options[p]) for c, p in zip(choices, absent, strict=True))
        raise UserError(
            f"table {str(path)!r}: {int((rows == 0).sum())} of {len(rows)} networks are missing, {name} first"
        )
    accuracy = np.bincount(number, weights=columns.mean(axis=0) * description.scale) / rows
    _check_fractions(path, accuracy, description.scale)
    losses = 1 - accuracy
    return Benchmark(
        name=description.name,
        source=description.source,
        digest=file_digest(path),
        choices=choices,
        truth=TableTruth(sizes, losses),
        objective=None,
        corner=np.array([losses.max()]),
        ideal=np.array([losses.min()]),
        best_reward=float(1 - losses.min()),
        is_exact=True,
        qualities={},
    )


def _with_surrogates(path: Path, description: SurrogateDescription, objective: Objective) -> Benchmark:
    config = description.config
    section, choices = config.evaluator, config.search_space.choices
    assert section.target is not None
    table = ArchTable.of_columns(path, choices, section.columns, section.values)
    _, accuracies = table.target(section.target, section.scale)
    _check_fractions(path, accuracies, section.scale)
    _, latencies = table.target(description.latency)
    accuracy, accuracy_quality = fitted(table, section.target, section.scale)
    latency, latency_quality = fitted(table, description.latency)
    truth = SurrogateTruth(accuracy, latency)
    return Benchmark(
        name=description.name,
        source=description.source,
        digest=file_digest(path),
        choices=choices,
        truth=truth,
        objective=objective,
        corner=np.array([1 - accuracies.min(), latencies.max()]),
        ideal=np.array([1 - accuracies.max(), latencies.min()]),
        best_reward=_remembered_best(truth, choices, objective, [path, section.target, description.latency]),
        is_exact=False,
        qualities={section.target: accuracy_quality, description.latency: latency_quality},
    )


def _check_fractions(path: Path, accuracies: NDArray[np.float64], scale: float) -> None:
    if accuracies.min() < 0 or accuracies.max() > 1:
        raise UserError(
            f"table {str(path)!r}: accuracies from {accuracies.min():g} to {accuracies.max():g}: must be fractions; "
            f"set scale ({scale:g} now; 0.01 for percent)"
        )


def _remembered_best(truth: SurrogateTruth, choices: Sequence[Choice], objective: Objective, of: list[object]) -> float:
    """`best_found`, which takes a minute, from the user's cache folder where it was found before."""
    path, *columns = of
    assert isinstance(path, Path)
    options = [[choice.name, *choice.options] for choice in choices]
    about = [_CLIMBS_VERSION, NUM_CLIMBS, file_digest(path), columns, repr(objective), options]
    probe = truth.objectives(np.zeros((1, len(choices)), dtype=np.int64)).tolist()  # another fit, another best
    key = hashlib.sha256(json.dumps([about, probe]).encode()).hexdigest()[:32]
    file = cache_folder() / "surrogates" / f"{key}.best.json"
    try:
        return float(json.loads(file.read_text())["best_reward"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        best = best_found(truth, choices, objective)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"best_reward": best}))
    temporary.replace(file)
    return best


def best_found(truth: Truth, choices: Sequence[Choice], objective: Objective | None) -> float:
    """The highest reward of `NUM_CLIMBS` hill climbs from random candidates, one decision changed at a time."""
    rng = np.random.default_rng(0)
    sizes = np.array([len(choice.options) for choice in choices])
    moves = [(place, option) for place, size in enumerate(sizes) for option in range(size)]
    places, options = map(np.array, zip(*moves, strict=True))
    best = -np.inf
    for start in rng.integers(sizes, size=(NUM_CLIMBS, len(sizes))):
        here, height = start, -np.inf
        while True:
            neighbours = np.repeat(here[None], len(moves), axis=0)
            neighbours[np.arange(len(moves)), places] = options
            rewards = _rewards(objective, truth.objectives(neighbours))
            if rewards.max() <= height:
                break
            here, height = neighbours[rewards.argmax()], rewards.max()
        best = max(best, height)
    return float(best)
