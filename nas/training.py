"""Training a network: one recipe, one loop, for the proxy of the search and for the final comparison."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latency.measuring_lock import training_step
from nas.captured_gradients import network_gradients
from nas.errors import UserError
from nas.gradients import Gradients, LossGradients, mixed_precision, training_loss
from nas.image_set import ImageSet, ImageSource, normalised
from nas.kept_memory import keep_freed_memory
from nas.micro_batches import MicroBatches, unless_out_of_memory
from nas.optimizer import make_optimizer
from nas.share import ALONE, Share
from nas.training_recipe import TrainingRecipe
from nas.weight_average import WeightAverage
from search_spaces.torch_module import GraphModule

__all__ = [
    "DivergedError",
    "Epoch",
    "Gradients",
    "ImageSet",
    "LossGradients",
    "Training",
    "mixed_precision",
    "num_correct",
    "own_randomness",
    "steps_per_epoch",
    "train",
    "training_loss",
]

EVALUATION_BATCH = 256


class DivergedError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did: its number from 1, mean training loss, images seen, wall seconds."""

    number: int
    loss: float
    samples: int
    seconds: float


def _augment(
    images: Tensor,
    recipe: TrainingRecipe,
    generator: torch.Generator,
    share: Share = ALONE,
    batch_size: int | None = None,
) -> Tensor:
    """Random shift (edges repeated) and flip of each image of a uint8 batch.

    Args:
        images: this worker's part of the batch.
        recipe: how far, and whether.
        generator: of what is drawn, for the whole batch, so that all workers draw alike.
        share: which part it is.
        batch_size: images of the whole batch; `images` are all of them if not given.
    """
    count, _, height, width = images.shape
    if not recipe.max_shift and not recipe.flip:
        return images
    whole = batch_size or count
    part = share.part(whole)
    shift = torch.randint(-recipe.max_shift, recipe.max_shift + 1, (2, whole, 1), generator=generator)[:, part]
    rows = (torch.arange(height) + shift[0]).clamp_(0, height - 1)
    cols = (torch.arange(width) + shift[1]).clamp_(0, width - 1)
    if recipe.flip:
        flipped = torch.rand(whole, 1, generator=generator)[part] < 0.5
        cols = torch.where(flipped, width - 1 - cols, cols)
    index = torch.arange(count).view(-1, 1, 1)
    device = images.device
    # N x H x W x 3 out of an advanced index on a channels-last view
    picked = images.permute(0, 2, 3, 1)[index.to(device), rows.unsqueeze(2).to(device), cols.unsqueeze(1).to(device)]
    return picked.permute(0, 3, 1, 2)


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
        gradients: of a batch; by default those of `training_loss`, the losses of auxiliary heads included. A batch that
            is too much for the memory is taken in parts, see `MicroBatches`.
        share: this worker's part of each batch, where several train the same network. Their weights are the same at all
            times, and those of a single one up to rounding and what BN does: in training each worker normalises by the
            statistics of its own images (arXiv 1706.02677, section 2.3). The running ones are averaged after each epoch;
            they and their average are linear in the batches' statistics, so this is as good as after each step.

    Attributes:
        num_epochs: how many are done.
        steps_per_epoch: of the optimizer.
        stepped: called after each step; may be replaced.
    """

    def __init__(
        self,
        module: nn.Module,
        data: ImageSource,
        recipe: TrainingRecipe,
        seed: int,
        gradients: Gradients | None = None,
        share: Share = ALONE,
    ) -> None:
        keep_freed_memory()
        self.num_epochs = 0
        self.stepped: Callable[[], None] = lambda: None
        self.steps_per_epoch = steps_per_epoch(len(data), recipe)
        self._batch_size = min(recipe.batch_size, len(data))
        self._module = module
        self._data = data
        self._recipe = recipe
        self._share = share
        if gradients is None:
            assert isinstance(module, GraphModule), "what is no single network says how it gets its gradients"
            gradients = network_gradients(module, data.device, recipe.label_smoothing)
        self._gradients = MicroBatches(module.parameters(), gradients)
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = make_optimizer(module, recipe)
        self._average = WeightAverage(module, recipe.ema_decay) if recipe.ema_decay else None

    @property
    def num_samples(self) -> int:
        """Images seen so far, by all workers."""
        return self.num_epochs * self.steps_per_epoch * self._batch_size

    def next_epoch(self) -> Epoch:
        """Train for one more; after the last one the module holds the averaged weights, if the recipe wants them.

        Raises:
            DivergedError: the loss is not finite.
            UserError: even one image at a time is too much for the memory.
        """
        started, losses = time.perf_counter(), torch.zeros((), device=self._data.device)
        self._module.train()
        order = torch.randperm(len(self._data), generator=self._generator)
        batches = self._data.batches(self._own_part(order), self._share.size(self._batch_size))
        for step, (images, labels) in enumerate(batches, self.num_epochs * self.steps_per_epoch):
            self._set_learning_rate(step)
            with training_step():
                losses += self._step(images, labels)
            self.stepped()
        self._share.average(self._statistics(), self._batch_size)
        self.num_epochs += 1
        mean_loss = float(losses) / self.steps_per_epoch
        if not math.isfinite(mean_loss):
            raise DivergedError(f"training loss is {mean_loss} after epoch {self.num_epochs}")
        if self._average and self.num_epochs == self._recipe.epochs:
            self._average.apply()
        return Epoch(self.num_epochs, mean_loss, self.steps_per_epoch * self._batch_size, time.perf_counter() - started)

    def _own_part(self, order: Tensor) -> Tensor:
        """Of each whole batch of an epoch, the images of this worker, one batch after the other."""
        batches = order[: self.steps_per_epoch * self._batch_size].view(self.steps_per_epoch, self._batch_size)
        return batches[:, self._share.part(self._batch_size)].reshape(-1)

    def _statistics(self) -> list[Tensor]:
        """What each worker has by itself: BN's running statistics, and those in the average of the weights."""
        own = [buffer for buffer in self._module.buffers() if buffer.is_floating_point()]
        return own + (self._average.tensors if self._average else [])

    def _set_learning_rate(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate_at(step, self.steps_per_epoch)

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step on these images, uint8; gives the mean loss of the batch that they are part of."""
        augmented = _augment(images, self._recipe, self._generator, self._share, self._batch_size)
        inputs = normalised(augmented, self._data.mean, self._data.std)
        loss = self._gradients(inputs, labels, self._generator)
        # only now: how many micro-batches a worker's memory needs is its own affair
        found = [parameter.grad for parameter in self._module.parameters() if parameter.grad is not None]
        self._share.average([loss, *found], self._batch_size)
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


def train(module: GraphModule, data: ImageSource, recipe: TrainingRecipe, seed: int) -> Iterator[Epoch]:
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


@torch.no_grad()
def num_correct(module: GraphModule, data: ImageSource) -> int:
    """Images of `data` that the module classifies right, in evaluation mode."""
    module.eval()
    correct = 0
    for images, labels in data.batches(torch.arange(len(data)), EVALUATION_BATCH):
        with training_step():
            correct += int((_classes(module, normalised(images, data.mean, data.std)) == labels).sum())
    return correct


def _classes(module: GraphModule, images: Tensor) -> Tensor:
    """What the module takes each image for; in halves where memory is short."""

    def classes() -> Tensor:
        with mixed_precision(images.device):
            logits: Tensor = module(images)
        return logits.argmax(1)

    found = unless_out_of_memory(classes)
    if found is not None:
        return found
    if len(images) == 1:
        raise UserError("out of memory in classifying one image; lower the resolution, or take a smaller network")
    return torch.cat([_classes(module, half) for half in images.tensor_split(2)])
