"""Appends primitive operations to a list and hands out their outputs: the pen of `search_spaces.lower`."""

from __future__ import annotations

from dataclasses import dataclass, field

from search_spaces.arch import Activation, Kernel, Norm, Padding
from search_spaces.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalPool,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Op,
    Scale,
    Shape,
    window_size,
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An operation's output, or the image: its name and shape."""

    name: str
    shape: Shape


@dataclass(slots=True)
class Emitter:
    """Operations in order.

    Attributes:
        norm: batch normalisation of convolutions that do not say otherwise, or None: they are biased.
        ops: what has been emitted.
    """

    norm: Norm | None
    ops: list[Op] = field(default_factory=list)

    def _emit(self, op: Op) -> Tensor:
        self.ops.append(op)
        return Tensor(op.name, op.shape)

    def conv(
        self,
        name: str,
        x: Tensor,
        channels: int,
        *,
        kernel: int | Kernel = 1,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
        activation: Activation = "none",
        padding: Padding = "same",
    ) -> Tensor:
        """Convolution to `channels`; biased where it has no batch normalisation, its own (`norm` False) or the network's."""
        window = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        own_norm = self.norm if norm else None
        shape = _windowed(name, x.shape, channels, window, stride, padding)
        op = Conv(
            name,
            (x.name,),
            shape,
            in_channels=x.shape[0],
            kernel=window,
            stride=stride,
            groups=groups,
            bias=own_norm is None,
            norm=own_norm,
            activation=activation,
            padding=padding,
        )
        return self._emit(op)

    def depthwise(self, name: str, x: Tensor, *, kernel: int, stride: int, activation: Activation) -> Tensor:
        """One filter a channel."""
        channels = x.shape[0]
        return self.conv(name, x, channels, kernel=kernel, stride=stride, groups=channels, activation=activation)

    def average_pool(
        self,
        name: str,
        x: Tensor,
        kernel: int,
        stride: int,
        padding: Padding = "same",
        counts_padding: bool = False,
    ) -> Tensor:
        """Average over kernel x kernel."""
        shape = _windowed(name, x.shape, x.shape[0], (kernel, kernel), stride, padding)
        return self._emit(AveragePool(name, (x.name,), shape, kernel, stride, padding, counts_padding))

    def max_pool(self, name: str, x: Tensor, kernel: int, stride: int, padding: Padding) -> Tensor:
        """Maximum over kernel x kernel."""
        shape = _windowed(name, x.shape, x.shape[0], (kernel, kernel), stride, padding)
        return self._emit(MaxPool(name, (x.name,), shape, kernel, stride, padding))

    def global_pool(self, name: str, x: Tensor) -> Tensor:
        """Mean over height and width."""
        return self._emit(GlobalPool(name, (x.name,), (x.shape[0], 1, 1)))

    def local_norm(self, name: str, x: Tensor, size: int) -> Tensor:
        """Local response normalisation; alpha and beta of the caffe model of GoogLeNet."""
        return self._emit(LocalResponseNorm(name, (x.name,), x.shape, size, alpha=1e-4, beta=0.75))

    def scale(self, name: str, x: Tensor, gate: Tensor) -> Tensor:
        """`x` times one factor a channel."""
        return self._emit(Scale(name, (x.name, gate.name), x.shape))

    def add(self, name: str, x: Tensor, y: Tensor, activation: Activation = "none") -> Tensor:
        """Sum of two tensors of one shape."""
        assert x.shape == y.shape, f"{name}: {x.shape} + {y.shape}"
        return self._emit(Add(name, (x.name, y.name), x.shape, activation))

    def concat(self, name: str, parts: list[Tensor]) -> Tensor:
        """`parts` one after another along the channels.

        Raises:
            ValueError: they differ in height or width.
        """
        sizes = {part.shape[1:] for part in parts}
        if len(sizes) > 1:
            raise ValueError(f"{name}: branches end in maps of {', '.join(f'{h}x{w}' for h, w in sorted(sizes))}")
        channels = sum(part.shape[0] for part in parts)
        return self._emit(Concat(name, tuple(part.name for part in parts), (channels, *parts[0].shape[1:])))

    def linear(
        self, name: str, x: Tensor, features: int, dropout: float = 0.0, activation: Activation = "none"
    ) -> Tensor:
        """Fully connected layer over the flattened input."""
        channels, height, width = x.shape
        op = Linear(name, (x.name,), (features, 1, 1), channels * height * width, dropout, activation)
        return self._emit(op)


def _windowed(name: str, shape: Shape, channels: int, kernel: Kernel, stride: int, padding: Padding) -> Shape:
    height, width = (window_size(size, k, stride, padding) for size, k in zip(shape[1:], kernel, strict=True))
    if height < 1 or width < 1:
        raise ValueError(
            f"{name}: a window of {kernel[0]}x{kernel[1]} does not fit into {shape[1]}x{shape[2]}; "
            f"the input resolution is too small for this network"
        )
    return (channels, height, width)
