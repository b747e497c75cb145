"""Claims about MobileNetV2 (arXiv 1801.04381)."""

from __future__ import annotations

import itertools

import numpy as np

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import millions, percent, printed_as
from nas.claims.lab import Lab
from search_spaces.block import Layer
from search_spaces.count import num_elements
from search_spaces.graph import Conv, Linear, Op
from search_spaces.zoo import ZOO

_PAPER = "arXiv 1801.04381"
_ACTIVATION_BYTES = 2  # "we assume 16-bit floats for activations", table 3
_EMBEDDINGS = (2, 3, 5, 15, 30)  # figure 1
_NUM_EMBEDDINGS = 100


def _like_the_block(layer: Layer, parts: dict[str, Op]) -> bool:
    """Whether the operations of one layer are those of tables 1 and 2."""
    wanted = ["expand"] if layer.expanded_channels != layer.in_channels else []
    wanted += ["depthwise", "project"]
    wanted += ["add"] if layer.stride == 1 and layer.in_channels == layer.out_channels else []
    convolutions = {name: op for name, op in parts.items() if isinstance(op, Conv)}
    return (
        list(parts) == wanted
        and all(op.norm is not None for op in convolutions.values())
        and all(op.kernel == ((3, 3) if name == "depthwise" else (1, 1)) for name, op in convolutions.items())
        and all(op.activation == ("none" if name == "project" else "relu6") for name, op in convolutions.items())
        and convolutions["depthwise"].groups == layer.expanded_channels
        and convolutions["depthwise"].stride == layer.stride
    )


@claim(
    10,
    "A block is a 1x1 expansion with ReLU6, a 3x3 depthwise convolution with ReLU6 and a linear 1x1, BN after each; "
    "bottlenecks are joined by a shortcut, only at stride 1 and equal widths.",
    published="the same",
    source=f"{_PAPER}, tables 1 and 2, figure 4",
)
def block_structure(lab: Lab) -> Finding:
    """The built graph, layer by layer; the first block has expansion 1, whose 1x1 is left out."""
    layers = [layer for layer in lab.arch("mobilenet_v2").layers() if isinstance(layer, Layer)]
    built = list(lab.layers("mobilenet_v2").values())
    right = sum(map(_like_the_block, layers, built))
    shortcuts = sum("add" in parts for parts in built)
    found = f"{right} of {len(built)} layers are built so; {shortcuts} have a shortcut"
    return Finding(found, verdict_of(right == len(built) == len(layers)))


@claim(
    11,
    "MobileNetV2 is cheaper and more accurate than V1 although it is deeper.",
    published="top-1 72.0 against 70.6 %, 300 against 569 M MACs (575 in the table), 3.4 against 4.2 M "
    "parameters, 75 against 113 ms",
    source=f"{_PAPER}, table 4",
)
def cheaper_than_v1(lab: Lab) -> Finding:
    """Counts and depth of both; published accuracies."""
    names = ("mobilenet_v2", "mobilenet_v1")
    second, first = (lab.count(name) for name in names)
    depths = [sum(isinstance(op, Conv | Linear) for op in lab.graph(name).ops) for name in names]
    top1 = [ZOO[name].published[""].top1 for name in names]
    found = (
        f"{millions(second.macs)} against {millions(first.macs)} MACs, {millions(second.params, 2)} against "
        f"{millions(first.params, 2)} parameters, {depths[0]} against {depths[1]} layers; published top-1 {top1[0]} "
        f"against {top1[1]} %"
    )
    cheaper = second.macs < first.macs and second.params < first.params and depths[0] > depths[1]
    return Finding(found, verdict_of(cheaper and printed_as(second.macs / 1e6, "300")))


@claim(
    12,
    "At 96x96 MobileNetV2 still reaches 60 %, with about 10 % fewer parameters than V1.",
    published="60.3 % at 96 px (56 M MACs); 3.47 against 4.24 M parameters: 18 % fewer",
    source="slim `mobilenet/README.md` and `mobilenet_v1.md`",
)
def at_96_pixels(lab: Lab) -> Finding:
    """Published accuracy, counted parameters."""
    top1 = ZOO["mobilenet_v2"].published["/96"].top1
    assert top1 is not None
    macs = lab.count("mobilenet_v2/96").macs
    fewer = 1 - lab.count("mobilenet_v2").params / lab.count("mobilenet_v1").params
    found = f"published top-1 {top1} % at {millions(macs, 0)} MACs; {percent(fewer)} fewer parameters, BN included"
    if top1 < 60 or not printed_as(100 * fewer, "18"):
        return Finding(found, "fails here")
    why = (
        "The accuracy is right. The parameters, which do not depend on the resolution, are 17 to 18 % fewer, not 10 %."
    )
    return Finding(found, "the notes are wrong", why)


def spiral(num_points: int = 1000) -> np.ndarray:
    """A 2-D spiral of two turns, (num_points, 2), inside the unit circle."""
    turn = np.linspace(0, 1, num_points)
    angle = 4 * np.pi * turn
    return np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1)


def relu_damage(points: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
    """What ReLU does to `points` (N, 2) embedded by `matrix` (n, 2).

    Returns:
        Relative error of the best multiple of what the pseudo-inverse gives back (ReLU halves what it keeps, which any
        next layer undoes), and the share of points with fewer than two units left, from which no layer can tell the two
        coordinates.
    """
    embedded = np.maximum(points @ matrix.T, 0)
    back = embedded @ np.linalg.pinv(matrix).T
    scale = np.vdot(back, points) / max(np.vdot(back, back), np.finfo(float).tiny)
    error = np.linalg.norm(scale * back - points) / np.linalg.norm(points)
    return float(error), float(np.mean((embedded > 0).sum(axis=1) < points.shape[1]))


@claim(
    13,
    "ReLU destroys a manifold embedded in few dimensions and keeps one in many.",
    published="a spiral in n = 2, 3, 5, 15, 30 dimensions: pictures, no numbers",
    source=f"{_PAPER}, figure 1",
    kind="simulation",
)
def collapse_of_manifolds(lab: Lab) -> Finding:
    """Medians over random embeddings; figure 1 shows one of each."""
    rng = lab.rng()
    points = spiral()
    damages = [
        np.median([relu_damage(points, rng.standard_normal((n, 2))) for _ in range(_NUM_EMBEDDINGS)], axis=0)
        for n in _EMBEDDINGS
    ]
    errors, lost = ([float(damage[i]) for damage in damages] for i in (0, 1))
    falls = all(later < earlier for earlier, later in itertools.pairwise(errors))
    collapses = min(lost[:2]) > 0.25 and max(lost[3:]) < 0.01
    told = ", ".join(
        f"{n}: {percent(e, 0)} ({percent(share, 0)})" for n, e, share in zip(_EMBEDDINGS, errors, lost, strict=True)
    )
    found = f"error of the reconstruction, and points that cannot be recovered, by n: {told}"
    return Finding(found, verdict_of(falls and collapses))


LINEAR_BOTTLENECK = Claim(
    14,
    "A linear bottleneck beats a nonlinear one.",
    published="a figure without numbers: linear above ReLU6",
    source=f"{_PAPER}, figure 6a",
)


@claim(
    15,
    "Shortcuts between the narrow layers need less memory.",
    published="largest tensor that must be materialised, 16 bit: 200 KB (V2), 800 KB (V1)",
    source=f"{_PAPER}, table 3",
)
def memory_of_shortcuts(lab: Lab) -> Finding:
    """The largest tensor between layers, whatever lies inside them being computed piece by piece as the paper proposes."""
    largest_kb: dict[str, dict[int, float]] = {}
    for name in ("mobilenet_v1", "mobilenet_v2"):
        given = [list(parts.values())[-1] for parts in lab.layers(name).values()]
        sizes_kb = [(op.shape[1], num_elements(op.shape) * _ACTIVATION_BYTES / 1000) for op in given]
        first_map = max(side for side, _ in sizes_kb)
        largest_kb[name] = {
            first_map: max(kb for side, kb in sizes_kb if side == first_map),
            first_map // 2: max(kb for side, kb in sizes_kb if side < first_map),
        }
    first, second = largest_kb["mobilenet_v1"], largest_kb["mobilenet_v2"]
    told = "; ".join(f"at {side} px {second[side]:.0f} KB (V2), {first[side]:.0f} KB (V1)" for side in first)
    ratios = {side: first[side] / second[side] for side in first}
    if min(ratios.values()) < 1:
        return Finding(told, "fails here")
    why = (
        "V1's 800 KB is its map of 128 channels at 56 px. V2's 200 KB would be 32 channels there; its table 2 has 24. "
        f"With the larger maps of 112 px the ratio is the published 4 ({ratios[112]:.1f}), without them {ratios[56]:.1f}."
    )
    return Finding(told, "holds in direction", why)
