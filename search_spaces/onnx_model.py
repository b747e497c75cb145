"""The ONNX interpreter: a graph becomes a model file directly, in milliseconds, where torch's exporter takes seconds.

BN is folded, weights are given or seeded. Tensors bear the names of the operations that make them, so that a runtime's
profile can be traced back; the step before an activation is called ``NAME/pre``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from search_spaces.arch import Activation, Kernel, Padding
from search_spaces.graph import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalPool,
    Graph,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Op,
    Scale,
)

OPSET = 17
IR_VERSION = 8  # what runtimes of 2022 and later read, so that boards with an older ONNX Runtime can measure
OUTPUT = "logits"

WeightSource = Callable[[Op], tuple[np.ndarray, np.ndarray]]
"""Operation -> (weight, bias), float32; weight shape (out, in / groups, k, k) or (out, in)."""

_POOL_SIZE = 1 << 21  # floats; larger tensors repeat it


@functools.cache
def _pool(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(_POOL_SIZE, dtype=np.float32)


def weight_shape(op: Conv | Linear) -> tuple[int, ...]:
    """Shape of the weight tensor of `op`."""
    if isinstance(op, Conv):
        return (op.shape[0], op.in_channels // op.groups, *op.kernel)
    return (op.shape[0], op.in_features)


def seeded_weights(seed: int = 0) -> WeightSource:
    """He-normal weights (variance 2 / fan_in) and zero biases: slices of one pool of random numbers.

    Time does not depend on the values as long as they are of ordinary size; denormals and infinities would change it.
    """
    offset = 0

    def source(op: Op) -> tuple[np.ndarray, np.ndarray]:
        nonlocal offset
        assert isinstance(op, Conv | Linear)
        shape = weight_shape(op)
        size = math.prod(shape)
        pool = _pool(seed)
        offset = offset if offset + size <= len(pool) else 0
        values = pool[offset : offset + size] if size <= len(pool) else np.resize(pool, size)
        offset += size
        std = np.float32(math.sqrt(2.0 / math.prod(shape[1:])))
        return (values * std).reshape(shape), np.zeros(shape[0], np.float32)

    return source


def given_weights(weights: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> WeightSource:
    """Weights by operation name, as `torch_module.folded_weights` makes them."""
    return lambda op: weights[op.name]


def _tensor(name: str, values: np.ndarray) -> TensorProto:
    assert values.dtype == np.float32, f"{name}: {values.dtype}"
    return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.tobytes(), raw=True)


def _before(op: Conv | Add) -> str:
    """Name of the tensor that `op` makes before its activation."""
    return op.name if op.activation == "none" else f"{op.name}/pre"


def _activation_nodes(activation: Activation, name: str, source: str) -> Iterator[NodeProto]:
    node = functools.partial(helper.make_node, inputs=[source], outputs=[name], name=f"{name}/{activation}")
    match activation:
        case "none":
            return
        case "relu":
            yield node("Relu")
        case "relu6":
            yield helper.make_node("Clip", [source, "zero", "six"], [name], name=f"{name}/relu6")
        case "hswish":
            yield node("HardSwish")
        case "swish":
            gate = f"{name}/sigmoid"
            yield helper.make_node("Sigmoid", [source], [gate], name=gate)
            yield helper.make_node("Mul", [source, gate], [name], name=f"{name}/swish")
        case "sigmoid":
            yield node("Sigmoid")
        case "hsigmoid":
            yield node("HardSigmoid", alpha=1 / 6, beta=0.5)
        case _:
            raise ValueError(f"no ONNX operator for activation {activation!r}")


def _pads(kernel: Kernel, padding: Padding) -> list[int]:
    """Rows and columns before, then after; what ``ceil`` adds at the end is the runtime's business."""
    return [side // 2 for side in kernel] * 2 if padding == "same" else [0] * 4


def _conv_nodes(op: Conv) -> Iterator[NodeProto]:
    before = _before(op)
    yield helper.make_node(
        "Conv",
        [*op.inputs, f"{op.name}.weight", f"{op.name}.bias"],
        [before],
        name=op.name,
        kernel_shape=list(op.kernel),
        strides=[op.stride, op.stride],
        pads=_pads(op.kernel, op.padding),
        group=op.groups,
    )
    yield from _activation_nodes(op.activation, op.name, before)


def _pool_node(op: AveragePool | MaxPool) -> NodeProto:
    kernel = (op.kernel, op.kernel)
    options: dict[str, Any] = {"ceil_mode": 1} if op.padding == "ceil" else {}
    if isinstance(op, AveragePool):
        options["count_include_pad"] = int(op.counts_padding)
    return helper.make_node(
        type(op).__name__,  # ONNX calls both as we do
        op.inputs,
        [op.name],
        name=op.name,
        kernel_shape=kernel,
        strides=[op.stride] * 2,
        pads=_pads(kernel, op.padding),
        **options,
    )


def _nodes(op: Op) -> Iterator[NodeProto]:
    node = functools.partial(helper.make_node, inputs=op.inputs, outputs=[op.name], name=op.name)
    match op:
        case Conv():
            yield from _conv_nodes(op)
        case AveragePool() | MaxPool():
            yield _pool_node(op)
        case GlobalPool():
            yield node("GlobalAveragePool")
        case Scale():
            yield node("Mul")
        case Add():
            before = _before(op)
            yield helper.make_node("Add", op.inputs, [before], name=op.name)
            yield from _activation_nodes(op.activation, op.name, before)
        case Concat():
            yield node("Concat", axis=1)
        case LocalResponseNorm():
            yield node("LRN", size=op.size, alpha=op.alpha, beta=op.beta, bias=1.0)
        case Linear():
            flat = f"{op.name}/flat"
            yield helper.make_node("Flatten", op.inputs, [flat], name=flat)
            operands = [flat, f"{op.name}.weight", f"{op.name}.bias"]
            yield helper.make_node("Gemm", operands, [OUTPUT], name=op.name, transB=1)
        case _:
            raise TypeError(f"no ONNX operator for operation {op}")


def emit_onnx(
    graph: Graph,
    weights: WeightSource | None = None,
    *,
    batch: int | None = 1,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A serialised ONNX model of `graph`: ``input`` float32 (batch, 3, H, W) to ``logits`` (batch, num_classes).

    Args:
        graph: what to emit; the last operation must be the classifier.
        weights: where weights come from; by default `seeded_weights()`.
        batch: a number for static shapes, or None for a free batch dimension.
        metadata: key-value pairs stored in the model, such as the normalisation of its input.

    Raises:
        ValueError: the weights of an operation have another shape than the graph's, or the graph is one for training.
    """
    if graph.auxiliary:
        raise ValueError("a graph with auxiliary heads is for training; what is deployed is lowered without them")
    weights = weights or seeded_weights()
    nodes: list[NodeProto] = []
    initializers = [_tensor("zero", np.array(0, np.float32)), _tensor("six", np.array(6, np.float32))]
    for op in graph.ops:
        nodes += _nodes(op)
        if isinstance(op, Conv | Linear):
            weight, bias = weights(op)
            shapes = weight_shape(op), (op.shape[0],)
            if (weight.shape, bias.shape) != shapes:
                raise ValueError(
                    f"{op.name}: weight {weight.shape} and bias {bias.shape}; the graph has {shapes[0]} and {shapes[1]}"
                )
            initializers += [_tensor(f"{op.name}.weight", weight), _tensor(f"{op.name}.bias", bias)]
    if not any(isinstance(op, Conv) and op.activation == "relu6" for op in graph.ops):
        del initializers[:2]
    size = "batch" if batch is None else batch
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [size, *graph.input_shape])
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [size, graph.ops[-1].shape[0]])
    model = helper.make_model(
        helper.make_graph(nodes, "network", [image], [logits], initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nas",
    )
    if metadata:
        helper.set_model_props(model, dict(metadata))
    serialised: bytes = model.SerializeToString()
    return serialised


def check_model(model: bytes) -> None:
    """Raise `onnx.checker.ValidationError` unless `model` is valid ONNX with consistent shapes."""
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
