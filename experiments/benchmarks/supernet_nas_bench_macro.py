"""How well does a supernet rank networks that were really trained? On all of NAS-Bench-Macro's space.

    python experiments/benchmarks/supernet_nas_bench_macro.py --data cifar10.npz --table nas_bench_macro_cifar10.csv [--json]

The table (arXiv 2103.11922, github.com/xiusu/NAS-Bench-Macro) has every network of the space, each trained three times for
50 epochs on CIFAR-10; networks that are written differently but are the same count once, their accuracies averaged. The
supernet is that of the shipped recipe `nas_bench_macro.yaml`, trained here and remembered in the user's cache folder, scored
on training images held out from it. Kendall's tau with the mean of the three trainings, 95 % intervals over networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from nas.config import load_config
from nas.evaluators import supernet_evaluator
from nas.images import Images
from nas.rank_correlation import tau_difference, tau_interval
from nas.supernet_evaluator import geometric_mean_probability, path_logits
from search_spaces.arch import ArchSpec
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.space import SearchSpace

RECIPE = "nas_bench_macro.yaml"
TRAININGS = ["test_acc_s0", "test_acc_s1", "test_acc_s2"]


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of images classified right."""
    return (logits.argmax(1) == labels).float().mean()


def mean_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean probability of the right class."""
    return F.softmax(logits, 1).gather(1, labels[:, None]).mean()


SCORES = {
    "geometric mean probability": geometric_mean_probability,
    "mean probability": mean_probability,
    "accuracy": accuracy,
}


def trained_networks(space: SearchSpace, table: Path) -> tuple[list[ArchSpec], NDArray[np.float64]]:
    """Distinct networks of the table, and their accuracies by training, shape (networks, 3), in percent."""
    rows = pd.read_csv(table, dtype={"arch": str})
    archs: dict[str, ArchSpec] = {}
    accuracies: dict[str, list[NDArray[np.float64]]] = {}
    for digits, found in zip(rows["arch"].str.zfill(len(space.choices)), rows[TRAININGS].to_numpy(), strict=True):
        choices = {choice.name: choice.options[int(digit)] for choice, digit in zip(space.choices, digits, strict=True)}
        arch = space.decode(choices)
        archs.setdefault(arch.key, arch)
        accuracies.setdefault(arch.key, []).append(found)
    keys = sorted(archs)
    return [archs[key] for key in keys], np.array([np.mean(accuracies[key], axis=0) for key in keys])


def measured(args: argparse.Namespace, log: Console) -> dict[str, Any]:
    """All figures."""
    config = load_config(RECIPE, [f"data.source={json.dumps(args.data)}", *args.set])
    space = config.search_space
    archs, truth = trained_networks(space, Path(args.table))
    num_distinct = len(archs)
    if args.networks < num_distinct:
        chosen = np.random.default_rng(args.seed).permutation(num_distinct)[: args.networks]
        archs, truth = [archs[n] for n in chosen], truth[chosen]
    evaluator, training_s = supernet_evaluator(config, Images.load(config), log)
    images = evaluator.holdout
    started = time.perf_counter()
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for number, arch in enumerate(archs, start=1):
        logits = path_logits(evaluator.supernet, space.encode(arch), images)
        for name, score in SCORES.items():
            found[name].append(float(score(logits, images.labels)))
        if number % 50 == 0:
            log.print(f"{number} of {len(archs)} networks scored", highlight=False)
    seconds = (time.perf_counter() - started) / len(archs)
    counts = [count(lower(arch, config.data.resolution, 10)) for arch in archs]
    scores = {name: np.array(values) for name, values in found.items()}
    scores |= {
        "MACs": np.array([float(c.macs) for c in counts]),
        "params": np.array([float(c.params) for c in counts]),
    }
    mean = truth.mean(axis=1)
    return {
        "num_distinct": num_distinct,
        "num_networks": len(archs),
        "num_images": len(images),
        "training_s": training_s,
        "scoring_s": seconds,
        "threads": torch.get_num_threads(),
        "recipe": config.evaluator.supernet.model_dump(),
        "tau": {name: dataclasses.asdict(tau_interval(values, mean)) for name, values in scores.items()},
        "over_macs": {name: dataclasses.asdict(tau_difference(scores[name], scores["MACs"], mean)) for name in SCORES},
        "ceiling": dataclasses.asdict(tau_interval(truth[:, 0], truth[:, 1])),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", required=True, help="CIFAR-10: FILE.npz, or a folder with train/CLASS/* and val/CLASS/*"
    )
    parser.add_argument("--table", required=True, help="the CSV of NAS-Bench-Macro")
    parser.add_argument("--networks", type=int, default=300, help="random distinct networks to score (default 300)")
    parser.add_argument("--seed", type=int, default=7, help="draws the networks")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measured(args, Console(stderr=True))
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{result['num_networks']} of {result['num_distinct']} distinct networks, {result['num_images']} held-out images"
    )
    print(f"training {result['training_s'] / 60:.1f} min, scoring {result['scoring_s']:.2f} s a network")
    for name, tau in [*result["tau"].items(), ("another training", result["ceiling"])]:
        print(f"{name:28} tau {tau['value']:.3f} [{tau['low']:.3f}, {tau['high']:.3f}]")


if __name__ == "__main__":
    main()
