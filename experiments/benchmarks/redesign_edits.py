"""What each edit by hand of MobileNetV3 does to MnasNet-A1 in a short training, alone and together.

    python experiments/benchmarks/redesign_edits.py --data photos.npz [--epochs 5] [--seeds 0] [--json OUT]

Trained from scratch by the recipe of mobilenet_v3_large.yaml, at its resolution, without what it holds out, and scored on
that; the test split is not read. One training a network and seed; as many at a time as there are cores.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from latency.cores import available_cores
from nas.evaluator import ProxyTrainer
from nas.images import Images
from nas.reproduction.redesign import EDITS, all_edits
from nas.reproduction.reproduce_config import load_reproduce_config
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import with_activation
from search_spaces.zoo import get


@dataclass(frozen=True)
class Job:
    """A training of a network, by its string: from `data`, for so many epochs."""

    arch: str
    seed: int
    data: str
    epochs: int


def networks() -> dict[str, ArchSpec]:
    """By the name of what was done to MnasNet-A1; MobileNetV3-Large is what NetAdapt made of all edits."""
    a1, large = get("mnasnet_a1"), get("mobilenet_v3_large")
    alone = {f"mnasnet_a1 + {name}": all_edits(a1, [name]) for name in EDITS}
    return {
        "mnasnet_a1": a1,
        **alone,
        "mnasnet_a1 + all": all_edits(a1, list(EDITS)),
        "mobilenet_v3_large": large,
        "mobilenet_v3_large - hswish": with_activation(large, "relu"),
    }


def accuracies(job: Job) -> list[float]:
    """On the held-out images, after each epoch."""
    torch.set_num_threads(1)
    config = load_reproduce_config("mobilenet_v3_large", [f"search.data.source={json.dumps(job.data)}"]).search
    images = Images.load(config)
    training, holdout = images.split(config)
    recipe = TrainingRecipe(**config.evaluator.training.model_dump() | {"epochs": job.epochs})
    trainer = ProxyTrainer(training, holdout, recipe, images.dataset.num_classes)
    return [found.accuracy for found in trainer.evaluate(parse_arch(job.arch), job.seed)]


def main() -> None:
    """Train all, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args()
    jobs = {
        (name, seed): Job(str(arch), seed, args.data, args.epochs)
        for name, arch in networks().items()
        for seed in args.seeds
    }
    with ProcessPoolExecutor(len(available_cores()) or 1) as pool:
        found = dict(zip(jobs, pool.map(accuracies, jobs.values()), strict=True))
    table = Table("network", *(f"epoch {number}" for number in range(1, args.epochs + 1)))
    for (name, seed), values in found.items():
        table.add_row(f"{name}, seed {seed}", *(f"{value:.1%}" for value in values))
    Console(width=120).print(table)
    if args.json:
        rows = [{"network": name, "seed": seed, "accuracies": values} for (name, seed), values in found.items()]
        args.json.write_text(json.dumps({"epochs": args.epochs, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
