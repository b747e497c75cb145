"""Statistics of batch normalisation taken anew: after weights were inherited, cut or shared, the old ones are wrong."""

from __future__ import annotations

import torch
from torch import nn

from latency.measuring_lock import training_step
from nas.image_set import ImageSource, normalised
from search_spaces.torch_module import GraphModule

BATCH = 128


@torch.no_grad()
def recalibrate(module: GraphModule, images: ImageSource, num_images: int = 1024) -> None:
    """Put the mean and variance over the first `num_images` images into every BN, in place; weights stay as they are.

    Each statistic is the plain average over batches (arXiv 1903.05134, section 3.2, recommends it after any change of
    weights). The images are taken as they are stored: without augmentation, in their order.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
        norm.train()
    order = torch.arange(min(num_images, len(images)))
    for batch, _ in images.batches(order, BATCH):
        if len(batch) > 1:
            with training_step():
                module(normalised(batch, images.mean, images.std))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
