"""The winner's layers: what each one is, and what it costs in multiply-adds and in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from search_spaces.arch import AnyLayer, ArchSpec
from search_spaces.count import op_macs, op_params
from search_spaces.graph import Conv, Op, Shape
from search_spaces.lower import lower
from search_spaces.module import Branches, LocalNorm, Pool

OTHER = "other"


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One row: the operations that share a name prefix.

    Attributes:
        name: the prefix: ``stem``, ``b3.l2``, ``head``, ``classifier``; ``other`` for times that no operation has.
        kind: what it is, for people.
        kernel: side of the kernel of its largest convolution; None without one.
        stride: of the whole layer; None where it has no meaning.
        shape: of the output; None for ``other``.
        params: trained parameters.
        macs: multiply-adds.
        time_us: microseconds; None where nothing was measured.
    """

    name: str
    kind: str
    kernel: int | None
    stride: int | None
    shape: Shape | None
    params: int
    macs: int
    time_us: float | None


def group_name(operation: str) -> str:
    """The layer that an operation belongs to: ``b3.l2.se.pool`` is of ``b3.l2``, ``head.conv`` of ``head``."""
    first, _, rest = operation.partition(".")
    second = rest.partition(".")[0]
    return f"{first}.{second}" if _is_numbered(first, "b") and _is_numbered(second, "l") else first


def _is_numbered(text: str, letter: str) -> bool:
    return text[:1] == letter and text[1:].isdecimal()


def layer_costs(arch: ArchSpec, resolution: int, num_classes: int, kernels_us: Mapping[str, float]) -> list[LayerCost]:
    """The layers of a network in order.

    Args:
        arch: the network.
        resolution: at which it was measured.
        num_classes: likewise.
        kernels_us: operation name -> microseconds; empty when nothing was measured.
    """
    groups: dict[str, list[Op]] = {}
    for op in lower(arch, resolution, num_classes).ops:
        groups.setdefault(group_name(op.name), []).append(op)
    times: dict[str, float] = {}
    for name, time_us in kernels_us.items():
        group = group_name(name)
        times[group if group in groups else OTHER] = times.get(group if group in groups else OTHER, 0.0) + time_us
    kinds = dict(_kinds(arch))
    costs = [
        LayerCost(
            name=name,
            kind=kinds.get(name, name),
            kernel=max((max(op.kernel) for op in ops if isinstance(op, Conv)), default=None),
            stride=max((op.stride for op in ops if isinstance(op, Conv)), default=None),
            shape=ops[-1].shape,
            params=sum(map(op_params, ops)),
            macs=sum(map(op_macs, ops)),
            time_us=times.get(name, 0.0) if kernels_us else None,
        )
        for name, ops in groups.items()
    ]
    if OTHER in times:
        costs.append(LayerCost(OTHER, "not of one layer", None, None, None, 0, 0, times[OTHER]))
    return costs


def _kinds(arch: ArchSpec) -> Iterator[tuple[str, str]]:
    yield "stem", "convolution"
    for b, block in enumerate(arch.blocks, start=1):
        layers: Iterator[AnyLayer] = block.layers()
        for i, layer in enumerate(layers, start=1):
            yield f"b{b}.l{i}", _kind(layer)
    yield (
        "head",
        ("1x1 convolution, " if arch.head.channels else "")
        + "pooling"
        + (", hidden layer" if arch.head.hidden else ""),
    )
    yield "classifier", "linear"


def _kind(layer: AnyLayer) -> str:
    match layer:
        case Pool():
            return f"{layer.kind} pooling"
        case LocalNorm():
            return "local response normalisation"
        case Branches():
            return "parallel branches" + (" + SE" if layer.se else "")
    if layer.op == "conv":
        base = "convolution"
    elif layer.op == "dwsep":
        base = "depthwise separable convolution"
    elif layer.op.startswith("bottleneck"):
        base = "bottleneck"
    elif layer.expanded_channels == layer.in_channels:
        base = "separable convolution"
    else:
        base = f"inverted bottleneck x{layer.expanded_channels / layer.in_channels:.3g}"
    gate = " + SE" if layer.squeezed_channels else ""
    skip = {"identity": ", skip", "projection": ", projected skip", "pool": ", pooled skip", "none": ""}[layer.skip]
    return base + gate + skip
