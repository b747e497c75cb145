"""What a network makes of each image, so that two networks can be compared image by image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.image_set import ImageSource
from nas.network_walk import NetworkInputs, walk
from nas.training import EVALUATION_BATCH
from search_spaces.torch_module import Alive, GraphModule

Signal = Literal["accuracy", "probability"]
"""What an image counts: 1 where it is classified right and 0 elsewhere, or the probability that its class is given."""

Outcomes = NDArray[np.float64]
"""One number in [0, 1] an image, in the images' order."""

Z_95 = 1.959963984540054
"""Of the normal distribution 95 % lie within so many standard deviations of its mean."""


def outcomes(module: GraphModule, images: ImageSource, signal: Signal) -> Outcomes:
    """What `module` makes of each of `images`, in evaluation mode; it is left in it."""
    return outcomes_from(module, holdout_inputs(images), images.labels, signal)


def holdout_inputs(images: ImageSource) -> NetworkInputs:
    """All of `images`, in the batches in which networks are scored."""
    return NetworkInputs(images, len(images), EVALUATION_BATCH)


@torch.no_grad()
def outcomes_from(
    module: GraphModule, batches: Iterable[Alive], labels: Tensor, signal: Signal, position: int = 0
) -> Outcomes:
    """As `outcomes`, going on from what is known of each batch.

    Args:
        module: put into evaluation mode.
        batches: the tensors that are alive before the operation at `position`.
        labels: int64, of all images.
        signal: what counts.
        position: of an operation in the module's program.
    """
    module.eval()
    program = module.program
    [name] = program.outputs
    found: list[Tensor] = []
    done = 0
    for (last,) in walk(program, batches, (position, len(program.steps))):
        logits = last[name]
        found.append(_outcomes(logits, labels[done : done + len(logits)], signal).cpu())
        done += len(logits)
    return torch.cat(found).numpy() if found else np.empty(0)


def _outcomes(logits: Tensor, labels: Tensor, signal: Signal) -> Tensor:
    if signal == "accuracy":
        return (logits.argmax(1) == labels).double()
    return logits.double().softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much better one network is than another on the same images.

    Attributes:
        mean: of the differences, image by image.
        half_width: of the 95 % interval around it.
    """

    mean: float
    half_width: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return abs(self.mean) > self.half_width


def paired(a: Outcomes, b: Outcomes) -> PairedDifference:
    """The mean of a - b and its 95 % interval, by the normal distribution of a mean over independent images.

    Args:
        a: one value an image: outcomes, or differences of outcomes with a weight.
        b: likewise, of the same images.

    Raises:
        ValueError: they are not of the same images, or of fewer than 2.
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"outcomes of the same images, 2 or more, can be paired: not {a.shape} and {b.shape}")
    differences = a - b
    standard_error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return PairedDifference(float(differences.mean()), Z_95 * standard_error)
