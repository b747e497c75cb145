"""The network that an adaptation begins with: with the weights that it is given, or trained first."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from nas.errors import UserError
from nas.evaluator import best_device
from nas.export import WEIGHTS
from nas.netadapt.adapt_config import AdaptConfig
from nas.netadapt.weighted_network import WeightedNetwork
from nas.train import carry_on
from nas.train_data import TrainingData
from nas.train_run import TrainRun, create_run
from nas.weights import Loaded, load_weights
from search_spaces.arch import ArchSpec
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

LEAST_SKILL = 0.1
"""Of the way from guessing to knowing: a network that is nearer to guessing has nothing to lose, so no width matters."""


def seed_network(config: AdaptConfig, folder: Path, dataset: TrainingData, console: Console) -> WeightedNetwork:
    """The seed with its weights, as its file has them.

    Args:
        config: of the run.
        folder: of the training of a network without weights; carried on from wherever it is.
        dataset: what the configuration names.
        console: shows that training.

    Raises:
        UserError: the weights are of another network or of other classes; or the training failed.
    """
    weights = Path(config.weights) if config.weights else _trained(config, folder, dataset, console)
    resolution = config.training.data.resolution
    loaded = loaded_weights(weights, config.training.arch, resolution, dataset)
    module = build_module(lower(loaded.arch, resolution, loaded.num_classes), seed=0)
    loaded.put_into(module)
    return WeightedNetwork.of(one_layer_blocks(loaded.arch), module)


def loaded_weights(weights: Path, arch: ArchSpec, resolution: int, dataset: TrainingData) -> Loaded:
    """Weights of `arch` for the classes of `dataset`.

    Raises:
        UserError: the file holds none, or those of another network or of other classes.
    """
    loaded = load_weights(weights, arch, resolution=resolution)
    if loaded.num_classes != dataset.num_classes:
        raise UserError(
            f"{weights}: it tells {loaded.num_classes} classes apart and {dataset.source} has {dataset.num_classes}; leave "
            "the weights out, and the network is trained first"
        )
    return loaded


def _trained(config: AdaptConfig, folder: Path, dataset: TrainingData, console: Console) -> Path:
    if not (folder / "config.yaml").is_file():
        create_run(folder, config.training, dataset.fingerprint, best_device())
    with TrainRun(folder) as run:
        if run.final is None:
            note = f"training  {config.network.name} first, for it has no weights"
            console.print(note, highlight=False, soft_wrap=True)
        carry_on(run, dataset, console)
    return folder / "best" / WEIGHTS


def check_skill(accuracy: float, num_classes: int, name: str) -> None:
    """Raise UserError for a network that hardly does better than chance.

    Args:
        accuracy: on held-out images, in [0, 1].
        num_classes: guessing is right once in so many times.
        name: of the network.
    """
    chance = 1 / num_classes
    if accuracy < chance + LEAST_SKILL * (1 - chance):
        raise UserError(
            f"{name} is right about {accuracy:.1%} of the held-out images, guessing about {chance:.1%}: train it for longer "
            "(--epochs), or give better weights (--weights)"
        )
