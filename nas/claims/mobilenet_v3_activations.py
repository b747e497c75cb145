"""Claims about the activations of MobileNetV3 (arXiv 1905.02244v5, section 5.2)."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import listed, percent
from nas.claims.lab import Lab
from search_spaces.count import num_elements
from search_spaces.edits import with_activation
from search_spaces.graph import Add, Conv, Graph, Linear, Op
from search_spaces.values import Activation

_PAPER = "arXiv 1905.02244v5"
_POINTS = (-4.0, -3.0, -1.5, 0.0, 3.0, 4.0)


@claim(
    25,
    "hard-sigmoid is ReLU6(x + 3) / 6, h-swish is x times that.",
    published="the same",
    source=f"{_PAPER}, section 5.2",
)
def hard_formulas(_: Lab) -> Finding:
    """What the trained networks run, against the formulas in NumPy and against the soft functions."""
    import torch
    from torch.nn import functional as F

    grid = np.linspace(-10, 10, 200_001)
    x = torch.from_numpy(grid)
    hard_sigmoid = np.clip(grid + 3, 0, 6) / 6
    apart = max(
        float(np.abs(F.hardsigmoid(x).numpy() - hard_sigmoid).max()),
        float(np.abs(F.hardswish(x).numpy() - grid * hard_sigmoid).max()),
    )
    to_swish = float((F.hardswish(x) - F.silu(x)).abs().max())
    to_sigmoid = float((F.hardsigmoid(x) - torch.sigmoid(x)).abs().max())
    values = F.hardswish(torch.tensor(_POINTS, dtype=torch.float64)).tolist()
    points, told = (", ".join(f"{number + 0.0:g}" for number in numbers) for numbers in (_POINTS, values))  # no -0
    found = (
        f"h-swish at {points} is {told}; at most {to_swish:.4f} from swish, hard-sigmoid {to_sigmoid:.4f} from sigmoid"
    )
    right = apart < 1e-12 and np.allclose(values, [0, 0, -0.375, 0, 3, 4], atol=1e-12)
    return Finding(found, verdict_of(right))


_SOFT: dict[Activation, Activation] = {"hswish": "swish", "hsigmoid": "sigmoid"}


def softened(graph: Graph) -> Graph:
    """The same operations with swish and sigmoid in place of their hard versions."""

    def soft(op: Op) -> Op:
        if isinstance(op, Conv | Add | Linear) and op.activation in _SOFT:
            return replace(op, activation=_SOFT[op.activation])
        return op

    return replace(graph, ops=tuple(map(soft, graph.ops)))


HARD_ACCURACY = Claim(
    26,
    "The hard functions show no difference in accuracy from the soft ones.",
    published="the same, without numbers",
    source=f"{_PAPER}, section 5.2",
)

HARD_QUANTISED = Claim(
    27,
    "h-swish is friendlier to quantised arithmetic.",
    published="8 bit: V3-Large 75.2 to 73.8 %, V2 72.0 to 70.9 %",
    source=f"{_PAPER}, table 4",
)


def _inner_activations(graph: Graph) -> list[Conv]:
    """Convolutions with an activation on a map: not those inside SE, nor the hidden layer behind the pooling."""
    convolutions = (op for op in graph.ops if isinstance(op, Conv) and op.shape[1] > 1)
    return [op for op in convolutions if op.activation != "none" and ".se." not in op.name]


def _hard_share(graph: Graph) -> float:
    elements: Counter[str] = Counter()
    for op in _inner_activations(graph):
        elements[op.activation] += num_elements(op.shape)
    return elements["hswish"] / elements.total()


@claim(
    28,
    "Activations cost less the deeper they are, so h-swish is used in the second half alone.",
    published="activation memory about halves with each drop of resolution; @16 75.4 % 53.5 ms (68.9 unoptimised), @80 "
    "75.2 % 51.4 (57.5), @112 75.0 % 51.0 (54.4), ReLU 74.5 % 50.5",
    source=f"{_PAPER}, section 5.2 and table 5",
)
def cost_by_depth(lab: Lab) -> Finding:
    """Mean elements of an activation at each resolution of V3-Large, and the share of them that is h-swish."""
    by_side: dict[int, list[int]] = {}
    for op in _inner_activations(lab.graph("mobilenet_v3_large")):
        by_side.setdefault(op.shape[1], []).append(num_elements(op.shape))
    means = [sum(sizes) / len(sizes) for sizes in by_side.values()]
    drops = [later / earlier for earlier, later in itertools.pairwise(means)]
    drop = float(np.prod(drops)) ** (1 / len(drops))
    after_stem = [op.activation for op in _inner_activations(lab.graph("mobilenet_v3_large"))][1:]
    deeper = after_stem == sorted(after_stem, reverse=True)  # relu, then hswish, and never back
    large, small = (_hard_share(lab.graph(name)) for name in ("mobilenet_v3_large", "mobilenet_v3_small"))
    everywhere = _hard_share(lab.graph(with_activation(lab.arch("mobilenet_v3_large"), "hswish")))
    found = (
        f"elements of an activation times {listed(drops, 2)} from resolution to resolution, {drop:.2f} in the mean; h-swish "
        f"on {percent(large)} of them in Large (@80), {percent(small)} in Small, {percent(everywhere, 0)} in Large @16"
    )
    halves = max(drops) < 1 and 0.4 <= drop <= 0.6
    return Finding(found, verdict_of(halves and deeper and 0 < large < everywhere))


HARD_LATENCY = Claim(
    29,
    "h-swish still adds some latency; an optimised version takes most of it away.",
    published="57.5 to 51.4 ms (-6 ms, over 10 %), 1 ms above ReLU",
    source=f"{_PAPER}, section 5.2 and table 5",
)
