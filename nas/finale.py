"""After the search: the winner beside published networks, trained alike, tested once, exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray
import torch
from safetensors.torch import load_file, save_file

from latency.latency import Latency
from nas.config import Config
from nas.errors import UserError
from nas.evaluator import best_device
from nas.export import export, input_metadata
from nas.finalist import WINNER, Finalist
from nas.network import resolve_network
from nas.run_folder import write_json
from nas.training import ImageSet, num_correct, train
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.count import Counts, count
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

_LONGEST_NAME = 100

Weights = dict[str, torch.Tensor]
"""A state dict, on the CPU."""


@dataclass(frozen=True, slots=True)
class FinalLatency:
    """Latency of a network of the final comparison; fields as in `nas.trial.Trial`."""

    latency: Latency
    device_latencies: Mapping[str, Latency]


@dataclass(frozen=True, slots=True)
class FinalTraining:
    """One training of one network.

    Attributes:
        name: of the network.
        arch: the network.
        seed: of the training.
        folder: keeps ``NAME.json`` and ``NAME.safetensors`` when it is done, so that a killed run goes on.
    """

    name: str
    arch: ArchSpec
    seed: int
    folder: Path

    @property
    def path(self) -> Path:
        """Of what is kept of it."""
        return self.folder / f"{self.name}.json"

    @property
    def is_done(self) -> bool:
        """It is kept, and of this network."""
        return self.path.is_file() and self.finalist().arch == str(self.arch)

    def finalist(self) -> Finalist:
        """What is kept."""
        return Finalist(**json.loads(self.path.read_text()))

    def keep(self, finalist: Finalist, weights: Weights) -> None:
        """Write both; what says that it is done comes last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, self.folder / f"{self.name}.safetensors")
        write_json(self.path, asdict(finalist))


@ray.remote(num_cpus=1, max_retries=0)
def _train_finalist(
    arch: str,
    initial: Weights | None,
    training: ImageSet,
    test: ImageSet,
    recipe: TrainingRecipe,
    num_classes: int,
    seed: int,
    threads: int,
) -> tuple[int, float, Weights]:
    """Correct test images, seconds, weights of one network trained from its initial weights, or from scratch."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = best_device()
    module = build_module(lower(parse_arch(arch), training.images.shape[-1], num_classes, training=True), seed).to(
        device
    )
    if initial is not None:
        module.load_state_dict(initial)
    seconds = sum(epoch.seconds for epoch in train(module, training.to(device), recipe, seed))
    correct = num_correct(module, test.to(device))
    return correct, seconds, {name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}


def train_finalists(
    trainings: Sequence[FinalTraining],
    initial: Mapping[str, Weights],
    measure: Callable[[ArchSpec], FinalLatency | None],
    training: ImageSet,
    test: ImageSet,
    num_classes: int,
    config: Config,
    finished: Callable[[FinalTraining], None],
) -> list[Finalist]:
    """Measure all networks, then do all trainings that are not done yet, side by side.

    Args:
        trainings: what is trained.
        initial: name -> weights with which a network begins; the others begin from scratch.
        measure: latency of one of them, or None; called while nothing trains.
        training: trained on: of a final comparison the whole training split, held-out images included.
        test: judged on, once by each training; none of them is in `training`.
        num_classes: of the data set.
        config: the recipe and resources.
        finished: told each training that is done.

    Returns:
        One for each training, in their order.

    Raises:
        UserError: a training failed; the others that were done are kept.
    """
    assert config.final is not None
    recipe = TrainingRecipe(**config.final.training.model_dump())
    waiting = [one for one in trainings if not one.is_done]
    latencies = {one.path: measure(one.arch) for one in waiting}
    shared = ray.put(training), ray.put(test)
    options = {"num_cpus": config.cpus_per_trial, "num_gpus": config.gpus_per_trial or 0.0}
    tasks = {
        _train_finalist.options(name=f"final {one.name}, seed {one.seed}", **options).remote(
            str(one.arch), initial.get(one.name), *shared, recipe, num_classes, one.seed, config.cpus_per_trial
        ): one
        for one in waiting
    }
    while tasks:
        (ready,), _ = ray.wait(list(tasks))
        one = tasks.pop(ready)
        try:
            correct, seconds, weights = ray.get(ready)
        except ray.exceptions.RayError as error:
            reason = " ".join(str(getattr(error, "cause", None) or error).split())[:300]
            raise UserError(
                f"final training of {one.name} failed: {reason}; mend its recipe in config.yaml of the run, "
                "then go on with --resume: what is done is kept"
            ) from None
        counts = count(lower(one.arch, config.latency.resolution, num_classes))
        finalist = _finalist(one, counts, latencies[one.path], correct, len(test), seconds, one.name in initial)
        one.keep(finalist, weights)
        finished(one)
    return [one.finalist() for one in trainings]


def _finalist(
    done: FinalTraining,
    counts: Counts,
    found: FinalLatency | None,
    correct: int,
    num_test: int,
    seconds: float,
    inherited: bool,
) -> Finalist:
    return Finalist(
        name=done.name,
        arch=str(done.arch),
        macs=counts.macs,
        params=counts.params,
        num_test=num_test,
        num_correct=correct,
        latency=found.latency.to_dict() if found else None,
        training_s=round(seconds, 3),
        device_latencies={n: x.to_dict() for n, x in found.device_latencies.items()} if found else {},
        inherited=inherited,
    )


def export_winner(arch: ArchSpec, weights: Path, images: ImageSet, class_names: tuple[str, ...], folder: Path) -> float:
    """Export a network that `train_finalists` has trained, for images like `images`; see `nas.export.export`."""
    module = build_module(lower(arch, images.images.shape[-1], len(class_names)), seed=0)
    module.load_state_dict(load_file(weights))
    metadata = input_metadata(images.mean, images.std, class_names)
    return export(arch, module, images.normalised(images.images[:32]), metadata, folder)


def check_baselines(names: list[str], resolutions: Collection[int] = ()) -> None:
    """Raise UserError where a baseline's name repeats or cannot be a file name, or a network does not fit a resolution.

    Args:
        names: as recipes have them.
        resolutions: sides in pixels at which the networks will be trained and measured.
    """
    if len(set(names)) != len(names) or WINNER in names:
        raise UserError(f"final.baselines {names}: names must differ from each other and from {WINNER!r}")
    for name in names:
        if "/" in name or len(name) > _LONGEST_NAME:
            short = f"{name[:_LONGEST_NAME]}..." if len(name) > _LONGEST_NAME else name
            raise UserError(
                f"final.baselines {short!r}: files are called after it; name a network without /RESOLUTION, which the "
                f"recipe has, or a JSON file in the working folder"
            )
        for resolution in resolutions:
            try:
                lower(resolve_network(name), resolution, num_classes=2)
            except ValueError as error:
                raise UserError(f"final.baselines {name!r} at {resolution} px: {error}") from None
