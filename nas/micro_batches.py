"""Batches that do not fit into memory: their gradients are added up from smaller ones."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from nas.errors import UserError
from nas.gradients import Gradients

_log = logging.getLogger(__name__)

_CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch's CPU allocator raises a plain RuntimeError
_BN_NEEDS_MORE = "Expected more than 1 value per channel"  # torch.nn.functional._verify_batch_size


class MicroBatches:
    """The gradients of whole batches, taken in as few micro-batches as memory needs.

    It begins with whole batches. Where one runs out of memory, the step is done again in halves, quarters and so on, and
    the later ones too are done in micro-batches of that size. Mean loss and gradients are those of the whole batch (each
    micro-batch counts with its share of the images), except that BN takes the statistics of each micro-batch, and its
    running ones move once for each.

    Args:
        parameters: whose gradients.
        gradients: of one micro-batch.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], gradients: Gradients) -> None:
        self._parameters = list(parameters)
        self._gradients = gradients
        self._largest = sys.maxsize

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Put the gradients of one batch in place of the parameters'; gives its mean loss, detached.

        Args:
            images: normalised, N x 3 x H x W.
            labels: N.
            generator: see `Gradients`; all micro-batches draw the same from it.

        Raises:
            UserError: even one image is too much for the memory, or BN has nothing to normalise it by.
        """
        size = at_first = min(len(images), self._largest)
        drawn = generator.get_state()
        while (loss := self._attempt(images, labels, generator, size)) is None:
            if size == 1:
                raise UserError(
                    "out of memory with one image at a time; lower the resolution, or train a smaller network"
                )
            generator.set_state(drawn)
            size = -(-size // 2)
        if size < at_first:
            self._largest = size
            _log.warning(
                "out of memory in a training step of %d images; going on with the same batches in micro-batches of %d, "
                "whose gradients are added up (BN takes its statistics from each)",
                len(images),
                size,
            )
        return loss

    def _attempt(self, images: Tensor, labels: Tensor, generator: torch.Generator, size: int) -> Tensor | None:
        return unless_out_of_memory(lambda: self._sum(images, labels, generator, size))

    def _sum(self, images: Tensor, labels: Tensor, generator: torch.Generator, size: int) -> Tensor:
        self._clear()
        if size == len(images):
            return self._gradients(images, labels, generator)
        num_parts = -(-len(images) // size)
        drawn = generator.get_state()
        loss = torch.zeros((), device=images.device)
        for part, part_labels in zip(images.tensor_split(num_parts), labels.tensor_split(num_parts), strict=True):
            generator.set_state(drawn)
            weight = len(part) / len(images)
            self._scale(1 / weight)  # what is there already, so that one scaling of the sum weighs the new part alone
            loss = loss + weight * self._of_part(part, part_labels, generator)
            self._scale(weight)
        return loss

    def _of_part(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        try:
            return self._gradients(images, labels, generator)
        except ValueError as error:
            if len(images) > 1 or _BN_NEEDS_MORE not in str(error):
                raise
            raise UserError(
                "out of memory: only micro-batches of one image fit, and where the network has come down to 1x1 pixels "
                "BN has nothing to normalise one image by; lower the resolution, or train a smaller network"
            ) from None

    def _clear(self) -> None:
        """Also of what a failed attempt has left."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def _scale(self, factor: float) -> None:
        present = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        if present:
            torch._foreach_mul_(present, factor)


def unless_out_of_memory(compute: Callable[[], Tensor]) -> Tensor | None:
    """What `compute` gives; None where it ran out of memory, which is free again then."""
    try:
        return compute()
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and _CPU_ALLOCATOR not in str(error):
            raise
    # only here are the frames of the failed attempt gone, and with them its activations
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
