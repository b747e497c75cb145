"""Claims about MobileNetV1 (arXiv 1704.04861)."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import listed, percent, printed_as
from nas.claims.lab import Lab
from search_spaces.arch import BlockSpec, ConvOp
from search_spaces.count import num_weights, op_macs, op_params
from search_spaces.graph import Conv, Graph, Linear, Op
from search_spaces.lower import lower_block
from search_spaces.zoo import ZOO

_PAPER = "arXiv 1704.04861"
_NUM_SHAPES = 200
_PASSABLE_TOP1 = 60.0  # per cent; the notes' line


def _layer(op: ConvOp, kernel: int, stride: int, widths: tuple[int, int], size: int) -> Graph:
    """One layer alone, on a map of side `size`."""
    in_channels, out_channels = widths
    block = BlockSpec(kernel, stride, in_channels, out_channels, op=op, skip="none")
    return lower_block(block, (in_channels, size, size), 1)


def _macs(graph: Graph) -> int:
    return sum(map(op_macs, graph.ops))


@claim(
    1,
    "A depthwise separable convolution costs Dk^2 Df^2 M + M N Df^2 MACs, 1/N + 1/Dk^2 of a full one.",
    published="the same",
    source=f"{_PAPER}, equations 2 to 5",
)
def separable_cost(lab: Lab) -> Finding:
    """The counter against the formulas; Df is the side of the output, so that they hold at stride 2 too."""
    rng = lab.rng()
    ratios: list[Fraction] = []
    right = True
    for _ in range(_NUM_SHAPES):
        kernel, stride = int(rng.choice([1, 3, 5, 7])), int(rng.choice([1, 2]))
        m, n, d_f = (int(value) for value in rng.integers(1, (1025, 1025, 113)))
        full = _macs(_layer("conv", kernel, stride, (m, n), stride * d_f))
        separable = _macs(_layer("dwsep", kernel, stride, (m, n), stride * d_f))
        ratios.append(Fraction(separable, full))
        right &= full == kernel**2 * m * n * d_f**2
        right &= separable == kernel**2 * d_f**2 * m + m * n * d_f**2
        right &= ratios[-1] == Fraction(1, n) + Fraction(1, kernel**2)
    savings = [_macs(_layer("conv", 3, 1, (n, n), 14)) / _macs(_layer("dwsep", 3, 1, (n, n), 14)) for n in (64, 512)]
    found = (
        f"the counter {'equals' if right else 'differs from'} the formulas to the unit in {len(ratios)} random shapes; "
        f"a 3x3 is {savings[0]:.1f} times cheaper at N = 64, {savings[1]:.1f} at 512"
    )
    return Finding(found, verdict_of(right))


@claim(
    2,
    "MobileNet has 8 to 9 times fewer MACs and parameters than its twin of full convolutions.",
    published="4866 against 569 M MACs (8.55 x), 29.3 against 4.2 M parameters (6.98 x)",
    source=f"{_PAPER}, table 4",
)
def fewer_macs_and_params(lab: Lab) -> Finding:
    """Both ratios against the notes' 8 to 9."""
    full, separable = lab.count("conv_mobilenet_v1"), lab.count("mobilenet_v1")
    macs, params = full.macs / separable.macs, full.params / separable.params
    found = f"{macs:.2f} x fewer MACs, {params:.2f} x fewer parameters"
    if not printed_as(macs, "8.55"):
        return Finding(found, "fails here")
    if 8 <= params <= 9:
        return Finding(found, "holds")
    classifier = op_params(lab.graph("mobilenet_v1").ops[-1])
    why = (
        "The paper says 8 to 9 times of the computation alone. The classifier, which both networks share, holds "
        f"{percent(classifier / separable.params, 0)} of MobileNet's parameters."
    )
    return Finding(found, "the notes are wrong", why)


ACCURACY_OF_SEPARABLE = Claim(
    3,
    "Separable convolutions lose only 1 % of the accuracy.",
    published="top-1 71.7 % with full, 70.6 % with separable ones: 1.1 points",
    source=f"{_PAPER}, table 4",
)


def op_type(op: Op) -> str:
    """As table 2 calls it."""
    if isinstance(op, Linear):
        return "fc"
    assert isinstance(op, Conv)
    side = op.kernel[0]
    return f"dw{side}x{side}" if op.groups > 1 else f"conv{side}x{side}"


@claim(
    4,
    "Most of the cost is in the 1x1 convolutions.",
    published="94.86 % of MACs, 74.59 % of parameters; depthwise 3.06 and 1.06, first 1.19 and 0.02, fc 0.18 and 24.33",
    source=f"{_PAPER}, table 2",
)
def cost_by_type(lab: Lab) -> Finding:
    """Shares by type of operation, without BN and biases, as the table has it."""
    macs: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for op in lab.graph("mobilenet_v1").ops:
        if isinstance(op, Conv | Linear):
            macs[op_type(op)] += op_macs(op)
            weights[op_type(op)] += num_weights(op)
    shares = {kind: (100 * macs[kind] / macs.total(), 100 * weights[kind] / weights.total()) for kind in macs}
    printed = {"conv1x1": ("94.86", "74.59"), "dw3x3": ("3.06", "1.06"), "fc": ("0.18", "24.33")}
    right = all(printed_as(*pair) for kind in printed for pair in zip(shares[kind], printed[kind], strict=True))
    told = ", ".join(f"{kind} {shares[kind][0]:.2f} and {shares[kind][1]:.2f}" for kind in (*printed, "conv3x3"))
    why = (
        f"The 1.19 % printed for the first convolution is a slip for {shares['conv3x3'][0]:.2f} %: the printed column "
        "sums to 99.29 %."
    )
    return Finding(f"{told} % of MACs and weights", verdict_of(right), why)


@claim(
    5,
    "The width multiplier alpha scales M and N, cost and parameters by about alpha^2.",
    published="569, 325, 149, 41 M MACs and 4.2, 2.6, 1.3, 0.5 M parameters at 1, 0.75, 0.5, 0.25",
    source=f"{_PAPER}, table 6",
)
def width_multiplier(lab: Lab) -> Finding:
    """Counts of the narrow networks, and the exponent of alpha that they imply."""
    printed = {1.0: ("569", "4.2"), 0.75: ("325", "2.6"), 0.5: ("149", "1.3"), 0.25: ("41", "0.5")}
    counts = {alpha: lab.count(f"mobilenet_v1@{alpha}") for alpha in printed}
    macs = {alpha: found.macs / 1e6 for alpha, found in counts.items()}
    params = {alpha: found.params / 1e6 for alpha, found in counts.items()}
    right = all(printed_as(macs[a], m) and printed_as(params[a], p) for a, (m, p) in printed.items())
    shares = ", ".join(f"{macs[alpha] / macs[1.0]:.3f} ({alpha**2:.3f})" for alpha in (0.75, 0.5, 0.25))
    found = (
        f"{listed(list(macs.values()))} M MACs, {listed(list(params.values()))} M parameters; "
        f"of the full cost (alpha^2): {shares}"
    )
    return Finding(found, verdict_of(right))


@claim(
    6,
    "The resolution multiplier rho scales Df, cost by rho^2.",
    published="569, 418, 290, 186 M MACs at 224, 192, 160, 128 px",
    source=f"{_PAPER}, table 7",
)
def resolution_multiplier(lab: Lab) -> Finding:
    """Counts at the lower resolutions; the classifier alone does not shrink."""
    printed = {224: "569", 192: "418", 160: "290", 128: "186"}
    macs = {side: lab.count("mobilenet_v1", side).macs for side in printed}
    classifier = op_macs(lab.graph("mobilenet_v1").ops[-1])
    exact = all((macs[s] - classifier) * 224**2 == (macs[224] - classifier) * s**2 for s in printed)
    right = exact and all(printed_as(macs[side] / 1e6, text) for side, text in printed.items())
    found = (
        f"{listed([m / 1e6 for m in macs.values()])} M; convolutions {'exactly' if exact else 'not exactly'} by rho^2"
    )
    return Finding(found, verdict_of(right))


@claim(
    7,
    "One layer of 512 channels on 14x14: full, separable, then alpha 0.75, then rho 0.714 as well.",
    published="462, 52.3, 29.6, 15.1 M MACs; 2.36, 0.27, 0.15, 0.15 M parameters",
    source=f"{_PAPER}, table 3",
)
def one_layer(_: Lab) -> Finding:
    """The four layers of the table; 0.75 x 512 = 384, 0.714 x 14 = 10."""
    layers: tuple[tuple[ConvOp, int, int], ...] = (
        ("conv", 512, 14),
        ("dwsep", 512, 14),
        ("dwsep", 384, 14),
        ("dwsep", 384, 10),
    )
    graphs = [_layer(op, 3, 1, (width, width), size) for op, width, size in layers]
    macs = [_macs(graph) / 1e6 for graph in graphs]
    weights = [sum(map(num_weights, graph.ops)) / 1e6 for graph in graphs]
    right = all(map(printed_as, macs, ("462", "52.3", "29.6", "15.1")))
    right &= all(map(printed_as, weights, ("2.36", "0.27", "0.15", "0.15")))
    return Finding(f"{listed(macs)} M MACs; {listed(weights, 2)} M weights", verdict_of(right))


@claim(
    8,
    "Alpha should exceed 0.25 and the resolution 128, or accuracy falls below 60 %.",
    published="top-1 50.6 % at alpha 0.25; at 128 px 64.4 % at alpha 1, 62.1 at 0.75, 56.3 at 0.5",
    source=f"{_PAPER}, tables 6 and 7; slim `mobilenet_v1.md`",
)
def smallest_useful(_: Lab) -> Finding:
    """A look-up: which of the published variants at alpha 0.25 or 128 px stay at 60 % or above."""
    published = ZOO["mobilenet_v1"].published
    narrow = published["@0.25"].top1
    coarse = {
        alpha: published[suffix].top1 for alpha, suffix in ((1.0, "/128"), (0.75, "@0.75/128"), (0.5, "@0.5/128"))
    }
    assert narrow is not None
    passing = [alpha for alpha, top1 in coarse.items() if top1 is not None and top1 >= _PASSABLE_TOP1]
    told = ", ".join(f"{top1} at alpha {alpha:g}" for alpha, top1 in coarse.items())
    found = f"published top-1: alpha 0.25 {narrow} %; 128 px {told}"
    if narrow >= _PASSABLE_TOP1:
        return Finding(found, "fails here")
    if not passing:
        return Finding(found, "holds")
    why = (
        "The half about alpha is right. A resolution of 128 px keeps 60 % and more down to alpha "
        f"{min(passing):g}; it falls below only together with a narrower network."
    )
    return Finding(found, "the notes are wrong", why)


@claim(
    9,
    "MobileNet has 28 layers; BN and ReLU follow the depthwise and the 1x1 convolution.",
    published="28 layers, depthwise and 1x1 counted apart",
    source=f"{_PAPER}, section 3.2 and figure 3",
)
def layers_and_activations(lab: Lab) -> Finding:
    """The built graph, operation by operation."""
    weighted = [op for op in lab.graph("mobilenet_v1").ops if isinstance(op, Conv | Linear)]
    convolutions = [op for op in weighted if isinstance(op, Conv)]
    dressed = sum(op.norm is not None and op.activation == "relu" for op in convolutions)
    found = f"{len(weighted)} layers; BN and ReLU after {dressed} of {len(convolutions)} convolutions"
    return Finding(found, verdict_of(len(weighted) == 28 and dressed == len(convolutions) == 27))
