"""Scores of untrained networks: what they are worth as a proxy, `nas proxy-check` says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from nas.evaluator import Evaluation
from nas.image_set import ImageSet
from search_spaces.arch import ArchSpec
from search_spaces.count import shortest_path
from search_spaces.graph import Graph
from search_spaces.lower import lower
from search_spaces.space import SearchSpace
from search_spaces.torch_module import GraphModule, build_module

NUM_REFERENCES = 64
NUM_IMAGES = 32
_JACOB_COV_OFFSET = 1e-5

Score = Callable[[Graph, ImageSet, int], float]
"""Of a graph, with some images and a seed of initial weights; the higher the better."""


def synflow(module: GraphModule, images: ImageSet) -> float:
    """Logarithm of the sum of |weight x gradient| for an image of ones, all parameters made positive.

    SynFlow, arXiv 2006.05467, equation 3. As in arXiv 2101.08134, section 3.1, batch normalisation does nothing. The
    logarithm keeps the order.
    """
    module = module.double().eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_parameters()
        for parameter in module.parameters():
            parameter.abs_()
    ones = torch.ones(1, *images.images.shape[1:], dtype=torch.float64)
    module(ones).sum().backward()
    flows = [float((p.detach() * p.grad).sum()) for p in module.parameters() if p.ndim > 1 and p.grad is not None]
    return math.log(sum(flows))


def jacob_cov(module: GraphModule, images: ImageSet) -> float:
    """How differently the network reacts to different images at initialisation (arXiv 2006.04647v1, equation 1).

    From the eigenvalues v of the correlation matrix of the Jacobians of N images: -sum(log(v + k) + 1 / (v + k)).
    """
    module.train()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.reset_parameters()  # a branch that starts at nothing would not be seen
            elif isinstance(part, nn.Dropout):
                part.p = 0.0
    inputs = images.normalised(images.images[:NUM_IMAGES]).requires_grad_()
    (jacobian,) = torch.autograd.grad(module(inputs).sum(), inputs)
    correlations = np.corrcoef(jacobian.flatten(1).double().numpy())
    eigenvalues = np.linalg.eigvalsh(correlations) + _JACOB_COV_OFFSET
    return float(-np.sum(np.log(eigenvalues) + 1 / eigenvalues))


def short_path(graph: Graph) -> float:
    """How few layers there are on the shortest way through: networks with short ways learn much in few epochs.

    Minus `search_spaces.count.shortest_path`. Networks that are trained to an end may be ranked the other way round
    (docs/supernet.md).
    """
    return -float(shortest_path(graph))


def _of_fresh_module(score: Callable[[GraphModule, ImageSet], float]) -> Score:
    return lambda graph, images, seed: score(build_module(graph, seed), images)


SCORES: dict[str, Score] = {
    "synflow": _of_fresh_module(synflow),
    "jacob_cov": _of_fresh_module(jacob_cov),
    "short_path": lambda graph, images, seed: short_path(graph),  # noqa: ARG005  (nothing else has a part in it)
}
"""By the names that recipes use."""


def zero_cost_score(name: str, arch: ArchSpec, images: ImageSet, num_classes: int, seed: int) -> float:
    """Of the freshly initialised network of `arch`, on the CPU; NaN where it has none."""
    return SCORES[name](lower(arch, images.images.shape[-1], num_classes), images, seed)


class ZeroCostEvaluator:
    """Where a candidate's score stands among those of random candidates of its space: in [0, 1], as an accuracy is.

    Args:
        name: of the score.
        space: of the candidates.
        images: of the training split.
        num_classes: of the data set.
        seed: of the random candidates and the initial weights.
    """

    def __init__(self, name: str, space: SearchSpace, images: ImageSet, num_classes: int, seed: int) -> None:
        self._name = name
        self._images = images
        self._num_classes = num_classes
        self._seed = seed
        rng = np.random.default_rng(seed)
        scores = np.array([self._score(space.decode(space.sample(rng))) for _ in range(NUM_REFERENCES)])
        known = scores[np.isfinite(scores)]
        self._references, number = np.unique(known, return_counts=True)
        places = np.cumsum(number) - (number + 1) / 2  # those with one score share the mean of their places
        self._shares = places / max(1, len(known) - 1)

    def _score(self, arch: ArchSpec) -> float:
        return zero_cost_score(self._name, arch, self._images, self._num_classes, self._seed)

    def evaluate(self, arch: ArchSpec, seed: int) -> Iterator[Evaluation]:  # noqa: ARG002  (all start from one seed)
        """The share of random candidates below it, interpolated; raises ValueError where the network has no score."""
        started = time.perf_counter()
        score = self._score(arch)
        if not math.isfinite(score):
            raise ValueError(f"{self._name} of {arch} is {score}")
        share = float(np.interp(score, self._references, self._shares))
        yield Evaluation(share, epoch=0, samples=0, seconds=time.perf_counter() - started)
