"""Kernels that the runtime executed, each traced back to the node of the model that it comes from.

How ONNX Runtime names what it executes (1.32, x86 and its blocked layout NCHWc; other builds use a subset):
a convolution with what it has swallowed (activation, residual add) is called after its output tensor, plus ``_nchwc``;
so is a pooling; a fused node in the plain layout is called "fused " and a name; nodes left alone keep their names.
ReorderInput and ReorderOutput, which change the layout, get names of their own. Each belongs to the node whose output
it changes: that node's choice of layout made it necessary.
"""

from __future__ import annotations

import base64
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import NodeProto

from latency.meter_process import MeterProcess

_BLOCKED = "_nchwc"
_FUSED = "fused "


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
    """Names of nodes and tensors of the model as given -> the node they mean."""

    def __init__(self, nodes: Iterable[NodeProto]) -> None:
        self._nodes = set()
        self._makers = {}
        for node in nodes:
            self._nodes.add(node.name)
            self._makers.update(dict.fromkeys(node.output, node.name))

    def find(self, name: str) -> str | None:
        """The node called `name`, or else the node that makes the tensor called `name`."""
        return name if name in self._nodes else self._makers.get(name)


def _origins(executed: list[NodeProto], source: _SourceNames) -> dict[str, str | None]:
    """Executed node name -> source node name."""
    origins: dict[str, str | None] = {}
    made_by: dict[str, str] = {}
    for node in executed:
        plain = node.name.removeprefix(_FUSED).removesuffix(_BLOCKED)
        found = next((o for o in map(source.find, (node.name, plain, *node.output)) if o), None)
        if found is None:  # a reorder, or a node the runtime invented: it works on what its producer made
            data = (source.find(name) or made_by.get(name) for name in node.input)
            found = next((origin for origin in data if origin), None)
        origins[node.name] = found
        if found is not None:
            made_by.update(dict.fromkeys(node.output, found))
    for node in reversed(executed):  # what works on the image itself belongs to whoever reads its result
        if origins[node.name] is None:
            readers = (origins[n.name] for n in executed if set(n.input) & set(node.output))
            origins[node.name] = next((origin for origin in readers if origin), None)
    return origins


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
    nodes = {node.name: node for node in executed}
    origins = _origins(executed, _SourceNames(onnx.load_from_string(model).graph.node))
    rows = []
    for name, op_type, durations_us, input_shapes, output_shapes in trace["events"]:
        node = nodes.get(name, NodeProto())  # kernels inside a subgraph are not in the top-level list
        row = Kernel(
            name=name,
            op_type=op_type,
            median_us=statistics.median(durations_us),
            origin=origins.get(name),
            domain=node.domain,
            input_shapes=tuple(map(tuple, input_shapes)),
            output_shapes=tuple(map(tuple, output_shapes)),
            attributes=_attributes(node),
        )
        rows.append(row)
    return rows
