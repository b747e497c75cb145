"""What the zoo knows of a network: its architecture, what was published of it, how it was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from search_spaces.arch import ArchSpec
from search_spaces.edits import Edit
from search_spaces.naming import Naming


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Printed figures of one variant; None where none was printed, or where the printed one is known to be wrong.

    Attributes:
        source: where they are printed.
        top1: ImageNet top-1 accuracy, per cent.
        params_m: parameters, millions; an int or float with as many digits as printed.
        macs_m: multiply-adds, millions; likewise.
        latency_ms: on a Pixel 1, one large core, TFLite.
        tolerance: how far counts may lie from the printed ones beyond one unit of their last digit (which authors cut as
            often as they round), as a fraction; its reason stands where it is set.
    """

    source: str
    top1: float | None = None
    params_m: float | None = None
    macs_m: float | None = None
    latency_ms: float | None = None
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTraining:
    """How a network was trained for its published accuracy; ImageNet, from scratch.

    Attributes:
        source: where that is written.
        optimizer: ``sgd`` with momentum, or ``rmsprop`` with momentum.
        learning_rate: peak, for `batch_size`; None where the authors do not say.
        batch_size: images a step, over all workers.
        momentum: of the optimizer.
        rmsprop_decay: of the moving average of squares.
        rmsprop_epsilon: added to that average, under the root, as TensorFlow does.
        weight_decay: on convolution and linear weights, never on BN or biases.
        decays_depthwise: whether that includes depthwise weights.
        bn_momentum: weight of the newest batch in BN's statistics (1 minus TensorFlow's decay).
        label_smoothing: in [0, 1).
        warmup_epochs: of linear warm-up.
        decay_factor: the learning rate is multiplied by it...
        decay_epochs: ...every so many epochs.
        ema_decay: of the moving average of the weights, each step; 0 is none.
        clip_norm: longest gradient, all parameters together; 0 clips nothing.
    """

    source: str
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    learning_rate: float | None = None
    batch_size: int = 256
    momentum: float = 0.9
    rmsprop_decay: float = 0.9
    rmsprop_epsilon: float = 1.0
    weight_decay: float = 0.0
    decays_depthwise: bool = True
    bn_momentum: float = 0.1
    label_smoothing: float = 0.0
    warmup_epochs: float = 0.0
    decay_factor: float = 1.0
    decay_epochs: float = 1.0
    ema_decay: float = 0.0
    clip_norm: float = 0.0


Scale = Callable[[float], ArchSpec]
"""Width multiplier -> the network of that width, by the rule of its authors' code."""


@dataclass(frozen=True, slots=True)
class History:
    """How a network came from another one.

    Attributes:
        start: name of the network that it began as.
        edits: what was done -> the edit, in order; the last one's result is the network.
    """

    start: str
    edits: Mapping[str, Edit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One entry of the zoo.

    Attributes:
        arch: the network at width 1.
        summary: what it is, in a few words.
        source: paper and code that its table is taken from.
        params: parameters with 1 000 classes: the count that others report, to the unit.
        macs: multiply-adds at `resolution`, likewise.
        training: how it was trained.
        resolution: side of its input in pixels.
        published: variant (``""``, ``@0.75``, ``/192``, ``@0.5/160``) -> printed figures.
        scale: width multiplier, or None where there is none.
        names: library (``torchvision``, ``timm``) -> its form of the network; the same at any width.
        history: how it came from another network, where that is known edit by edit.
    """

    arch: ArchSpec
    summary: str
    source: str
    params: int
    macs: int
    training: PublishedTraining
    resolution: int = 224
    published: Mapping[str, Published] = field(default_factory=dict)
    scale: Scale | None = None
    names: Mapping[str, Naming] = field(default_factory=dict)
    history: History | None = None
