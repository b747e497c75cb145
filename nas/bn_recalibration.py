"""Statistics of batch normalisation taken anew: after weights were inherited, cut or shared, the old ones are wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from nas.image_set import ImageSource
from nas.network_walk import NetworkInputs, walk
from search_spaces.torch_module import Alive, GraphModule

BATCH = 128
NUM_IMAGES = 1024


def recalibrate(module: GraphModule, images: ImageSource, num_images: int = NUM_IMAGES) -> None:
    """Put the mean and variance over the first `num_images` images into every BN, in place; weights stay as they are.

    Each statistic is the plain average over batches (arXiv 1903.05134, section 3.2, recommends it after any change of
    weights). The images are taken as they are stored: without augmentation, in their order.
    """
    recalibrate_from(module, calibration_inputs(images, num_images))


def calibration_inputs(images: ImageSource, num_images: int = NUM_IMAGES) -> NetworkInputs:
    """The images and the batches over which `recalibrate` takes statistics."""
    return NetworkInputs(images, num_images, BATCH, smallest_batch=2)  # one image may have one value a channel


@torch.no_grad()
def recalibrate_from(module: GraphModule, batches: Iterable[Alive], position: int = 0) -> None:
    """As `recalibrate`, going on from what is known of each batch: the BN of earlier operations stays as it is.

    Args:
        module: left in evaluation mode.
        batches: the tensors that are alive before the operation at `position`.
        position: of an operation in the module's program.
    """
    program = module.program
    if position < len(program.steps):
        with taking_statistics(module, position):
            for _ in walk(program, batches, (position, len(program.steps))):
                pass
    module.eval()


@contextlib.contextmanager
def taking_statistics(module: GraphModule, position: int = 0) -> Iterator[None]:
    """For a while each BN from `position` on averages the statistics of the batches that it sees, the old ones forgotten."""
    names = [step.output for step in module.program.steps[position:]]
    parts = [part for name in names for part in module.get_submodule(name).modules()]
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.eval()
