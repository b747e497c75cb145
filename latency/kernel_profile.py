"""Kernels that the runtime executed, each traced back to the node of the model that it comes from.

How ONNX Runtime names what it executes (1.32, x86 and its blocked layout NCHWc; other builds use a subset):
a convolution with what it has swallowed (activation, residual add) is called after its output tensor, plus ``_nchwc``;
so is a pooling; a fused node in the plain layout is called "fused " and a name; an int8 kernel is called after the float
node that it replaces, plus ``_token_`` and a number where it moved to another layout; nodes left alone keep their names.
ReorderInput, ReorderOutput and Transpose, which change the layout, get names of their own, QuantizeLinear and
DequantizeLinear have those of tensors. Each belongs to the node whose output it changes: that node's choice of layout or
type made it necessary. What an operator without a kernel is taken apart into (HardSwish in int8 networks) has no name in
the graph and a made-up one in the profile; both list the same kernels in the same order.
"""

from __future__ import annotations

import base64
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import NodeProto

from latency.meter_process import MeterProcess

_BLOCKED = "_nchwc"
_FUSED = "fused "
_NUMBERED = re.compile(r"_token_\d+$")
_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Kernel:
    """One executed kernel.

    Attributes:
        name: what the runtime calls it; unique.
        op_type: operator, such as ``Conv`` or ``ReorderOutput``.
        median_us: median duration under profiling in microseconds; the runtime counts whole ones.
        origin: name of the source node that it stems from; None when none could be found.
        domain: operator set; ``com.microsoft.nchwc`` is the blocked layout.
        input_shapes: of all inputs, weights included, in order.
        output_shapes: of all outputs.
        attributes: of the executed node, as JSON types: kernel_shape, strides, group, the swallowed activation.
    """

    name: str
    op_type: str
    median_us: float
    origin: str | None
    domain: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    attributes: Mapping[str, Any]


class _SourceNames:
    """Names of nodes and tensors of the model as given -> the node they mean; conversions mean the node they convert.

    Args:
        nodes: in topological order.
    """

    def __init__(self, nodes: Iterable[NodeProto]) -> None:
        self._nodes: dict[str, str] = {}
        self._makers: dict[str, str] = {}
        for node in nodes:
            meant = self._makers.get(node.input[0]) if node.op_type in _CONVERSIONS else node.name
            if meant:  # not of an image or a weight, which no node makes
                self._nodes[node.name] = meant
                self._makers.update(dict.fromkeys(node.output, meant))

    def find(self, name: str) -> str | None:
        """The node called `name`, or else the node that makes the tensor called `name`."""
        return self._nodes.get(name) or self._makers.get(name)

    def find_node(self, node: NodeProto) -> str | None:
        """The node that an executed one is called after, or else the node that makes one of its outputs."""
        plain = _NUMBERED.sub("", node.name).removeprefix(_FUSED).removesuffix(_BLOCKED)
        return next((origin for origin in map(self.find, (node.name, plain, *node.output)) if origin), None)


def _origins(executed: list[NodeProto], source: _SourceNames) -> list[str | None]:
    """Name of the source node of each executed one."""
    origins: list[str | None] = []
    made_by: dict[str, str] = {}
    for node in executed:
        found = source.find_node(node)
        if found is None:  # a reorder, or a node the runtime invented: it works on what its producer made
            data = (source.find(name) or made_by.get(name) for name in node.input)
            found = next((origin for origin in data if origin), None)
        origins.append(found)
        if found is not None:
            made_by.update(dict.fromkeys(node.output, found))
    read_by: dict[str, str] = {}
    for index, node in reversed(list(enumerate(executed))):  # what works on the image itself belongs to its reader
        origin = origins[index] or next((read_by[name] for name in node.output if name in read_by), None)
        origins[index] = origin
        if origin is not None:
            read_by.update(dict.fromkeys(node.input, origin))
    return origins


def _positions(executed: list[NodeProto], events: list[list[Any]]) -> list[int | None]:
    """Place in `executed` of the node behind each event: by order, or by name where the orders differ.

    They differ for models with subgraphs, whose kernels are in the profile and not in the top-level list.
    """
    if [node.op_type for node in executed] == [event[1] for event in events]:
        return list(range(len(executed)))
    named = {node.name: index for index, node in enumerate(executed) if node.name}
    return [named.get(event[0]) for event in events]


def _attributes(node: NodeProto) -> dict[str, Any]:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, Iterable) else value
        for name, value in values.items()
        if isinstance(value, bytes | int | float | Iterable)
    }


def profile(process: MeterProcess, model: bytes, num_runs: int = 20) -> list[Kernel]:
    """What the runtime executes for `model`, in order, timed over `num_runs` (at least 1) inferences.

    Raises:
        MeasuringError: the model cannot be run.
        ValueError: no runs.
    """
    return kernels(model, process.trace(model, num_runs))


def kernels(model: bytes, trace: Mapping[str, Any]) -> list[Kernel]:
    """Rows of `trace` (from `latency.kernel_trace`), joined with the executed graph and with `model`, in order.

    Raises:
        google.protobuf.message.DecodeError: bytes that are no ONNX model.
    """
    executed = list(onnx.load_from_string(base64.b64decode(trace["optimized"])).graph.node)
    origins = _origins(executed, _SourceNames(onnx.load_from_string(model).graph.node))
    rows = []
    for event, position in zip(trace["events"], _positions(executed, trace["events"]), strict=True):
        name, op_type, durations_us, input_shapes, output_shapes = event
        node = NodeProto() if position is None else executed[position]
        row = Kernel(
            name=name,
            op_type=op_type,
            median_us=statistics.median(durations_us),
            origin=None if position is None else origins[position],
            domain=node.domain,
            input_shapes=tuple(map(tuple, input_shapes)),
            output_shapes=tuple(map(tuple, output_shapes)),
            attributes=_attributes(node),
        )
        rows.append(row)
    return rows
