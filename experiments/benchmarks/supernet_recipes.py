"""Which supernet ranks best? Several ways to train one, judged by networks that were trained by themselves.

    nas proxy-check --config mnas_large.yaml --data imagenette64.npz --networks 36 --no-supernet --json > check.json
    python experiments/benchmarks/supernet_recipes.py --data imagenette64.npz --check check.json [--way NAME ...] [--json]

All ways but one see about as many images through a network: `--epochs` times the training images. Tau is that of the score
by which searches rank, on held-out images, with the mean accuracy of each network's trainings; 95 % intervals over networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from guided_supernet import GuidedGradients, trained_guide
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from latency.cores import available_cores
from nas.config import Config, load_config
from nas.evaluator import best_device
from nas.gradients import Gradients, mixed_precision
from nas.image_set import ImageSet
from nas.images import Images
from nas.network import resolve_network
from nas.path_gradients import PathGradients
from nas.path_sampling import DepartingPaths, PathSampler, fair_paths, uniform_path
from nas.rank_correlation import Scores, tau_difference, tau_interval
from nas.supernet_evaluator import geometric_mean_probability, path_logits
from nas.training import Training, steps_per_epoch
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.choice import Choice, Option
from search_spaces.sharing import Sharing
from search_spaces.space import SearchSpace
from search_spaces.supernet import Supernet

WARM_UP = 0.25
"""Share of the steps in which widths and operations are the largest more often than drawn (after TuNAS, arXiv 2008.06120,
whose warm-up of operations averages all of them instead)."""


Sampling = Literal["fair", "uniform", "warm", "anchor", "sandwich", "guided"]

NUM_SANDWICHED = 4
"""Candidates a step that see the same images: the largest, the smallest, two others."""


@dataclass(frozen=True)
class Way:
    """How to train a supernet; a batch is divided among the candidates of a step, unless they are distilled.

    Attributes:
        sharing: of weights.
        sampling: fair, uniform, warm (uniform with a warm-up), anchor (see `DepartingPaths`), sandwich (largest,
            smallest, two others; the largest teaches the others on the same images: BigNAS, arXiv 2003.11142) or guided
            (uniform; each block learns to give what a trained network's does, see `guided_supernet.GuidedGradients`).
        batch_size: images a step.
        learning_rate: its peak.
        images: through networks, as a multiple of what other ways get.
    """

    sharing: Sharing
    sampling: Sampling
    batch_size: int
    learning_rate: float
    images: float = 1.0


WAYS = {
    "uniform": Way("nested", "uniform", 64, 0.05),
    "uniform, windows apart": Way("sliced", "uniform", 64, 0.05),
    "uniform, kernels apart": Way("kernel", "uniform", 64, 0.05),
    "uniform, operations apart": Way("op", "uniform", 64, 0.05),
    "uniform, warm-up": Way("nested", "warm", 64, 0.05),
    "uniform, thrice as long": Way("nested", "uniform", 64, 0.05, images=3),
    "fair": Way("nested", "fair", 320, 0.1),
    "fair, operations apart": Way("op", "fair", 320, 0.1),
    "anchor": Way("nested", "anchor", 128, 0.1),
    "sandwich, distilled": Way("nested", "sandwich", 64, 0.1),
    "guided": Way("nested", "guided", 32, 0.05),
}


def largest(choice: Choice) -> Option:
    """The option with the most weights; of skips the residual path."""
    return choice.options[0] if choice.name.endswith(".skip") else choice.options[-1]


def smallest(choice: Choice) -> Option:
    """The option with the fewest multiply-adds; of skips the residual path."""
    if choice.name.endswith(".op"):
        return "sepconv"
    return choice.options[0]


def sandwich(space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
    """The largest candidate, the smallest, and two others."""
    ends = [{choice.name: option(choice) for choice in space.choices} for option in (largest, smallest)]
    others = [path for _ in range(NUM_SANDWICHED - len(ends)) for path in uniform_path(space, generator)]
    return [*ends, *others]


class Warming:
    """Uniform candidates, whose widths and operations are the largest with a probability that falls from 1 to 0."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._step = 0

    def __call__(self, space: SearchSpace, generator: torch.Generator) -> list[dict[str, Option]]:
        """As `PathSampler`."""
        (drawn,) = uniform_path(space, generator)
        probability = max(0.0, 1 - self._step / (WARM_UP * self._num_steps))
        self._step += 1
        widest = torch.rand(2, generator=generator) < probability
        kinds = {kind for kind, chosen in zip(("filters", "op"), widest.tolist(), strict=True) if chosen}
        by_name = {choice.name: choice for choice in space.choices}
        return [
            {
                name: largest(by_name[name]) if name.rpartition(".")[2] in kinds else option
                for name, option in drawn.items()
            }
        ]


class DistilledGradients:
    """Candidates of one step on the same images: the first learns the labels, the others what the first says."""

    def __init__(self, supernet: Supernet, sampler: PathSampler) -> None:
        self._supernet = supernet
        self._sampler = sampler

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """As `Gradients`."""
        paths = self._sampler(self._supernet.space, generator)
        total = torch.zeros((), device=images.device)
        taught = labels
        for choices in paths:
            with mixed_precision(images.device):
                logits = self._supernet.path(choices)(images)
                loss = F.cross_entropy(logits, taught) / len(paths)
            loss.backward()  # type: ignore[no-untyped-call]
            if taught is labels:
                taught = F.softmax(logits.detach().float(), 1)
            total += loss.detach()
        return total


def trained(way: Way, config: Config, images: Images, epochs: int) -> tuple[Supernet, float, float]:
    """A supernet by `way`, its mean loss in the last epoch, the wall seconds."""
    device = best_device()
    training = images.split(config)[0].to(device)
    supernet = Supernet(
        config.search_space, config.data.resolution, images.dataset.num_classes, way.sharing, config.seed
    ).to(device)
    copies = NUM_SANDWICHED if way.sampling == "sandwich" else 1
    section = config.evaluator.supernet.training.model_dump()
    changed = {
        "epochs": max(1, round(epochs * way.images / copies)),
        "batch_size": way.batch_size,
        "learning_rate": way.learning_rate,
    }
    recipe = TrainingRecipe(**(section | changed))
    started, loss = time.perf_counter(), float("nan")
    run = Training(supernet, training, recipe, config.seed, _gradients(way, config, supernet, recipe, training))
    for _ in range(recipe.epochs):
        loss = run.next_epoch().loss
    return supernet, loss, time.perf_counter() - started


def _gradients(way: Way, config: Config, supernet: Supernet, recipe: TrainingRecipe, images: ImageSet) -> Gradients:
    num_steps = recipe.epochs * steps_per_epoch(len(images), recipe)
    match way.sampling:
        case "guided":  # by a network that is trained first, as the recipe's final ones are
            assert config.final is not None
            final = TrainingRecipe(**config.final.training.model_dump())
            guide = trained_guide(supernet.space, config.data.resolution, images, final, config.seed)
            return GuidedGradients(supernet, guide, num_steps)
        case "sandwich":
            return DistilledGradients(supernet, sandwich)
        case "anchor":
            anchor = supernet.space.encode(resolve_network("mnasnet_a1"))
            sampler: PathSampler = DepartingPaths(anchor, num_steps)
        case "warm":
            sampler = Warming(num_steps)
        case "fair":
            sampler = fair_paths
        case "uniform":
            sampler = uniform_path
    return PathGradients(supernet, sampler, recipe.label_smoothing)


def scored(supernet: Supernet, archs: list[ArchSpec], config: Config, images: Images) -> Scores:
    """What searches rank the networks by, on all held-out images."""
    holdout = images.split(config)[1].to(next(supernet.parameters()).device)
    logits = (path_logits(supernet, supernet.space.encode(arch), holdout) for arch in archs)
    return np.array([float(geometric_mean_probability(found, holdout.labels)) for found in logits])


def judged(scores: Scores, check: Mapping[str, Any]) -> dict[str, Any]:
    """Tau of the scores of the networks of a `nas proxy-check --json`, and how much it is above other proxies."""
    truth = np.array([np.mean(network["accuracies"]) for network in check["networks"]])
    others = {
        name: np.array([network["scores"][name] for network in check["networks"]])
        for name in ("MACs", "short training")
    }
    return {
        "tau": dataclasses.asdict(tau_interval(scores, truth)),
        **{
            f"over_{name.replace(' ', '_').lower()}": dataclasses.asdict(tau_difference(scores, other, truth))
            for name, other in others.items()
        },
    }


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnas_large.yaml")
    parser.add_argument("--data", required=True, help="FILE.npz, or a folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--check", required=True, help="output of nas proxy-check --json on the same recipe and data")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="default: all")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not Path(args.check).is_file():
        parser.error(f"--check {args.check}: no such file; make it with nas proxy-check --no-supernet --json")
    torch.set_num_threads(len(available_cores()) or torch.get_num_threads())
    config = load_config(args.config, [f"data.source={json.dumps(args.data)}", *args.set])
    images = Images.load(config)
    check = json.loads(Path(args.check).read_text())
    archs = [parse_arch(network["arch"]) for network in check["networks"]]
    log, results = Console(stderr=True), []
    for name in args.way or WAYS:
        supernet, loss, seconds = trained(WAYS[name], config, images, args.epochs)
        found = judged(scored(supernet, archs, config, images), check)
        results.append({"way": name, **dataclasses.asdict(WAYS[name]), "loss": loss, "seconds": seconds, **found})
        tau = found["tau"]
        line = (
            f"{name:28} loss {loss:.3f}  tau {tau['value']:.3f} [{tau['low']:.3f}, {tau['high']:.3f}]  {seconds:.0f} s"
        )
        log.print(line, highlight=False)
    if args.json:
        print(json.dumps({"epochs": args.epochs, "networks": len(archs), "ways": results}, indent=1))


if __name__ == "__main__":
    main()
