"""Distillation: a trained network's softened answers teach another one (arXiv 1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DEFAULT_WEIGHT = 0.5
DEFAULT_TEMPERATURE = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Distillation:
    """A teacher, and how much its answers count.

    The teacher is in evaluation mode and takes no gradient, so that neither its weights nor its BN statistics change. It
    sees the very images that the student sees: same augmentation, resolution and normalisation.

    Attributes:
        teacher: gives logits of the student's classes.
        weight: w of the loss, in (0, 1].
        temperature: T of the loss, above 0.
    """

    teacher: nn.Module
    weight: float = DEFAULT_WEIGHT
    temperature: float = DEFAULT_TEMPERATURE

    def __post_init__(self) -> None:
        self.teacher.eval().requires_grad_(False)

    def loss(self, hard_loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """(1 - w) hard_loss + w T^2 KL(teacher || student), both softened by T (arXiv 1503.02531, section 2).

        T^2 keeps the gradient of the second part of one size whatever T is (end of section 2).

        Args:
            hard_loss: mean cross entropy with the labels.
            logits: the student's, N x classes.
            images: what it saw, N x 3 x H x W, normalised.
        """
        with torch.no_grad():
            wanted = F.log_softmax(self.teacher(images) / self.temperature, dim=1)
        found = F.log_softmax(logits / self.temperature, dim=1)
        divergence = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return (1 - self.weight) * hard_loss + self.weight * self.temperature**2 * divergence
