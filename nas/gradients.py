"""What a training follows: the gradients of its loss on a batch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.distillation import Distillation
from search_spaces.torch_module import GraphModule


def mixed_precision(device: torch.device) -> torch.autocast:
    """Where bf16 pays, it is used: on CUDA devices. On CPUs it is slower than float32 for these networks."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


class Gradients(Protocol):
    """What a training follows."""

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Add the gradients of one batch to the parameters'; gives its mean loss, detached.

        Args:
            images: normalised, N x 3 x H x W.
            labels: N.
            generator: for whatever is drawn, on the CPU; its state is part of the training's.
        """
        ...


class LossGradients:
    """The gradients of one network's `training_loss`.

    Args:
        module: whose parameters.
        label_smoothing: in [0, 1).
        distillation: a teacher, if there is one.
    """

    def __init__(
        self, module: GraphModule, label_smoothing: float = 0.0, distillation: Distillation | None = None
    ) -> None:
        self._module = module
        self._label_smoothing = label_smoothing
        self._distillation = distillation

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """As `Gradients`; draws nothing."""
        with mixed_precision(images.device):
            loss = training_loss(self._module, images, labels, self._label_smoothing, self._distillation)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def training_loss(
    module: GraphModule,
    images: Tensor,
    labels: Tensor,
    label_smoothing: float = 0.0,
    distillation: Distillation | None = None,
) -> Tensor:
    """Mean cross entropy, plus weight times that of each auxiliary head (arXiv 1409.4842, section 5).

    A teacher speaks to the network's own output alone.
    """
    logits, *auxiliary = module.outputs(images)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if distillation:
        loss = distillation.loss(loss, logits, images)
    for head, aux_logits in zip(module.graph.auxiliary, auxiliary, strict=True):
        loss = loss + head.weight * F.cross_entropy(aux_logits, labels, label_smoothing=label_smoothing)
    return loss
