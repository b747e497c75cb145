"""Training a network: one recipe, one loop, for the proxy of the search and for the final comparison."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latency.measuring_lock import training_step
from nas.distillation import Distillation
from nas.optimizer import make_optimizer
from nas.training_recipe import TrainingRecipe
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


class Training:
    """A training under way; rests while a latency is measured on this machine.

    The order of images and the augmentation are functions of the seed; the last partial batch of an epoch is left out (BN
    on a handful of images disturbs short trainings), unless it is the only one. Between two epochs all that it has become
    is in `tensors`.

    Args:
        module: trained in place.
        data: what to train on.
        recipe: how.
        seed: of the order, the augmentation and what `gradients` draw; dropout draws from torch's own generator.
        gradients: of a batch; by default those of `training_loss`, the losses of auxiliary heads included.

    Attributes:
        num_epochs: how many are done.
        steps_per_epoch: of the optimizer.
        stepped: called after each step; may be replaced.
    """

    def __init__(
        self,
        module: nn.Module,
        data: ImageSet,
        recipe: TrainingRecipe,
        seed: int,
        gradients: Gradients | None = None,
    ) -> None:
        self.num_epochs = 0
        self.stepped: Callable[[], None] = lambda: None
        self.steps_per_epoch = steps_per_epoch(len(data), recipe)
        self._batch_size = min(recipe.batch_size, len(data))
        self._module = module
        self._data = data
        self._recipe = recipe
        if gradients is None:
            assert isinstance(module, GraphModule), "what is no single network says how it gets its gradients"
            gradients = LossGradients(module, recipe.label_smoothing)
        self._gradients = gradients
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = make_optimizer(module, recipe)
        self._average = _WeightAverage(module, recipe.ema_decay) if recipe.ema_decay else None

    @property
    def num_samples(self) -> int:
        """Images seen so far."""
        return self.num_epochs * self.steps_per_epoch * self._batch_size

    def next_epoch(self) -> Epoch:
        """Train for one more; after the last one the module holds the averaged weights, if the recipe wants them.

        Raises:
            DivergedError: the loss is not finite.
        """
        device, batch_size = self._data.images.device, self._batch_size
        started, losses = time.perf_counter(), torch.zeros((), device=device)
        self._module.train()
        order = torch.randperm(len(self._data), generator=self._generator)
        for step in range(self.steps_per_epoch):
            self._set_learning_rate(self.num_epochs * self.steps_per_epoch + step)
            with training_step():
                losses += self._step(order[step * batch_size : (step + 1) * batch_size].to(device))
            self.stepped()
        self.num_epochs += 1
        mean_loss = float(losses) / self.steps_per_epoch
        if not math.isfinite(mean_loss):
            raise DivergedError(f"training loss is {mean_loss} after epoch {self.num_epochs}")
        if self._average and self.num_epochs == self._recipe.epochs:
            self._average.apply()
        return Epoch(self.num_epochs, mean_loss, self.steps_per_epoch * batch_size, time.perf_counter() - started)

    def _set_learning_rate(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate_at(step, self.steps_per_epoch)

    def _step(self, batch: Tensor) -> Tensor:
        """One step on the images of these numbers; gives their mean loss."""
        images = self._data.normalised(_augment(self._data.images[batch], self._recipe, self._generator))
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(images, self._data.labels[batch], self._generator)
        if self._recipe.clip_norm:
            nn.utils.clip_grad_norm_(self._module.parameters(), self._recipe.clip_norm)
        self._optimizer.step()
        if self._average:
            self._average.update()
        return loss

    def tensors(self) -> dict[str, Tensor]:
        """All that the training has become so far, by name; the tensors themselves, not copies."""
        found = {f"module.{name}": tensor for name, tensor in self._module.state_dict().items()}
        found["generator"] = self._generator.get_state()
        for number, state in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
        if self._average:
            found |= {f"average.{number}": tensor for number, tensor in enumerate(self._average.tensors)}
        return found

    def restore(self, tensors: Mapping[str, Tensor], num_epochs: int) -> None:
        """Go on from what `tensors` gave after `num_epochs` epochs.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: the module's tensors differ in name or shape.
        """
        self.num_epochs = num_epochs
        self._generator.set_state(tensors["generator"])
        self._module.load_state_dict(
            {name.removeprefix("module."): t for name, t in tensors.items() if name.startswith("module.")}
        )
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, part = name.split(".")
                # in the memory format of its parameter, as fused kernels demand
                state.setdefault(int(number), {})[part] = torch.empty_like(parameters[int(number)]).copy_(tensor)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self._average:
            stored = [tensors[f"average.{number}"] for number in range(len(self._average.tensors))]
            self._average.restore(stored, num_epochs * self.steps_per_epoch)


def steps_per_epoch(num_images: int, recipe: TrainingRecipe) -> int:
    """Steps of one pass over `num_images`, at least 1."""
    return num_images // min(recipe.batch_size, num_images)


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


def train(module: GraphModule, data: ImageSet, recipe: TrainingRecipe, seed: int) -> Iterator[Epoch]:
    """Train `module` in place, one epoch for each item taken; see `Training`.

    Raises:
        DivergedError: the loss is not finite.
    """
    training = Training(module, data, recipe, seed)
    while training.num_epochs < recipe.epochs:
        yield training.next_epoch()


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed torch's own generator, from which dropout draws, for a while; then put it back as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class _WeightAverage:
    """Exponential moving average of a module's floating-point state, BN statistics included."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._state = [t for t in module.state_dict(keep_vars=True).values() if t.is_floating_point()]
        self.tensors = [t.detach().clone() for t in self._state]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in; young averages forget faster, so that the start is not kept."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self.tensors, [t.detach() for t in self._state], 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the module."""
        torch._foreach_copy_([t.detach() for t in self._state], self.tensors)

    def restore(self, tensors: list[Tensor], num_updates: int) -> None:
        """Go on from an earlier average after `num_updates` updates."""
        self._updates = num_updates
        torch._foreach_copy_(self.tensors, tensors)


@torch.no_grad()
def num_correct(module: GraphModule, data: ImageSet) -> int:
    """Images of `data` that the module classifies right, in evaluation mode."""
    module.eval()
    correct = 0
    for start in range(0, len(data), EVALUATION_BATCH):
        with training_step():
            with mixed_precision(data.images.device):
                logits = module(data.normalised(data.images[start : start + EVALUATION_BATCH]))
            correct += int((logits.argmax(1) == data.labels[start : start + EVALUATION_BATCH]).sum())
    return correct
