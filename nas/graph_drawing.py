"""A picture of a network, drawn from its graph of operations by Graphviz."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from nas.errors import UserError
from nas.report_layers import group_name
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

_OPS_A_COLUMN = 32
SUFFIXES = (".svg", ".png", ".pdf", ".dot")
_STYLE = (
    'graph [rankdir=TB, fontname="Helvetica", fontsize=11, ranksep=0.22, nodesep=0.18, newrank=true, ordering=out];',
    'node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10, height=0.25, margin="0.08,0.03", '
    'color="#00000000"];',
    'edge [color="#5b6675", arrowsize=0.5];',
)
_COLOURS = {
    "dense": "#bfd4fb",
    "depthwise": "#c9e7df",
    "linear": "#f3cf9b",
    "pool": "#f6c6d2",
    "gate": "#e3d7f5",
    "join": "#e1e6ed",
}


def _look(op: Op) -> tuple[str, str]:
    """Label and colour."""
    match op:
        case Conv():
            kind = "depthwise" if op.groups > 1 else "dense"
            stride = f" /{op.stride}" if op.stride > 1 else ""
            act = "" if op.activation == "none" else f" {op.activation}"
            name = "dw " if kind == "depthwise" else ""
            return f"{op.kernel[0]}x{op.kernel[1]} {name}{op.shape[0]}{stride}{act}", kind
        case MaxPool() | AveragePool():
            name = "max" if isinstance(op, MaxPool) else "avg"
            stride = f" /{op.stride}" if op.stride > 1 else ""
            return f"{op.kernel}x{op.kernel} {name} pool{stride}", "pool"
        case GlobalPool():
            return "global pool", "pool"
        case LocalResponseNorm():
            return "LRN", "join"
        case Linear():
            act = "" if op.activation == "none" else f" {op.activation}"
            return f"linear {op.shape[0]}{act}", "linear"
        case Scale():
            return "scale", "gate"
        case Add():
            return "add" if op.activation == "none" else f"add {op.activation}", "join"
        case Concat():
            return f"concat {op.shape[0]}", "join"
    raise TypeError(f"no drawing of operation {op}")


def _clusters(graph: Graph) -> dict[str, list[Op]]:
    clusters: dict[str, list[Op]] = {}
    for op in graph.ops:
        clusters.setdefault(group_name(op.name), []).append(op)
    return clusters


def _columns(clusters: dict[str, list[Op]], num_columns: int) -> dict[str, int]:
    """Operation -> its column; clusters stay whole, columns hold about equally many operations."""
    total = sum(map(len, clusters.values()))
    columns, seen = {INPUT: 0}, 0
    for ops in clusters.values():
        column = min(num_columns - 1, (seen + len(ops) // 2) * num_columns // total)
        columns.update((op.name, column) for op in ops)
        seen += len(ops)
    return columns


def _anchors(columns: dict[str, int]) -> Iterator[str]:
    """Invisible nodes on the top rank that keep the columns side by side, in order."""
    first = {column: name for name, column in reversed(columns.items())}
    row = [f'"top{column}"' for column in sorted(first)]
    yield f"{{ rank=same; node [style=invis]; edge [style=invis]; {' -> '.join(row)}; }}"
    for column, name in first.items():
        yield f'"top{column}" -> "{name}" [style=invis, weight=100];'


def _statements(graph: Graph, title: str, num_columns: int) -> Iterator[str]:
    yield f'digraph "{_quoted(title)}" {{'
    yield from _STYLE
    channels, height, width = graph.input_shape
    yield f'label="{_quoted(title)}"; labelloc=t;'
    yield f'"{INPUT}" [label="image {channels} x {height} x {width}", fillcolor="#ffffff", color="#5b6675"];'
    clusters = _clusters(graph)
    columns = _columns(clusters, num_columns)
    yield from _anchors(columns)
    for name, ops in clusters.items():
        shape = " x ".join(map(str, ops[-1].shape))
        yield f'subgraph "cluster_{name}" {{ label="{name}   {shape}"; labeljust=l; color="#e1e6ed"; style=rounded;'
        for op in ops:
            label, kind = _look(op)
            yield f'"{op.name}" [label="{label}", fillcolor="{_COLOURS[kind]}"];'
        yield "}"
    yield from _edges(graph, columns)
    yield "}"


def _edges(graph: Graph, columns: dict[str, int]) -> Iterator[str]:
    """Arrows within a column; what comes from another one is named at the top instead."""
    for op in graph.ops:
        column = columns[op.name]
        for source in op.inputs:
            if columns[source] == column:
                yield f'"{source}" -> "{op.name}";'
            else:
                stub = f"{source}@{column}"
                yield f'"{stub}" [label="from {group_name(source)}", fillcolor="#ffffff", color="#5b6675", style=dashed];'
                yield f'"top{column}" -> "{stub}" [style=invis];'
                yield f'"{stub}" -> "{op.name}";'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def dot(graph: Graph, title: str, num_columns: int | None = None) -> str:
    """The graph in Graphviz's language: a node an operation, a frame a layer.

    Args:
        graph: what to draw.
        title: stands above it.
        num_columns: the drawing is folded into so many, at least 1; by default one for each 32 operations.
    """
    return "\n".join(_statements(graph, title, num_columns or -(-len(graph.ops) // _OPS_A_COLUMN))) + "\n"


def write_drawing(graph: Graph, title: str, path: Path) -> None:
    """Draw `graph` into the file `path`; its suffix says how.

    Raises:
        UserError: another suffix, no Graphviz, or the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--out {path}: allowed are files ending in {', '.join(SUFFIXES)}")
    if path.suffix != ".dot" and shutil.which("dot") is None:
        raise UserError(f"--out {path}: needs Graphviz's program dot (apt install graphviz), or write a .dot file")
    text = dot(graph, title)
    try:
        if path.suffix == ".dot":
            path.write_text(text)
        else:
            picture = subprocess.run(
                ["dot", f"-T{path.suffix[1:]}"], input=text.encode(), capture_output=True, check=True
            )
            path.write_bytes(picture.stdout)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
