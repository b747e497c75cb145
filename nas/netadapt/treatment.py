"""What is done to a network before it is scored: some steps of training, statistics of BN taken anew."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from nas.bn_recalibration import recalibrate
from nas.image_set import ImageSource
from nas.netadapt.weighted_network import WeightedNetwork
from nas.training import Training, own_randomness
from nas.training_recipe import TrainingRecipe
from search_spaces.torch_module import GraphModule


@dataclass(frozen=True, slots=True)
class Treatment:
    """The same for all networks of a step, so that their differences are their own.

    Attributes:
        batch_size: images a step of training, or all of them where there are fewer.
        learning_rate: constant; of SGD with momentum, which begins anew with each network (arXiv 1804.03230, section 3.3).
        max_shift: random translation in pixels, each way.
        flip: random horizontal flips.
        label_smoothing: in [0, 1).
        recalibrates: take the statistics of BN anew in the end; else they are what training has left.
    """

    batch_size: int
    learning_rate: float
    max_shift: int
    flip: bool
    label_smoothing: float
    recalibrates: bool

    @property
    def recipe(self) -> TrainingRecipe:
        """One pass at a constant learning rate."""
        return TrainingRecipe(
            epochs=1,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_epochs=0.0,
            schedule="exponential",
            decay_factor=1.0,
            label_smoothing=self.label_smoothing,
            max_shift=self.max_shift,
            flip=self.flip,
        )


def treated(
    network: WeightedNetwork,
    training: ImageSource,
    calibration: ImageSource,
    treatment: Treatment,
    num_steps: int,
    seed: int,
) -> GraphModule:
    """A module with the weights of `network` after `num_steps` of training, in evaluation mode.

    Which images it sees, in which order and how augmented, is a function of `seed` and the number of steps alone.

    Args:
        network: stays as it is.
        training: images to train on.
        calibration: images for the statistics of BN.
        treatment: how.
        num_steps: 0 trains nothing.
        seed: of all that is drawn.

    Raises:
        DivergedError: the loss is not finite.
    """
    module = network.module().to(training.device)
    if num_steps:
        batch_size = min(treatment.batch_size, len(training))
        images = training.select(_drawn(len(training), num_steps * batch_size, seed))
        with own_randomness(seed):
            Training(module, images, replace(treatment.recipe, batch_size=batch_size), seed).next_epoch()
    if treatment.recalibrates:
        recalibrate(module, calibration, len(calibration))
    return module.eval()


def _drawn(num_images: int, num_wanted: int, seed: int) -> torch.Tensor:
    """Numbers of so many images, each as often as any other, to within one."""
    generator = torch.Generator().manual_seed(seed)
    passes = -(-num_wanted // num_images)
    return torch.cat([torch.randperm(num_images, generator=generator) for _ in range(passes)])[:num_wanted]
