"""THE walk: an ArchSpec, a resolution and a number of classes become a graph of primitive operations.

Each kind of layer is a function that emits operations. Counting, torch, ONNX, latency keys and width groups interpret the
graph and never look at the spec, so no two of them can disagree.
"""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.arch import DEFAULT_NORM, AnyLayer, ArchSpec, AuxHead, Block, Head, Layer, Norm, Stem
from search_spaces.emitter import Emitter, Tensor
from search_spaces.graph import INPUT, AuxiliaryOutput, Graph, Op, Shape
from search_spaces.module import Branch, BranchConv, Branches, Fork, LocalNorm, Pool
from search_spaces.values import Activation


def _squeeze_excite(emit: Emitter, name: str, x: Tensor, squeezed: int, gate: Activation) -> Tensor:
    """Pool, squeeze, gate, scale; both 1x1 convolutions biased, without BN (arXiv 1709.01507, section 3)."""
    if not squeezed:
        return x
    pooled = emit.global_pool(f"{name}.pool", x)
    reduced = emit.conv(f"{name}.reduce", pooled, squeezed, norm=False, activation="relu")
    gates = emit.conv(f"{name}.gate", reduced, x.shape[0], norm=False, activation=gate)
    return emit.scale(f"{name}.scale", x, gates)


def _mbconv(emit: Emitter, name: str, x: Tensor, layer: Layer) -> Tensor:
    """Expansion (left out when it widens nothing), depthwise, [SE], linear projection (arXiv 1801.04381, table 1)."""
    y, act = x, layer.activation
    if layer.expanded_channels != layer.in_channels:
        y = emit.conv(f"{name}.expand", y, layer.expanded_channels, activation=act)
    y = emit.depthwise(f"{name}.depthwise", y, kernel=layer.kernel, stride=layer.stride, activation=act)
    y = _squeeze_excite(emit, f"{name}.se", y, layer.squeezed_channels, layer.gate)
    return emit.conv(f"{name}.project", y, layer.out_channels)


def _dwsep(emit: Emitter, name: str, x: Tensor, layer: Layer) -> Tensor:
    """Depthwise and 1x1 convolution, each with BN and activation, [SE] (arXiv 1704.04861, figure 3)."""
    act = layer.activation
    y = emit.depthwise(f"{name}.depthwise", x, kernel=layer.kernel, stride=layer.stride, activation=act)
    y = emit.conv(f"{name}.pointwise", y, layer.out_channels, activation=act)
    return _squeeze_excite(emit, f"{name}.se", y, layer.squeezed_channels, layer.gate)


def _plain_conv(emit: Emitter, name: str, x: Tensor, layer: Layer) -> Tensor:
    """Convolution, BN, activation, [SE]."""
    y = emit.conv(
        f"{name}.conv",
        x,
        layer.out_channels,
        kernel=layer.kernel,
        stride=layer.stride,
        activation=layer.activation,
        padding=layer.padding,
    )
    return _squeeze_excite(emit, f"{name}.se", y, layer.squeezed_channels, layer.gate)


def _bottleneck(emit: Emitter, name: str, x: Tensor, layer: Layer) -> Tensor:
    """1x1 down, kernel x kernel, linear 1x1 up, [SE] (arXiv 1512.03385, figure 5; SENet, figure 3)."""
    first, second = (layer.stride, 1) if layer.op == "bottleneck_v1" else (1, layer.stride)
    act, inner = layer.activation, layer.expanded_channels
    y = emit.conv(f"{name}.reduce", x, inner, stride=first, activation=act)
    y = emit.conv(f"{name}.conv", y, inner, kernel=layer.kernel, stride=second, activation=act)
    y = emit.conv(f"{name}.expand", y, layer.out_channels, activation=act if layer.skip == "none" else "none")
    return _squeeze_excite(emit, f"{name}.se", y, layer.squeezed_channels, layer.gate)


_EMITTERS = {
    "conv": _plain_conv,
    "dwsep": _dwsep,
    "mbconv": _mbconv,
    "bottleneck": _bottleneck,
    "bottleneck_v1": _bottleneck,
}


def _conv_layer(emit: Emitter, name: str, x: Tensor, layer: Layer) -> Tensor:
    y = _EMITTERS[layer.op](emit, name, x, layer)
    after: Activation = layer.activation if layer.op.startswith("bottleneck") else "none"
    match layer.skip:
        case "identity":
            return emit.add(f"{name}.add", y, x, after)
        case "pool":
            return emit.add(
                f"{name}.add", y, emit.average_pool(f"{name}.pool", x, kernel=3, stride=layer.stride), after
            )
        case "projection":
            shortcut = emit.conv(f"{name}.shortcut", x, layer.out_channels, stride=layer.stride)
            return emit.add(f"{name}.add", y, shortcut, after)
        case "none":
            return y


def _pool(emit: Emitter, name: str, x: Tensor, pool: Pool) -> Tensor:
    if pool.kind == "max":
        return emit.max_pool(name, x, pool.kernel, pool.stride, pool.padding)
    return emit.average_pool(name, x, pool.kernel, pool.stride, pool.padding, pool.counts_padding)


def _branch(emit: Emitter, name: str, x: Tensor, branch: Branch, activation: Activation) -> list[Tensor]:
    """What the steps of one branch give: one tensor, or those of the fork that ends it."""
    for number, step in enumerate(branch, start=1):
        match step:
            case BranchConv():
                x = emit.conv(
                    f"{name}.{number}",
                    x,
                    step.channels,
                    kernel=step.kernel,
                    stride=step.stride,
                    activation=activation,
                    padding=step.padding,
                )
            case Pool():
                x = _pool(emit, f"{name}.{number}", x, step)
            case Fork():
                return _all_branches(emit, f"{name}.{number}", x, step.branches, activation)
    return [x]


def _all_branches(
    emit: Emitter, name: str, x: Tensor, branches: tuple[Branch, ...], activation: Activation
) -> list[Tensor]:
    named = ((f"{name}.branch{number}", branch) for number, branch in enumerate(branches, start=1))
    return [tensor for path, branch in named for tensor in _branch(emit, path, x, branch, activation)]


def _module(emit: Emitter, name: str, x: Tensor, module: Branches) -> Tensor:
    """Parallel branches, concatenated, [SE] (arXiv 1409.4842, figure 2)."""
    y = emit.concat(f"{name}.concat", _all_branches(emit, name, x, module.branches, module.activation))
    gate = module.se.gate if module.se else "none"
    return _squeeze_excite(emit, f"{name}.se", y, module.squeezed_channels, gate)


def _layer(emit: Emitter, name: str, x: Tensor, layer: AnyLayer) -> Tensor:
    match layer:
        case Layer():
            return _conv_layer(emit, name, x, layer)
        case Pool():
            return _pool(emit, f"{name}.pool", x, layer)
        case LocalNorm():
            return emit.local_norm(f"{name}.lrn", x, layer.size)
        case Branches():
            return _module(emit, name, x, layer)


def _aux_head(emit: Emitter, name: str, x: Tensor, head: AuxHead, num_classes: int) -> None:
    """Figure 3 of arXiv 1409.4842 and section 4 of arXiv 1512.00567; windows no larger than what they get."""
    y = emit.average_pool(f"{name}.pool", x, min(5, *x.shape[1:]), 3, "valid")
    y = emit.conv(f"{name}.conv", y, head.channels, activation="relu")
    if head.final_channels is not None:
        kernel = (min(5, y.shape[1]), min(5, y.shape[2]))
        y = emit.conv(f"{name}.final", y, head.final_channels, kernel=kernel, activation="relu", padding="valid")
    if head.hidden is not None:
        y = emit.linear(f"{name}.hidden", y, head.hidden, activation="relu")
    emit.linear(f"{name}.classifier", y, num_classes, head.dropout)


def lower_stem(stem: Stem, resolution: int, norm: Norm | None = DEFAULT_NORM) -> Graph:
    """The first convolution for square RGB images of side `resolution`; its last operation gives the output."""
    emit = Emitter(norm)
    image = Tensor(INPUT, (3, resolution, resolution))
    emit.conv(
        "stem",
        image,
        stem.channels,
        kernel=stem.kernel,
        stride=stem.stride,
        activation=stem.activation,
        padding=stem.padding,
    )
    return Graph(image.shape, tuple(emit.ops))


def lower_layer(
    layer: AnyLayer,
    input_shape: Shape,
    name: str = "layer",
    source: str = INPUT,
    norm: Norm | None = DEFAULT_NORM,
) -> Graph:
    """One layer of a block, alone; its last operation gives the output.

    Args:
        layer: what to build.
        input_shape: of the tensor that it receives, of the layer's input width.
        name: operations are called ``{name}.*``.
        source: name of that tensor.
        norm: the architecture's.
    """
    emit = Emitter(norm)
    _layer(emit, name, Tensor(source, input_shape), layer)
    return Graph(input_shape, tuple(emit.ops))


def lower_block(
    block: Block,
    input_shape: Shape,
    number: int,
    source: str = INPUT,
    norm: Norm | None = DEFAULT_NORM,
) -> Graph:
    """The layers of `block`, alone; its last operation gives the output.

    Args:
        block: what to build.
        input_shape: of the tensor that it receives, of the block's input width.
        number: of the block in its network, from 1; operations are called ``b{number}.l{layer}.*``.
        source: name of that tensor.
        norm: the architecture's.
    """
    ops: list[Op] = []
    shape = input_shape
    layers: Iterator[AnyLayer] = block.layers()
    for i, layer in enumerate(layers, start=1):
        ops += lower_layer(layer, shape, f"b{number}.l{i}", source, norm).ops
        source, shape = ops[-1].name, ops[-1].shape
    return Graph(input_shape, tuple(ops))


def lower_head(
    head: Head,
    input_shape: Shape,
    num_classes: int,
    source: str = INPUT,
    norm: Norm | None = DEFAULT_NORM,
) -> Graph:
    """What follows the blocks, the classifier last; arguments as in `lower_block`."""
    emit = Emitter(norm)
    x = Tensor(source, input_shape)
    if head.channels is not None:
        x = emit.conv("head.conv", x, head.channels, activation=head.activation)
    x = emit.global_pool("head.pool", x)
    if head.hidden is not None:
        x = emit.conv("head.hidden", x, head.hidden, norm=False, activation=head.activation)
    emit.linear("classifier", x, num_classes, head.dropout)
    return Graph(input_shape, tuple(emit.ops))


def lower(arch: ArchSpec, resolution: int, num_classes: int, *, training: bool = False) -> Graph:
    """The graph of `arch` for square RGB images: stem, blocks and head, each lowered behind the one before.

    Args:
        arch: what to build.
        resolution: side of the input in pixels, at least 1.
        num_classes: outputs of the classifier, at least 1.
        training: with the auxiliary heads, which no deployed network has.

    Raises:
        ValueError: resolution or number of classes below 1, or a resolution at which a window does not fit.
    """
    if resolution < 1 or num_classes < 1:
        raise ValueError(f"resolution {resolution} and num_classes {num_classes} must be at least 1")
    stem = lower_stem(arch.stem, resolution, arch.norm)
    ops = list(stem.ops)
    auxiliary: list[AuxiliaryOutput] = []
    aux_heads = {head.after: head for head in arch.aux} if training else {}
    aux_emit = Emitter(arch.norm)
    for number, block in enumerate(arch.blocks, start=1):
        ops += lower_block(block, ops[-1].shape, number, ops[-1].name, arch.norm).ops
        if number in aux_heads:
            name = f"aux{len(auxiliary) + 1}"
            _aux_head(aux_emit, name, Tensor(ops[-1].name, ops[-1].shape), aux_heads[number], num_classes)
            auxiliary.append(AuxiliaryOutput(aux_emit.ops[-1].name, aux_heads[number].weight))
    ops_of_head = lower_head(arch.head, ops[-1].shape, num_classes, ops[-1].name, arch.norm).ops
    return Graph(stem.input_shape, (*ops, *aux_emit.ops, *ops_of_head), tuple(auxiliary))
