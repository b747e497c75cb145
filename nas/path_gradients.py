"""What the training of a supernet follows: the losses of some candidates, each on its share of the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.path_sampling import PathSampler, RepeatableSampler
from nas.training import mixed_precision
from search_spaces.supernet import Supernet


class PathGradients:
    """The mean gradient of the candidates of one step, as `nas.gradients.Gradients`.

    Each candidate sees its own part of the batch: for the same work as one batch for all of them, a step has as many
    times more images as candidates, and its gradient less noise.

    Args:
        supernet: whose parameters.
        sampler: draws the candidates; a step that is repeated (`nas.micro_batches`) trains the same ones.
        label_smoothing: in [0, 1).
    """

    def __init__(self, supernet: Supernet, sampler: PathSampler, label_smoothing: float = 0.0) -> None:
        self._supernet = supernet
        self._sampler = RepeatableSampler(sampler)
        self._label_smoothing = label_smoothing

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Add the gradients of one batch; gives its mean loss, detached."""
        paths = self._sampler(self._supernet.space, generator)
        total = torch.zeros((), device=images.device)
        for choices, part, part_labels in zip(paths, images.chunk(len(paths)), labels.chunk(len(paths)), strict=False):
            with mixed_precision(images.device):
                logits = self._supernet.path(choices)(part)
                loss = F.cross_entropy(logits, part_labels, label_smoothing=self._label_smoothing)
            share = loss * (len(part) / len(images))
            share.backward()  # type: ignore[no-untyped-call]
            total += share.detach()
        return total
