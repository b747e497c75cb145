"""Claims about Inception-V3 (arXiv 1512.00567)."""

from __future__ import annotations

from collections import Counter

from nas.claims.claim import Finding, claim, verdict_of
from nas.claims.figures import percent, printed_as
from nas.claims.lab import Lab
from search_spaces.arch import DEFAULT_NORM
from search_spaces.count import count, num_elements, num_weights, op_macs
from search_spaces.emitter import Emitter, Tensor
from search_spaces.graph import INPUT, Concat, Graph, Op, Shape
from search_spaces.values import Kernel

_PAPER = "arXiv 1512.00567"
_MAP = (192, 17, 17)  # channels, height, width of an inner map of the network


def chain(*kernels: Kernel, shape: Shape = _MAP) -> list[Op]:
    """Convolutions one behind another that keep the width of a map of `shape`."""
    emit = Emitter(DEFAULT_NORM)
    x = Tensor(INPUT, shape)
    for number, kernel in enumerate(kernels, start=1):
        x = emit.conv(f"conv{number}", x, shape[0], kernel=kernel, activation="relu")
    return emit.ops


def _saved(cost: str, whole: Kernel, *factors: Kernel) -> float:
    """Share of the weights, or of the MACs, that factors save."""
    measure = {"weights": num_weights, "macs": op_macs}[cost]
    return 1 - sum(map(measure, chain(*factors))) / sum(map(measure, chain(whole)))


@claim(
    51,
    "Factorising a convolution saves parameters and MACs.",
    published="two 3x3 in place of a 5x5: 28 %",
    source=f"{_PAPER}, section 3.1",
)
def two_threes(_: Lab) -> Finding:
    """Both costs at equal widths."""
    weights, macs = (_saved(cost, (5, 5), (3, 3), (3, 3)) for cost in ("weights", "macs"))
    found = f"two 3x3 save {percent(weights)} of the weights and {percent(macs)} of the MACs of a 5x5"
    return Finding(found, verdict_of(printed_as(100 * weights, "28") and printed_as(100 * macs, "28")))


@claim(
    52,
    "A 3x3 as 1x3 and 3x1 has 33 % fewer parameters.",
    published="33 %; two 2x2 save 11 %",
    source=f"{_PAPER}, section 3.2",
)
def one_by_three(_: Lab) -> Finding:
    """Weights of the asymmetric factors, and of two 2x2 for comparison."""
    three = _saved("weights", (3, 3), (1, 3), (3, 1))
    seven = _saved("weights", (7, 7), (1, 7), (7, 1))
    twos = _saved("weights", (3, 3), (2, 2), (2, 2))
    found = (
        f"1x3 and 3x1 save {percent(three)}, 1x7 and 7x1 {percent(seven)} of a 7x7, two 2x2 {percent(twos)} of a 3x3"
    )
    return Finding(found, verdict_of(printed_as(100 * three, "33") and printed_as(100 * twos, "11")))


def grid_reductions(channels: int, side: int) -> dict[str, Graph]:
    """Three ways from a map of `side` and `channels` to one of half the side and twice the channels.

    Args:
        channels: k of the paper.
        side: d, even.
    """

    def pool_then_expand(emit: Emitter, x: Tensor) -> None:
        x = emit.max_pool("pool", x, 3, 2, "ceil")
        emit.conv("conv", x, 2 * channels, kernel=3, activation="relu")

    def expand_then_pool(emit: Emitter, x: Tensor) -> None:
        x = emit.conv("conv", x, 2 * channels, kernel=3, activation="relu")
        emit.max_pool("pool", x, 3, 2, "ceil")

    def parallel(emit: Emitter, x: Tensor) -> None:
        convolved = emit.conv("conv", x, channels, kernel=3, stride=2, activation="relu")
        emit.concat("concat", [convolved, emit.max_pool("pool", x, 3, 2, "ceil")])

    graphs: dict[str, Graph] = {}
    for way in (expand_then_pool, pool_then_expand, parallel):
        emit = Emitter(DEFAULT_NORM)
        way(emit, Tensor(INPUT, (channels, side, side)))
        graphs[way.__name__] = Graph((channels, side, side), tuple(emit.ops))
    return graphs


@claim(
    53,
    "Pooling before expanding loses information, expanding before pooling is costly; both in parallel are efficient.",
    published="2 d^2 k^2, 2 (d/2)^2 k^2 through a bottleneck of (d/2)^2 k, (d/2)^2 k^2",
    source=f"{_PAPER}, section 5 and figures 9 and 10",
)
def reduction_of_the_grid(_: Lab) -> Finding:
    """MACs of the three, and the narrowest map that everything passes."""
    graphs = grid_reductions(channels=320, side=34)
    macs = {way: count(graph).macs for way, graph in graphs.items()}
    unit = macs["parallel"]
    given = {num_elements(graph.ops[-1].shape) for graph in graphs.values()}
    pooled = num_elements(graphs["pool_then_expand"].ops[0].shape)
    [output] = given  # all three give a map of one shape
    ratios = [macs[way] / unit for way in ("expand_then_pool", "pool_then_expand", "parallel")]
    found = (
        f"MACs {' : '.join(f'{ratio:g}' for ratio in ratios)} (expand first, pool first, parallel); pooling first "
        f"passes {percent(pooled / output, 0)} of the values that all three give"
    )
    return Finding(found, verdict_of(ratios == [8, 2, 1] and 2 * pooled == output))


@claim(
    54,
    "V3 makes 7.8 % and 3.8 % less error than V1 and V2.",
    published="top-1 error 29.0, 25.2, 21.2 %; top-5 9.2, 7.8, 5.6 %",
    source=f"{_PAPER}, table 3",
)
def less_error(_: Lab) -> Finding:
    """A look-up: the differences of the published errors."""
    googlenet, with_bn, v3 = 29.0, 25.2, 21.2
    points = (googlenet - v3, with_bn - v3)
    found = f"{points[0]:.1f} and {points[1]:.1f} points of top-1 by the published errors"
    if not printed_as(round(points[0], 1), "7.8"):
        return Finding(found, "fails here")
    if f"{points[1]:.1f}" == "3.8":
        return Finding(found, "holds")
    why = "7.8 is right. 3.8 stands in the table's column of costs (G MACs of its Inception-v2)."
    return Finding(found, "the notes are wrong", why)


@claim(
    55,
    "The structure of Inception-V3.",
    published="23,834,568 parameters, 27,161,264 with the auxiliary head, 5.71 G MACs at 299 px",
    source="torchvision `inception_v3.py`; table 1 of arXiv 1512.00567 prints one module more at 17x17",
)
def structure(lab: Lab) -> Finding:
    """Counts for inference and training, and the modules on each grid."""
    inference = lab.count("inception_v3")
    training = count(lab.graph("inception_v3", training=True))
    modules: Counter[int] = Counter()
    for op in lab.graph("inception_v3").ops:
        if isinstance(op, Concat):
            modules[op.shape[1]] += 1
    grids = ", ".join(f"{number} on {side}x{side}" for side, number in modules.items())
    found = (
        f"{inference.params:,} parameters, {training.params:,} with the auxiliary head, {inference.macs / 1e9:.3f} G; "
        f"modules, the two reductions included: {grids}"
    )
    right = (inference.params, training.params) == (23_834_568, 27_161_264) and printed_as(inference.macs / 1e9, "5.71")
    return Finding(found, verdict_of(right and modules == {35: 3, 17: 5, 8: 3}))
