"""Short trainings of small networks on the digits, in pairs: same images, same seed, two networks."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.claims.interval import Interval, MeanDifference
from nas.claims.lab import Lab
from search_spaces.arch import ArchSpec
from search_spaces.graph import Graph
from search_spaces.lower import lower

if TYPE_CHECKING:
    from nas.training import ImageSet
    from nas.training_recipe import TrainingRecipe
    from search_spaces.torch_module import GraphModule

SIDE = 8  # pixels: the digits as they are
NUM_CLASSES = 10
NUM_SEEDS = 16
ANY_GAIN: Interval = (0.0, float("inf"))
_HELD_OUT = 0.7  # of the training split: few images to train on and many to score leave a difference to be seen

Initialise = Callable[["GraphModule"], None]
"""Changes a freshly built module."""


def as_built(_: GraphModule) -> None:
    """Nothing."""


def small(arch: ArchSpec) -> Graph:
    """`arch` for the digits."""
    return lower(arch, SIDE, NUM_CLASSES)


def recipe(epochs: int = 20, learning_rate: float = 0.2) -> TrainingRecipe:
    """SGD with cosine decay, long enough for the networks here to stop improving."""
    from nas.training_recipe import TrainingRecipe

    return TrainingRecipe(epochs=epochs, learning_rate=learning_rate, batch_size=32)


def images(seed: int) -> tuple[ImageSet, ImageSet]:
    """A stratified draw of the digits' training split: to train on, to score on. The test split is left alone."""
    import torch

    from nas.data import holdout_split

    every, labels = _digits()
    split = holdout_split(labels, _HELD_OUT, seed)
    return every.select(torch.from_numpy(split.train)), every.select(torch.from_numpy(split.holdout))


@functools.cache
def _digits() -> tuple[ImageSet, NDArray[np.int64]]:
    from nas.data import load_dataset
    from nas.data_tensors import prepare

    dataset = load_dataset("digits")
    return prepare(dataset, SIDE), dataset.y_train


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: for networks this small no slower, and the same figures whatever the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.lru_cache(maxsize=2 * NUM_SEEDS)  # three claims look at the same networks
def trained(graph: Graph, seed: int, initialise: Initialise) -> GraphModule:
    """`graph` after training on the images of `seed`, which also draws weights and order.

    Raises:
        nas.training.DivergedError: the loss is not finite.
    """
    from nas.training import train
    from search_spaces.torch_module import build_module

    module = build_module(graph, seed)
    initialise(module)
    with one_thread():
        for _ in train(module, images(seed)[0], recipe(), seed):
            pass
    return module


def accuracy(module: GraphModule, seed: int) -> float:
    """In per cent, on the images of `seed` that were held out."""
    from nas.training import num_correct

    held_out = images(seed)[1]
    return 100 * num_correct(module, held_out) / len(held_out)


def gain(
    lab: Lab, network: Graph, other: Graph, what: str, *, num_seeds: int = NUM_SEEDS, initialise: Initialise = as_built
) -> MeanDifference:
    """Points of accuracy that `network` is better than `other`, over paired seeds.

    Args:
        lab: is told of progress; its seed is the first.
        network: for the digits.
        other: likewise.
        what: is compared, in words.
        num_seeds: pairs, at least 3.
        initialise: changes both before they are trained.
    """
    differences = []
    for seed in range(lab.seed, lab.seed + num_seeds):
        lab.say(f"training {what}, pair {seed - lab.seed + 1} of {num_seeds}")
        scores = [accuracy(trained(graph, seed, initialise), seed) for graph in (network, other)]
        differences.append(scores[0] - scores[1])
    return MeanDifference.of(differences)
