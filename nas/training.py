"""Training a network: one recipe, one loop, for the proxy of the search and for the final comparison."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency.measuring_lock import training_step
from search_spaces.torch_module import GraphModule

EVALUATION_BATCH = 256


class DivergedError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images ready for training, on the device that trains.

    Attributes:
        images: uint8, N x 3 x H x W, channels last, 0..255.
        labels: int64, N.
        mean: per channel, of the training split, in [0, 1].
        std: likewise.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> ImageSet:
        """The images at `indices` (int64)."""
        return ImageSet(self.images[indices], self.labels[indices], self.mean, self.std)

    def to(self, device: torch.device) -> ImageSet:
        """The same images on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.mean, self.std)

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 images as float32 with mean 0 and standard deviation 1 per channel, channels last."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.div_(255).sub_(mean).div_(std)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecipe:
    """How to train; SGD with Nesterov momentum, linear warm-up, cosine decay to 0.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: peak, for this batch size.
        momentum: of SGD.
        weight_decay: on convolution and linear weights; never on BN or biases.
        warmup_epochs: of linear warm-up, may be a fraction.
        label_smoothing: in [0, 1); arXiv 1512.00567, section 7.
        max_shift: random translation in pixels of the training resolution, each way.
        flip: random horizontal flips; right for photos, wrong for digits and text.
        ema_decay: of the moving average of the weights that is evaluated in the end; 0 is none.
    """

    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.0
    max_shift: int = 0
    flip: bool = False
    ema_decay: float = 0.0

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return self.learning_rate * min(1.0, (step + 1) / warmup)  # warmup need not be whole
        total = self.epochs * steps_per_epoch
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did: its number from 1, mean training loss, images seen, wall seconds."""

    number: int
    loss: float
    samples: int
    seconds: float


def _augment(images: Tensor, recipe: TrainingRecipe, generator: torch.Generator) -> Tensor:
    """Random shift (edges repeated) and flip of each image of a uint8 batch."""
    count, _, height, width = images.shape
    if not recipe.max_shift and not recipe.flip:
        return images
    shift = torch.randint(-recipe.max_shift, recipe.max_shift + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + shift[0]).clamp_(0, height - 1)
    cols = (torch.arange(width) + shift[1]).clamp_(0, width - 1)
    if recipe.flip:
        flipped = torch.rand(count, 1, generator=generator) < 0.5
        cols = torch.where(flipped, width - 1 - cols, cols)
    index = torch.arange(count).view(-1, 1, 1)
    device = images.device
    # N x H x W x 3 out of an advanced index on a channels-last view
    picked = images.permute(0, 2, 3, 1)[index.to(device), rows.unsqueeze(2).to(device), cols.unsqueeze(1).to(device)]
    return picked.permute(0, 3, 1, 2)


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    weights = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _autocast(device: torch.device) -> torch.autocast:
    # bf16 pays on CUDA devices; on CPUs it is slower than float32 for these networks
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def train(module: GraphModule, data: ImageSet, recipe: TrainingRecipe, seed: int) -> Iterator[Epoch]:
    """Train `module` in place, one epoch for each item taken; rests while a latency is measured on this machine.

    The order of images and the augmentation are functions of `seed`; the last partial batch of an epoch is left out
    (BN on a handful of images disturbs short trainings), unless it is the only one.

    Raises:
        DivergedError: the loss is not finite.
    """
    device = data.images.device
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        _parameter_groups(module, recipe.weight_decay),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        fused=True,
    )
    batch_size = min(recipe.batch_size, len(data))
    steps_per_epoch = len(data) // batch_size
    average = _WeightAverage(module, recipe.ema_decay) if recipe.ema_decay else None
    for epoch in range(recipe.epochs):
        started, losses = time.perf_counter(), torch.zeros((), device=device)
        module.train()
        order = torch.randperm(len(data), generator=generator)
        for step in range(steps_per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch * steps_per_epoch + step, steps_per_epoch)
            batch = order[step * batch_size : (step + 1) * batch_size].to(device)
            with training_step():
                images = data.normalised(_augment(data.images[batch], recipe, generator))
                with _autocast(device):
                    loss = F.cross_entropy(module(images), data.labels[batch], label_smoothing=recipe.label_smoothing)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if average:
                    average.update()
            losses += loss.detach()
        mean_loss = float(losses) / steps_per_epoch
        if not math.isfinite(mean_loss):
            raise DivergedError(f"training loss is {mean_loss} after epoch {epoch + 1}")
        if average and epoch + 1 == recipe.epochs:
            average.apply()
        yield Epoch(epoch + 1, mean_loss, steps_per_epoch * batch_size, time.perf_counter() - started)


class _WeightAverage:
    """Exponential moving average of a module's floating-point state, BN statistics included."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._state = [t for t in module.state_dict(keep_vars=True).values() if t.is_floating_point()]
        self._average = [t.detach().clone() for t in self._state]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in; young averages forget faster, so that the start is not kept."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._average, [t.detach() for t in self._state], 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the module."""
        torch._foreach_copy_([t.detach() for t in self._state], self._average)


@torch.no_grad()
def num_correct(module: GraphModule, data: ImageSet) -> int:
    """Images of `data` that the module classifies right, in evaluation mode."""
    module.eval()
    correct = 0
    for start in range(0, len(data), EVALUATION_BATCH):
        with training_step():
            with _autocast(data.images.device):
                logits = module(data.normalised(data.images[start : start + EVALUATION_BATCH]))
            correct += int((logits.argmax(1) == data.labels[start : start + EVALUATION_BATCH]).sum())
    return correct
