"""Which ONNX files may be sent to a device: self-contained, static, of standard operators.

The device's runtime parses what is sent to it. Files that reach for other files (CVE-2022-25882, CVE-2024-27318) and
operators from elsewhere are refused here, before any device sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

MAX_MODEL_BYTES = 64_000_000
"""Largest model; the 64 MB are decimal."""

MAX_NODES = 5000
"""Most nodes; a hundred times a mobile network's."""

DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Operator sets that a device has without installing anything."""

_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


class ModelRefusedError(ValueError):
    """A model that no device is given; the message says why."""


def check_model(model: bytes) -> None:
    """Pass a model that may be sent to devices.

    Raises:
        ModelRefusedError: any other.
    """
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError:
        raise ModelRefusedError("not an ONNX file: it cannot be parsed") from None
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelRefusedError("not an ONNX model: it has no graph, or an empty one")
    if proto.functions or proto.training_info:
        raise ModelRefusedError("functions of its own and training graphs are not allowed: export it for inference")
    _check_operators(proto)
    for tensor in _tensors(proto.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelRefusedError(
                f"tensor {tensor.name!r} lies in another file: save the model as one file, without external data"
            )
    _check_inputs(proto.graph)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelRefusedError(f"invalid: {str(error).strip().splitlines()[0]}") from None


def _check_operators(model: ModelProto) -> None:
    versions = {opset.domain: opset.version for opset in model.opset_import}
    nodes = list(_nodes(model.graph))
    if len(nodes) > MAX_NODES:
        raise ModelRefusedError(f"{len(nodes)} nodes, at most {MAX_NODES} are allowed")
    for domain in (*versions, *(node.domain for node in nodes)):
        if domain not in DOMAINS:
            raise ModelRefusedError(
                f"operators of domain {domain!r} are not allowed: known are ONNX's and com.microsoft"
            )
    standard = max(versions.get("", 0), versions.get("ai.onnx", 0))
    for node in nodes:
        if node.op_type in _CONTROL_FLOW or any(_graphs(node)):
            raise ModelRefusedError(f"node {node.name!r} ({node.op_type}): control flow is not allowed")
        if node.domain != "com.microsoft" and not onnx.defs.has(node.op_type, max_inclusive_version=standard):
            raise ModelRefusedError(f"node {node.name!r}: no operator {node.op_type!r} in ONNX opset {standard}")


def _check_inputs(graph: GraphProto) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name in weights:
            continue
        sizes = value.type.tensor_type.shape.dim
        if not value.type.tensor_type.HasField("shape") or not all(size.dim_value > 0 for size in sizes):
            found = [size.dim_param or size.dim_value for size in sizes]
            raise ModelRefusedError(f"input {value.name!r} has shape {found}: static shapes are needed")


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Of the graph and of all graphs inside it."""
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from _nodes(inner)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor that a graph holds, wherever it may hide one."""
    yield from graph.initializer
    yield from _parts(graph.sparse_initializer)
    for node in _nodes(graph):
        for attribute in node.attribute:
            yield from attribute.tensors
            yield from _parts(attribute.sparse_tensors)
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor"):
                yield from _parts([attribute.sparse_tensor])


def _parts(tensors: Iterable[SparseTensorProto]) -> Iterator[TensorProto]:
    for tensor in tensors:
        yield tensor.values
        yield tensor.indices
