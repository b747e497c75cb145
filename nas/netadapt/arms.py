"""The networks of a step, treated and scored side by side as Ray tasks; what was scored is kept until the step is over."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from nas.errors import UserError
from nas.evaluator import best_device
from nas.image_set import ImageSource
from nas.netadapt.activations import Activations, Start, scored
from nas.netadapt.adaptation import Position
from nas.netadapt.outcomes import Outcomes, Signal, outcomes
from nas.netadapt.tournament import Round
from nas.netadapt.treatment import Treatment, treated
from nas.netadapt.weighted_network import WeightedNetwork
from nas.training import DivergedError
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower

MAX_ACTIVATION_BYTES = 512 * 2**20
MAX_RETRIES = 1
"""Of a task whose worker has died: it may have been killed for another's sake; twice is no accident."""

FEWEST_SCORED = 2
"""Images that a paired difference is taken over."""

Scored = Callable[[int, int, Round], None]
"""Told how many of how many networks of a round are done."""


def nobody(done: int, total: int, round_: Round) -> None:
    """Who is told nothing."""


@dataclass(frozen=True)
class ArmImages:
    """Which images do what.

    Attributes:
        training: are trained on.
        calibration: some of them; the statistics of BN are taken over these.
        holdout: score; in a random order, so that the first ones are like all.
    """

    training: ImageSource
    calibration: ImageSource
    holdout: ImageSource

    def to(self, device: torch.device) -> ArmImages:
        """The same images on `device`."""
        return ArmImages(self.training.to(device), self.calibration.to(device), self.holdout.to(device))

    def first(self, share: float) -> ImageSource:
        """The first of the held-out images, at least `FEWEST_SCORED`, or all."""
        num = max(FEWEST_SCORED, round(share * len(self.holdout)))
        return self.holdout.select(torch.arange(min(num, len(self.holdout))))


@ray.remote(num_cpus=1, max_retries=MAX_RETRIES)
def _score_from(network: WeightedNetwork, arch: str, start: Start, signal: Signal, threads: int) -> Outcomes:
    """Of a network that is cut and recalibrated, not trained."""
    torch.set_num_threads(threads)
    return scored(network.narrowed(parse_arch(arch)), start, signal)[1]


@ray.remote(num_cpus=1, max_retries=MAX_RETRIES)
def _score_trained(
    network: WeightedNetwork,
    arch: str,
    images: ArmImages,
    treatment: Treatment,
    round_: Round,
    seed: int,
    signal: Signal,
    threads: int,
) -> Outcomes:
    torch.set_num_threads(threads)
    here = images.to(best_device())
    cut = network.narrowed(parse_arch(arch))
    scoring = here.first(round_.share)
    try:
        module = treated(cut, here.training, here.calibration, treatment, round_.num_steps, seed)
    except DivergedError:
        return np.zeros(len(scoring))  # a network that training has destroyed knows nothing
    return outcomes(module, scoring, signal)


@ray.remote(num_cpus=1, max_retries=MAX_RETRIES)
def _finish(
    network: WeightedNetwork,
    arch: str,
    images: ArmImages,
    treatment: Treatment,
    num_steps: int,
    seed: int,
    threads: int,
) -> tuple[WeightedNetwork, Outcomes]:
    """The network as it is kept, and which held-out images it has right."""
    torch.set_num_threads(threads)
    here = images.to(best_device())
    cut = network.narrowed(parse_arch(arch))
    module = treated(cut, here.training, here.calibration, treatment, num_steps, seed)
    return WeightedNetwork.of(cut.arch, module), outcomes(module, here.holdout, "accuracy")


class Arms:
    """Scores of networks that are cut from one another. Needs Ray, started or joined (`nas.ray_cluster`).

    Scores are functions of the parent's weights, the seed and the step: neither of the number of workers nor of the order
    in which they finish. Those of an interrupted step are found again in `folder`.

    Args:
        images: see `ArmImages`.
        treatment: of every network.
        signal: what is scored.
        seed: of all that is drawn, with the number of the step.
        threads: of each task.
        folder: keeps the scores of the step under way.
        scored: told how a round gets on.
    """

    def __init__(
        self,
        images: ArmImages,
        treatment: Treatment,
        signal: Signal,
        seed: int,
        threads: int,
        folder: Path,
        scored: Scored,
    ) -> None:
        self._images = images
        self._shared = ray.put(images)
        self._treatment = treatment
        self._signal = signal
        self._seed = seed
        self._options: dict[str, Any] = {"num_cpus": threads}
        if torch.cuda.is_available():
            self._options["num_gpus"] = 1
        self._threads = threads
        self._folder = folder
        self._scored = scored

    def score(
        self, network: WeightedNetwork, parent: Position, archs: Sequence[ArchSpec], round_: Round
    ) -> list[Outcomes]:
        """Outcomes of `archs`, each cut from `network` and treated.

        Args:
            network: of `parent`, with its weights.
            parent: where the step begins.
            archs: no wider than it.
            round_: how much training, how many images.

        Raises:
            UserError: a task failed, or its worker died twice.
        """
        files = [self._folder / f"{parent.step + 1}" / f"{round_.number}-{arch.key}.npy" for arch in archs]
        found = [np.load(file) if file.is_file() else None for file in files]
        missing = [number for number, outcome in enumerate(found) if outcome is None]
        self._scored(len(archs) - len(missing), len(archs), round_)
        if missing:
            files[0].parent.mkdir(parents=True, exist_ok=True)
            tasks = self._tasks(network, parent, [archs[number] for number in missing], round_)
            waiting = dict(zip(tasks, missing, strict=True))
            while waiting:
                (ready,), _ = ray.wait(list(waiting))
                number = waiting.pop(ready)
                found[number] = outcome = _answer(ready, archs[number])
                _keep(files[number], outcome)
                self._scored(len(archs) - len(waiting), len(archs), round_)
        return [outcome for outcome in found if outcome is not None]

    def finish(
        self, network: WeightedNetwork, parent: Position, arch: ArchSpec, num_steps: int
    ) -> tuple[WeightedNetwork, Outcomes]:
        """`arch` cut from `network`, trained and recalibrated; and which of the held-out images it has right, 0 or 1.

        Raises:
            UserError: as `score`.
        """
        task = _finish.options(name=f"step {parent.step + 1} accepted", **self._options).remote(
            network, str(arch), self._shared, self._treatment, num_steps, self._seed_of(parent), self._threads
        )
        finished: tuple[WeightedNetwork, Outcomes] = _answer(task, arch)
        return finished

    def forget(self, step: int) -> None:
        """The step of that number is over: its scores are needed no more."""
        shutil.rmtree(self._folder / f"{step}", ignore_errors=True)
        with contextlib.suppress(OSError):  # there are others
            self._folder.rmdir()

    def _tasks(
        self, network: WeightedNetwork, parent: Position, archs: Sequence[ArchSpec], round_: Round
    ) -> list[ray.ObjectRef[Any]]:
        title = f"step {parent.step + 1} round {round_.number}"
        options = self._options | {"name": title}
        weights = ray.put(network)
        if round_.num_steps or not self._treatment.recalibrates:
            common = (self._shared, self._treatment, round_, self._seed_of(parent), self._signal, self._threads)
            return [_score_trained.options(**options).remote(weights, str(arch), *common) for arch in archs]
        images = self._images
        with _torch_threads(self._threads):  # as the tasks that go on from them: other numbers may round otherwise
            activations = Activations.of(network, images.calibration, images.first(round_.share), MAX_ACTIVATION_BYTES)
        starts = [activations.start(lower(arch, network.resolution, network.num_classes)) for arch in archs]
        refs = {key: ray.put(start) for key, start in {id(start): start for start in starts}.items()}
        return [
            _score_from.options(**options).remote(weights, str(arch), refs[id(start)], self._signal, self._threads)
            for arch, start in zip(archs, starts, strict=True)
        ]

    def _seed_of(self, parent: Position) -> int:
        return self._seed + 1_000_003 * (parent.step + 1)  # steps see other images than those of the next seed


@contextlib.contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _answer(task: ray.ObjectRef[Any], arch: ArchSpec) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        reason = " ".join(str(cause).split())[:300]
        cure = "; begin a new run with a lower --learning-rate" if isinstance(cause, DivergedError) else ""
        raise UserError(f"training or scoring {arch} failed: {reason}{cure}") from None


def _keep(file: Path, outcome: Outcomes) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as opened:
        np.save(opened, outcome)
    temporary.replace(file)
