"""Controllers against a benchmark: every one from many seeds, in processes beside each other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.build import build_controller
from controllers.controller import Controller, Outcome
from nas.arch_table import positions_of
from nas.controller_bench.benchmark import Benchmark
from search_spaces.choice import Choice

SEEDS_A_TASK = 5  # that advance together: one prediction for all


@dataclass(frozen=True)
class Contestant:
    """A controller with its options; several may share a controller."""

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, choices: Sequence[Choice], seed: int) -> Controller:
        """A fresh one; ValueError where there is no such controller or option."""
        return build_controller(self.name, choices, seed, self.options)


@dataclass(frozen=True)
class Runs:
    """What one contestant found, sample by sample.

    Attributes:
        rewards: shape (seeds, samples).
        objectives: shape (seeds, samples, 1 or 2), each to be small.
    """

    rewards: NDArray[np.float64]
    objectives: NDArray[np.float64]


def run_seeds(benchmark: Benchmark, contestant: Contestant, seeds: Sequence[int], num_samples: int) -> Runs:
    """Run one contestant from some seeds; sample by sample, each told before the next is asked.

    The seeds do not know of each other: they advance together so that one prediction serves all.
    """
    controllers = [contestant.build(benchmark.choices, seed) for seed in seeds]
    rewards, objectives = [], []
    for _ in range(num_samples):
        asked = [controller.ask() for controller in controllers]
        positions = np.array([positions_of(benchmark.choices, suggestion.choices) for suggestion in asked])
        measured = benchmark.truth.objectives(positions)
        earned = benchmark.rewards(measured)
        for controller, suggestion, reward, values in zip(controllers, asked, earned, measured, strict=True):
            controller.tell(suggestion, Outcome(float(reward), tuple(map(float, values))))
        rewards.append(earned)
        objectives.append(measured)
    return Runs(np.stack(rewards, axis=1), np.stack(objectives, axis=1))


def race(
    benchmark: Benchmark,
    contestants: Sequence[Contestant],
    num_seeds: int,
    num_samples: int,
    num_processes: int,
    finished: Callable[[str, int], None],
) -> dict[str, Runs]:
    """Run all contestants from seeds 0, 1, ...; the same whatever the number of processes.

    Args:
        benchmark: the problem.
        contestants: with labels that differ.
        num_seeds: of each.
        num_samples: of each seed.
        num_processes: beside each other; 1 is this one alone.
        finished: told label and number of seeds whenever some are done.

    Returns:
        Label -> runs, in the order of the contestants.
    """
    tasks = [
        (contestant, range(first, min(first + SEEDS_A_TASK, num_seeds)))
        for contestant in contestants
        for first in range(0, num_seeds, SEEDS_A_TASK)
    ]
    parts: dict[tuple[str, int], Runs] = {}
    for (contestant, seeds), runs in _carried_out(benchmark, tasks, num_samples, num_processes):
        parts[contestant.label, seeds[0]] = runs
        finished(contestant.label, len(seeds))
    joined = {}
    for contestant in contestants:
        own = [parts[contestant.label, first] for first in range(0, num_seeds, SEEDS_A_TASK)]
        joined[contestant.label] = Runs(
            np.concatenate([runs.rewards for runs in own]), np.concatenate([runs.objectives for runs in own])
        )
    return joined


_Task = tuple[Contestant, range]
_benchmark: Benchmark | None = None  # of a worker process


def _carried_out(
    benchmark: Benchmark, tasks: Sequence[_Task], num_samples: int, num_processes: int
) -> Iterator[tuple[_Task, Runs]]:
    if num_processes == 1:
        for task in tasks:
            yield task, run_seeds(benchmark, *task, num_samples)
        return
    # Spawned: a forked process inherits locks of torch's threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, context, initializer=_begin, initargs=(benchmark,)) as pool:
        futures: dict[Future[Runs], _Task] = {pool.submit(_run, *task, num_samples): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(benchmark: Benchmark) -> None:
    global _benchmark
    import torch

    torch.set_num_threads(1)
    _benchmark = benchmark


def _run(contestant: Contestant, seeds: range, num_samples: int) -> Runs:
    assert _benchmark is not None
    return run_seeds(_benchmark, contestant, seeds, num_samples)
