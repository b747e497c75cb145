"""A network as a list of primitive operations with shapes: what `lower` makes and every interpreter reads.

Conventions: a shape is (channels, height, width) of one image; a convolution owns its BN and activation; padding is `same`
unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.arch import Activation, Kernel, Norm, Padding

Shape = tuple[int, int, int]
"""Channels, height, width."""

INPUT = "input"
"""Name of the image tensor; an operation's output bears the operation's name."""


def window_size(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Length of what a window of `kernel` makes of `size` positions at `stride`; below 1 where it does not fit.

    ``same`` pads kernel // 2 on each side, so that odd kernels keep ceil(size / stride); ``valid`` pads nothing; ``ceil``
    pads as much as the last window needs at the end (torch's `ceil_mode`, TensorFlow's SAME at even sizes).
    """
    if padding == "ceil":
        return -((kernel - size) // stride) + 1
    return (size + (2 * (kernel // 2) if padding == "same" else 0) - kernel) // stride + 1


@dataclass(frozen=True, slots=True)
class Op:
    """What all operations have: a unique structured name (``b3.l2.expand``), input names, the shape of the output."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Conv(Op):
    """Convolution [+ bias] [+ BN] [+ activation]; `groups` equal to `in_channels` makes it depthwise."""

    in_channels: int
    kernel: Kernel
    stride: int
    groups: int
    bias: bool
    norm: Norm | None
    activation: Activation
    padding: Padding = "same"


@dataclass(frozen=True, slots=True)
class AveragePool(Op):
    """Average over kernel x kernel; padding counts as zeros only if `counts_padding`."""

    kernel: int
    stride: int
    padding: Padding = "same"
    counts_padding: bool = False


@dataclass(frozen=True, slots=True)
class MaxPool(Op):
    """Maximum over kernel x kernel; padding never wins."""

    kernel: int
    stride: int
    padding: Padding = "same"


@dataclass(frozen=True, slots=True)
class GlobalPool(Op):
    """Mean over height and width."""


@dataclass(frozen=True, slots=True)
class LocalResponseNorm(Op):
    """x / (1 + alpha / size * sum of squares over `size` neighbouring channels)^beta (AlexNet, section 3.3)."""

    size: int
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class Scale(Op):
    """First input times the second, one factor a channel: the gate of squeeze-and-excitation."""


@dataclass(frozen=True, slots=True)
class Add(Op):
    """Sum of two tensors of equal shape [+ activation]."""

    activation: Activation = "none"


@dataclass(frozen=True, slots=True)
class Concat(Op):
    """The inputs one after another along the channels."""


@dataclass(frozen=True, slots=True)
class Linear(Op):
    """Fully connected layer with bias over the flattened input [+ activation]; `dropout` precedes it in training."""

    in_features: int
    dropout: float
    activation: Activation = "none"


@dataclass(frozen=True, slots=True)
class AuxiliaryOutput:
    """Logits of an auxiliary classifier: the operation that gives them, and the weight of their loss in training."""

    name: str
    weight: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Operations in an order in which each follows its inputs; the last one's output is the network's.

    `auxiliary` is empty but for graphs lowered for training.
    """

    input_shape: Shape
    ops: tuple[Op, ...]
    auxiliary: tuple[AuxiliaryOutput, ...] = ()
