"""What an adaptation came to, beside what is simpler: trained alike from scratch, tested once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from latency.latency import Latency
from nas.evaluator import best_device
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.adapt_data import AdaptData
from nas.netadapt.weighted_network import WeightedNetwork
from nas.train import carry_on
from nas.train_config import NetworkSection
from nas.train_data import TrainingData
from nas.train_run import TrainRun, create_run
from nas.training import num_correct
from search_spaces.arch import ArchSpec
from search_spaces.count import count
from search_spaces.lower import lower


@dataclass(frozen=True)
class Compared:
    """A network of the comparison.

    Attributes:
        name: ``seed``, ``adapted``, ``uniform`` or ``random``.
        network: with the weights that the adaptation has left.
        cost: as it counts towards the budget.
        latency: measured; None where nothing is.
    """

    name: str
    network: WeightedNetwork
    cost: float
    latency: Latency | None


def compare(
    networks: Sequence[Compared],
    config: AdaptConfig,
    folder: Path,
    data: AdaptData,
    dataset: TrainingData,
    console: Console,
) -> list[dict[str, Any]]:
    """Test each network as it is, and as often trained from scratch as `config` wants, all by one recipe.

    Args:
        networks: to compare.
        config: of the adaptation.
        folder: of the trainings, ``NAME-SEED``; those that are done are not done again, and equal networks are trained once.
        data: with the test split.
        dataset: what the configuration names.
        console: shows the trainings.

    Returns:
        The networks as ``final.json`` has them.
    """
    test, device = data.test.to(best_device()), best_device()
    entries = []
    known: dict[tuple[str, int], Mapping[str, Any]] = {}
    for compared in networks:
        counts = count(lower(compared.network.arch, config.latency.resolution, data.num_classes))
        trained = []
        for seed in range(config.seed, config.seed + config.num_trainings):
            training = compared.network.arch.key, seed
            if training not in known:
                own = folder / f"{compared.name}-{seed}"
                known[training] = from_scratch(
                    compared.name, compared.network.arch, seed, config, own, dataset, console
                )
            found = known[training]
            trained.append({"seed": seed, "num_correct": found["num_correct"]})
        entries.append(
            {
                "name": compared.name,
                "arch": str(compared.network.arch),
                "cost": compared.cost,
                "latency": compared.latency and compared.latency.to_dict(),
                "macs": counts.macs,
                "params": counts.params,
                "num_test": len(test),
                "fine_tuned_correct": num_correct(compared.network.module().to(device), test),
                "trained": trained,
            }
        )
    return entries


def from_scratch(
    name: str,
    arch: ArchSpec,
    seed: int,
    config: AdaptConfig,
    folder: Path,
    dataset: TrainingData,
    console: Console,
) -> Mapping[str, Any]:
    """What came of a training by the recipe of an adaptation, done in `folder` unless it has been."""
    if not (folder / "config.yaml").is_file():
        section = NetworkSection(name=name, arch=str(arch), training_of=config.network.training_of)
        own = config.training.model_copy(update={"seed": seed, "network": section, "weights": None})
        create_run(folder, own, dataset.fingerprint, best_device())
    with TrainRun(folder) as run:
        return carry_on(run, dataset, console)
