"""THE walk: an ArchSpec, a resolution and a number of classes become a graph of primitive operations.

Each kind of layer is a function that emits operations. Counting, torch, ONNX, latency keys and width groups interpret the
graph and never look at the spec, so no two of them can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from search_spaces.arch import Activation, ArchSpec, BlockSpec, Head, Layer, Stem
from search_spaces.graph import INPUT, Add, AveragePool, Conv, GlobalPool, Graph, Linear, Op, Scale, Shape


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: Shape


@dataclass(slots=True)
class _Emitter:
    """Appends operations and hands out their outputs."""

    ops: list[Op] = field(default_factory=list)

    def _emit(self, op: Op) -> _Tensor:
        self.ops.append(op)
        return _Tensor(op.name, op.shape)

    def conv(
        self,
        name: str,
        x: _Tensor,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        norm: bool = True,
        activation: Activation = "none",
    ) -> _Tensor:
        in_channels, height, width = x.shape
        shape = (channels, -(-height // stride), -(-width // stride))
        groups = in_channels if depthwise else 1
        return self._emit(
            Conv(
                name,
                (x.name,),
                shape,
                in_channels,
                kernel,
                stride,
                groups,
                bias=not norm,
                norm=norm,
                activation=activation,
            )
        )

    def average_pool(self, name: str, x: _Tensor, kernel: int, stride: int) -> _Tensor:
        channels, height, width = x.shape
        shape = (channels, -(-height // stride), -(-width // stride))
        return self._emit(AveragePool(name, (x.name,), shape, kernel, stride))

    def global_pool(self, name: str, x: _Tensor) -> _Tensor:
        return self._emit(GlobalPool(name, (x.name,), (x.shape[0], 1, 1)))

    def scale(self, name: str, x: _Tensor, gate: _Tensor) -> _Tensor:
        return self._emit(Scale(name, (x.name, gate.name), x.shape))

    def add(self, name: str, x: _Tensor, y: _Tensor) -> _Tensor:
        assert x.shape == y.shape, f"{name}: {x.shape} + {y.shape}"
        return self._emit(Add(name, (x.name, y.name), x.shape))

    def linear(self, name: str, x: _Tensor, features: int, dropout: float) -> _Tensor:
        channels, height, width = x.shape
        return self._emit(Linear(name, (x.name,), (features, 1, 1), channels * height * width, dropout))


def _squeeze_excite(emit: _Emitter, name: str, x: _Tensor, squeezed: int, gate: Activation) -> _Tensor:
    """Pool, squeeze, gate, scale; both 1x1 convolutions biased, without BN (arXiv 1709.01507, section 3)."""
    pooled = emit.global_pool(f"{name}.pool", x)
    reduced = emit.conv(f"{name}.reduce", pooled, squeezed, norm=False, activation="relu")
    gates = emit.conv(f"{name}.gate", reduced, x.shape[0], norm=False, activation=gate)
    return emit.scale(f"{name}.scale", x, gates)


def _mbconv(emit: _Emitter, name: str, x: _Tensor, layer: Layer) -> _Tensor:
    """Expansion (left out when it widens nothing), depthwise, [SE], linear projection (arXiv 1801.04381, table 1)."""
    y, act = x, layer.activation
    if layer.expanded_channels != layer.in_channels:
        y = emit.conv(f"{name}.expand", y, layer.expanded_channels, activation=act)
    y = emit.conv(
        f"{name}.depthwise",
        y,
        layer.expanded_channels,
        kernel=layer.kernel,
        stride=layer.stride,
        depthwise=True,
        activation=act,
    )
    if layer.squeezed_channels:
        y = _squeeze_excite(emit, f"{name}.se", y, layer.squeezed_channels, layer.gate)
    return emit.conv(f"{name}.project", y, layer.out_channels)


def _plain_conv(emit: _Emitter, name: str, x: _Tensor, layer: Layer) -> _Tensor:
    """Convolution, BN, activation, [SE]."""
    y = emit.conv(
        f"{name}.conv", x, layer.out_channels, kernel=layer.kernel, stride=layer.stride, activation=layer.activation
    )
    if layer.squeezed_channels:
        y = _squeeze_excite(emit, f"{name}.se", y, layer.squeezed_channels, layer.gate)
    return y


def _layer(emit: _Emitter, name: str, x: _Tensor, layer: Layer) -> _Tensor:
    y = (_mbconv if layer.op == "mbconv" else _plain_conv)(emit, name, x, layer)
    if layer.skip == "none":
        return y
    shortcut = x if layer.skip == "identity" else emit.average_pool(f"{name}.pool", x, kernel=3, stride=layer.stride)
    return emit.add(f"{name}.add", y, shortcut)


def lower_stem(stem: Stem, resolution: int) -> Graph:
    """The first convolution for square RGB images of side `resolution`; its last operation gives the output."""
    emit = _Emitter()
    image = _Tensor(INPUT, (3, resolution, resolution))
    emit.conv("stem", image, stem.channels, kernel=stem.kernel, stride=stem.stride, activation=stem.activation)
    return Graph(image.shape, tuple(emit.ops))


def lower_layer(layer: Layer, input_shape: Shape, name: str = "layer", source: str = INPUT) -> Graph:
    """One layer of a block, alone; its last operation gives the output.

    Args:
        layer: what to build.
        input_shape: of the tensor that it receives, of `layer.in_channels` channels.
        name: operations are called ``{name}.*``.
        source: name of that tensor.
    """
    emit = _Emitter()
    _layer(emit, name, _Tensor(source, input_shape), layer)
    return Graph(input_shape, tuple(emit.ops))


def lower_block(block: BlockSpec, input_shape: Shape, number: int, source: str = INPUT) -> Graph:
    """The layers of `block`, alone; its last operation gives the output.

    Args:
        block: what to build.
        input_shape: of the tensor that it receives, of `block.in_channels` channels.
        number: of the block in its network, from 1; operations are called ``b{number}.l{layer}.*``.
        source: name of that tensor.
    """
    ops: list[Op] = []
    shape = input_shape
    for i, layer in enumerate(block.layers(), start=1):
        ops += lower_layer(layer, shape, f"b{number}.l{i}", source).ops
        source, shape = ops[-1].name, ops[-1].shape
    return Graph(input_shape, tuple(ops))


def lower_head(head: Head, input_shape: Shape, num_classes: int, source: str = INPUT) -> Graph:
    """What follows the blocks, the classifier last; arguments as in `lower_block`."""
    emit = _Emitter()
    x = emit.conv("head.conv", _Tensor(source, input_shape), head.channels, activation=head.activation)
    x = emit.global_pool("head.pool", x)
    if head.hidden is not None:
        x = emit.conv("head.hidden", x, head.hidden, norm=False, activation=head.activation)
    emit.linear("classifier", x, num_classes, head.dropout)
    return Graph(input_shape, tuple(emit.ops))


def lower(arch: ArchSpec, resolution: int, num_classes: int) -> Graph:
    """The graph of `arch` for square RGB images: stem, blocks and head, each lowered behind the one before.

    Args:
        arch: what to build.
        resolution: side of the input in pixels, at least 1.
        num_classes: outputs of the classifier, at least 1.

    Raises:
        ValueError: resolution or number of classes below 1.
    """
    if resolution < 1 or num_classes < 1:
        raise ValueError(f"resolution {resolution} and num_classes {num_classes} must be at least 1")
    stem = lower_stem(arch.stem, resolution)
    ops = list(stem.ops)
    for number, block in enumerate(arch.blocks, start=1):
        ops += lower_block(block, ops[-1].shape, number, ops[-1].name).ops
    ops += lower_head(arch.head, ops[-1].shape, num_classes, ops[-1].name).ops
    return Graph(stem.input_shape, tuple(ops))
