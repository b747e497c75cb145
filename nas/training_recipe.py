"""How to train a network: the recipe that works in few epochs, and the one that its authors published."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from search_spaces.arch import ArchSpec
from search_spaces.torch_module import BN_MOMENTUM
from search_spaces.zoo import PublishedTraining

BATCH_SIZE = 64
SHORT_LEARNING_RATE = 0.1
SHORT_LEARNING_RATE_WITHOUT_NORM = 0.003
"""Without BN. GoogLeNet on the digits, test accuracy after five epochs: 85 % with 0.002, 88 % with 0.003 (both of two seeds),
82 % with 0.005; with 0.01 the loss still jumps after four."""

_ROUNDING = 1e-9  # 2.4 epochs times whole steps need not be whole in floating point


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRecipe:
    """How to train; by default SGD with Nesterov momentum, linear warm-up, cosine decay to 0.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: peak, for this batch size.
        momentum: of the optimizer.
        weight_decay: on convolution and linear weights; never on BN or biases.
        warmup_epochs: of linear warm-up, may be a fraction.
        label_smoothing: in [0, 1); arXiv 1512.00567, section 7.
        max_shift: random translation in pixels of the training resolution, each way.
        flip: random horizontal flips; right for photos, wrong for digits and text.
        ema_decay: of the moving average of the weights that is evaluated in the end; 0 is none.
        optimizer: ``sgd`` with Nesterov momentum, or ``rmsprop``: `nas.optimizer.TensorFlowRMSprop`.
        rmsprop_decay: of its moving average of squares.
        rmsprop_epsilon: added to that average, under the root.
        schedule: what follows the warm-up: ``cosine`` to 0, or ``exponential``: staircase decay.
        decay_factor: exponential: the learning rate is multiplied by it...
        decay_epochs: ...every so many epochs, counted from the first step.
        decays_depthwise: whether weight decay includes depthwise weights.
        clip_norm: longest gradient, all parameters together; 0 clips nothing.
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
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    rmsprop_decay: float = 0.9
    rmsprop_epsilon: float = 1.0
    schedule: Literal["cosine", "exponential"] = "cosine"
    decay_factor: float = 0.97
    decay_epochs: float = 2.4
    decays_depthwise: bool = True
    clip_norm: float = 0.0

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return self.learning_rate * min(1.0, (step + 1) / warmup)  # warmup need not be whole
        if self.schedule == "exponential":
            # tensorflow/tpu `mnasnet_utils.py: build_learning_rate`: the stairs do not wait for the warm-up
            stairs = math.floor(step / (self.decay_epochs * steps_per_epoch) + _ROUNDING)
            return float(self.learning_rate * self.decay_factor**stairs)
        total = self.epochs * steps_per_epoch
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def short_recipe(arch: ArchSpec, published: PublishedTraining | None, batch_size: int | None = None) -> TrainingRecipe:
    """The project's own, for few epochs and small data, with what belongs to the network.

    Args:
        arch: without BN it needs a lower learning rate.
        published: how the network was trained; None where nobody has published that.
        batch_size: `BATCH_SIZE` if not given; the learning rate is proportional to it (arXiv 1706.02677, section 2.1).
    """
    batch_size = batch_size or BATCH_SIZE
    peak = SHORT_LEARNING_RATE if arch.norm else SHORT_LEARNING_RATE_WITHOUT_NORM
    details = _details(published) if published else {}
    return TrainingRecipe(batch_size=batch_size, learning_rate=peak * batch_size / BATCH_SIZE, **details)


def published_recipe(published: PublishedTraining, batch_size: int | None = None) -> TrainingRecipe:
    """The authors' own but for epochs and batch size; arguments as of `short_recipe`.

    Raises:
        ValueError: they do not say their learning rate.
    """
    if published.learning_rate is None:
        raise ValueError(f"{published.source} gives no learning rate")
    batch_size = batch_size or BATCH_SIZE
    return TrainingRecipe(
        batch_size=batch_size,
        learning_rate=published.learning_rate * batch_size / published.batch_size,
        optimizer=published.optimizer,
        momentum=published.momentum,
        weight_decay=published.weight_decay,
        warmup_epochs=published.warmup_epochs,
        schedule="exponential",
        ema_decay=published.ema_decay,
        clip_norm=published.clip_norm,
        **_details(published),
    )


def _details(published: PublishedTraining) -> dict[str, Any]:
    """What a network keeps under any recipe; the last four matter where an option asks for them."""
    return {
        "label_smoothing": published.label_smoothing,
        "decays_depthwise": published.decays_depthwise,
        "rmsprop_decay": published.rmsprop_decay,
        "rmsprop_epsilon": published.rmsprop_epsilon,
        "decay_factor": published.decay_factor,
        "decay_epochs": published.decay_epochs,
    }


def bn_momentum(published: PublishedTraining | None, num_steps: int) -> float:
    """Weight of the newest batch in BN's statistics: as published, but with a memory of at most a tenth of the training.

    The papers' 0.0003 to 0.01 remember thousands of steps: statistics of a short training would still hold their initial
    values, and the network would be evaluated with them. Never above torch's own 0.1.

    Args:
        published: None where nobody has published how the network was trained.
        num_steps: of the whole training, at least 1.
    """
    return min(BN_MOMENTUM, max(published.bn_momentum if published else BN_MOMENTUM, 10 / num_steps))
