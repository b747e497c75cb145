"""Counting a graph: multiply-adds, parameters, activations, memory.

Conventions: 1 multiply-add = 1 MAC; convolutions and linear layers count, nothing else does. Parameters are the trained
ones: weights, biases, BN's gamma and beta. Bytes are of float32, batch 1, BN folded, as the device runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.graph import INPUT, Conv, Graph, Linear, Op, Shape

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Counts:
    """Structural costs of one network.

    Attributes:
        macs: multiply-adds of one image.
        params: trained parameters.
        activations: elements put out by convolutions and linear layers (as pycls counts them).
        model_bytes: weights of the deployed network.
        peak_memory_bytes: most activation memory live at once when operations run in order and a tensor is freed after
            its last use.
    """

    macs: int
    params: int
    activations: int
    model_bytes: int
    peak_memory_bytes: int


def num_elements(shape: Shape) -> int:
    """Elements of a tensor of one image."""
    return shape[0] * shape[1] * shape[2]


def num_weights(op: Op) -> int:
    """Elements of the weight tensor; 0 for operations without one."""
    if isinstance(op, Conv):
        return op.shape[0] * (op.in_channels // op.groups) * op.kernel[0] * op.kernel[1]
    return op.in_features * op.shape[0] if isinstance(op, Linear) else 0


def op_macs(op: Op) -> int:
    """Multiply-adds of one operation: every weight is used once for each output position."""
    return num_weights(op) * op.shape[1] * op.shape[2]


def op_params(op: Op) -> int:
    """Trained parameters of one operation."""
    if isinstance(op, Conv):
        return num_weights(op) + op.shape[0] * (2 * (op.norm is not None) + op.bias)
    return num_weights(op) + op.shape[0] if isinstance(op, Linear) else 0


def _peak_memory_bytes(graph: Graph) -> int:
    last_use = {name: position for position, op in enumerate(graph.ops) for name in op.inputs}
    sizes = {INPUT: num_elements(graph.input_shape), **{op.name: num_elements(op.shape) for op in graph.ops}}
    live, peak = sizes[INPUT], 0
    for position, op in enumerate(graph.ops):
        live += sizes[op.name]
        peak = max(peak, live)
        live -= sum(sizes[name] for name in set(op.inputs) if last_use[name] == position)
    return peak * FLOAT_BYTES


def count(graph: Graph) -> Counts:
    """All counts of `graph`."""
    weighted = [op for op in graph.ops if isinstance(op, Conv | Linear)]
    return Counts(
        macs=sum(map(op_macs, weighted)),
        params=sum(map(op_params, weighted)),
        activations=sum(num_elements(op.shape) for op in weighted),
        model_bytes=FLOAT_BYTES * sum(num_weights(op) + op.shape[0] for op in weighted),
        peak_memory_bytes=_peak_memory_bytes(graph),
    )


def shortest_path(graph: Graph) -> int:
    """Fewest convolutions and linear layers that lie between an image and the logits: residual paths go round the others.

    In training most of the gradient comes by the short paths (arXiv 1605.06431, section 4.3).
    """
    length = {INPUT: 0}
    for op in graph.ops:
        length[op.name] = min(length[name] for name in op.inputs) + isinstance(op, Conv | Linear)
    return length[graph.ops[-1].name]
