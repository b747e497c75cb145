"""Accuracy of a candidate with the weights that it shares with all others: one pass over held-out images."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from latency.measuring_lock import training_step
from nas.bn_recalibration import recalibrate
from nas.evaluator import Evaluation, best_device
from nas.image_set import ImageSet
from nas.kept_memory import keep_freed_memory
from nas.training import mixed_precision
from search_spaces.arch import ArchSpec
from search_spaces.choice import Choices
from search_spaces.supernet import Supernet
from search_spaces.torch_module import GraphModule, build_module

BATCH = 250
"""Images a batch: BN takes its statistics from them, and they should be as good for a candidate as for the next."""


class SupernetEvaluator:
    """Scores candidates by the probability that they give to the right class, with shared weights and batch statistics.

    Attributes:
        supernet: trained.
        holdout: images to score on, none of which it was trained on; all are used, every candidate sees the same.
    """

    def __init__(self, supernet: Supernet, holdout: ImageSet) -> None:
        keep_freed_memory()
        self.supernet = supernet
        self.holdout = holdout

    def evaluate(self, arch: ArchSpec, seed: int) -> Iterator[Evaluation]:  # noqa: ARG002  (nothing is random)
        """The score; raises ValueError for a network outside the space."""
        started = time.perf_counter()
        device = best_device()
        supernet, holdout = self.supernet.to(device), self.holdout.to(device)
        logits = path_logits(supernet, supernet.space.encode(arch), holdout)
        score = float(geometric_mean_probability(logits, holdout.labels))
        yield Evaluation(score, epoch=0, samples=0, seconds=time.perf_counter() - started)

    def inherited(self, arch: ArchSpec, images: ImageSet) -> GraphModule:
        """The network of `arch` by itself, with the shared weights and its own BN statistics, over some training images.

        Raises:
            ValueError: `arch` is not in the space.
        """
        path = self.supernet.path(self.supernet.space.encode(arch))
        module = build_module(path.graph, seed=0)
        module.load_state_dict(path.state(), strict=False)  # all but the statistics
        recalibrate(module, images)
        return module


@torch.no_grad()
def path_logits(supernet: Supernet, choices: Choices, images: ImageSet) -> Tensor:
    """Logits of a candidate, float32, N x classes; BN takes its statistics from batches of about `BATCH`."""
    path = supernet.path(choices)
    parts = images.images.tensor_split(max(1, round(len(images) / BATCH)))
    logits = []
    for part in parts:
        with training_step(), mixed_precision(images.device):
            logits.append(path(images.normalised(part)).float())
    return torch.cat(logits)


def geometric_mean_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """exp(-mean cross entropy), in [0, 1]: ranks as the loss does, and grows with accuracy."""
    return torch.exp(-F.cross_entropy(logits, labels))
