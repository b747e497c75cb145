"""A network as a list of primitive operations with shapes: what `lower` makes and every interpreter reads.

Conventions: a shape is (channels, height, width) of one image; a convolution owns its BN and activation; padding keeps
ceil(size / stride), symmetrically (kernel // 2 on each side).
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.arch import Activation

Shape = tuple[int, int, int]
"""Channels, height, width."""

INPUT = "input"
"""Name of the image tensor; an operation's output bears the operation's name."""


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
    kernel: int
    stride: int
    groups: int
    bias: bool
    norm: bool
    activation: Activation


@dataclass(frozen=True, slots=True)
class AveragePool(Op):
    """Average over kernel x kernel; the padding does not count."""

    kernel: int
    stride: int


@dataclass(frozen=True, slots=True)
class GlobalPool(Op):
    """Mean over height and width."""


@dataclass(frozen=True, slots=True)
class Scale(Op):
    """First input times the second, one factor a channel: the gate of squeeze-and-excitation."""


@dataclass(frozen=True, slots=True)
class Add(Op):
    """Sum of two tensors of equal shape."""


@dataclass(frozen=True, slots=True)
class Linear(Op):
    """Fully connected layer with bias over the flattened input; `dropout` precedes it in training."""

    in_features: int
    dropout: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Operations in an order in which each follows its inputs; the last one's output is the network's."""

    input_shape: Shape
    ops: tuple[Op, ...]
