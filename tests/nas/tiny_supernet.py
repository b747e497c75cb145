"""A supernet of a few hundred weights, and what it is trained on: half of the images are bright."""

from __future__ import annotations

import io

import torch
from rich.console import Console

from nas.image_set import ImageSet
from nas.trained_supernet import SupernetRecipe, SupernetTask
from nas.training_recipe import TrainingRecipe
from search_spaces.arch import Head, Stem
from search_spaces.stages import StageLayout, StageOptions, stage_space

LAYOUT = StageLayout(
    stages=(StageOptions(filters=(4, 8), kernel=(3, 5), expand=(1, 3), stride=2),), stem=Stem(4), head=Head(None)
)
SPACE = stage_space("tiny", LAYOUT)


def bright_or_dark(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 100, (count, 3, 8, 8), generator=generator)
    pixels = (noise + 120 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return ImageSet(pixels.contiguous(memory_format=torch.channels_last), labels, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


IMAGES = bright_or_dark(64, 0)
TASK = SupernetTask(
    space=SPACE,
    data="d0",
    num_images=64,
    resolution=8,
    num_classes=2,
    seed=3,
    recipe=SupernetRecipe(training=TrainingRecipe(epochs=4, batch_size=16, learning_rate=0.1)),
)


def weights(supernet):
    return torch.cat([p.detach().flatten() for p in supernet.parameters()])


def quiet():
    return Console(file=io.StringIO(), width=200)
