"""Claims about the activations of MobileNetV3, by latency on this device and by the error of int8 arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nas.claims.claim import Finding, check, gravest
from nas.claims.int8_error import int8_error
from nas.claims.interval import MeanDifference
from nas.claims.judgement import around, judged
from nas.claims.lab import Lab
from nas.claims.mobilenet_v3_activations import softened
from search_spaces.edits import with_activation

if TYPE_CHECKING:
    from onnx import NodeProto

_LARGE = "mobilenet_v3_large"
_SMALL = "mobilenet_v3_small"
_QUANTISED_SIDE = 96  # pixels
_NUM_WEIGHTS = 8


@check(27, "latency")
def error_of_int8(lab: Lab) -> Finding:
    """V3-Small with hard and with soft functions, the same random weights: error of int8, and time."""
    from latency.deployment import Deployment
    from latency.int8 import quantize, seeded_images

    hard = lab.graph(_SMALL, _QUANTISED_SIDE)
    errors = [[int8_error(graph, lab.seed + seed) for graph in (hard, softened(hard))] for seed in range(_NUM_WEIGHTS)]
    means = np.mean(errors, axis=0)
    apart = MeanDifference.of([float(np.log(a / b)) for a, b in errors])
    low, high = np.exp(apart.interval)
    full = lab.graph(_SMALL)
    in_int8 = [quantize(lab.model(graph), seeded_images(Deployment(), 2)) for graph in (full, softened(full))]
    time = lab.ratio(in_int8[0], in_int8[1], "int8 with hard against soft functions")
    found = (
        f"int8 moves the logits of V3-Small by {means[0]:.3f} of their size with hard and {means[1]:.3f} with soft "
        f"functions, hard over soft {np.exp(apart.value):.2f} ({low:.2f} to {high:.2f}) over {_NUM_WEIGHTS} random weights; "
        f"in int8 the hard network takes {time} of the soft one's time"
    )
    operators = [Counter(kernel.op_type for kernel in lab.kernels(model)) for model in in_int8]
    why = (  # the table: onnxruntime, `qlinear_activations.cc`
        f"The runtime executes {operators[1]['QLinearSigmoid']} sigmoids of the soft network in int8, each a table of 256 "
        f"exact values, so that there is no approximation to avoid; and {operators[0]['HardSigmoid']} hard ones in float32, "
        f"between {operators[0]['DequantizeLinear']} conversions from int8."
    )
    verdict = judged((float(low), float(high)), (0.0, 1.0))
    return Finding(found, verdict, "" if verdict == "holds" else why)


# Pixel 1, ms, with the optimised h-swish and with the plain one: arXiv 1905.02244v5, table 5
_TABLE_5 = {"ReLU": (50.5, 50.5), "@112": (51.0, 54.4), "@80": (51.4, 57.5), "@16": (53.5, 68.9)}


@check(28, "latency")
def order_of_placements(lab: Lab) -> Finding:
    """V3-Large with h-swish in ever more layers, each against the one before; sizes between the printed two."""
    relu = with_activation(lab.arch(_LARGE), "relu")
    networks = {"ReLU": relu} | {f"@{n}": with_activation(relu, "hswish", from_channels=n) for n in (112, 80, 16)}
    ratios, verdicts = [], []
    for (name, network), (before, other) in zip(list(networks.items())[1:], networks.items(), strict=False):
        ratio = lab.ratio(network, other, f"h-swish {name} against {before}", grade="final")
        optimised, plain = (now / then for now, then in zip(_TABLE_5[name], _TABLE_5[before], strict=True))
        ratios.append(f"{name} over {before} {ratio} ({optimised:.3f} printed, {plain:.3f} unoptimised)")
        verdicts.append(judged(ratio.interval, (optimised, plain)))
    verdict = gravest(verdicts)
    fused = _num_fused(lab, lab.model(networks["@16"]))
    why = "" if verdict == "holds" else f"The runtime executes {fused} HardSwish of @16 inside convolutions."
    return Finding(f"times of h-swish from N channels on: {', '.join(ratios)}", verdict, why)


Form = Literal["relu", "hard sigmoid and mul", "four operators"]


def with_hard_swish_as(model: bytes, form: Form) -> bytes:
    """An ONNX model with each HardSwish replaced: by ReLU, by HardSigmoid and Mul, by Add, Clip, Mul and Mul."""
    import onnx
    from onnx import TensorProto, helper

    network = onnx.load_from_string(model)
    nodes = [
        new
        for node in network.graph.node
        for new in (_written_as(form, node) if node.op_type == "HardSwish" else (node,))
    ]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    constants = {"three": 3.0, "least": 0.0, "most": 6.0, "sixth": 1 / 6} if form == "four operators" else {}
    network.graph.initializer.extend(
        helper.make_tensor(f"hswish/{name}", TensorProto.FLOAT, [], [value]) for name, value in constants.items()
    )
    rewritten: bytes = network.SerializeToString()
    return rewritten


def _written_as(form: Form, node: NodeProto) -> Iterator[NodeProto]:
    from onnx import helper

    [x], [y] = node.input, node.output

    def made(operator: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(operator, inputs, [output], name=f"{node.name}/{operator}/{output}", **attributes)

    match form:
        case "relu":
            yield made("Relu", [x], y)
        case "hard sigmoid and mul":
            yield made("HardSigmoid", [x], f"{y}/gate", alpha=1 / 6, beta=0.5)
            yield made("Mul", [x, f"{y}/gate"], y)
        case "four operators":
            yield made("Add", [x, "hswish/three"], f"{y}/moved")
            yield made("Clip", [f"{y}/moved", "hswish/least", "hswish/most"], f"{y}/clipped")
            yield made("Mul", [x, f"{y}/clipped"], f"{y}/product")
            yield made("Mul", [f"{y}/product", "hswish/sixth"], y)


def _num_fused(lab: Lab, model: bytes) -> int:
    """Convolutions that the runtime executes with HardSwish inside."""
    return sum(kernel.attributes.get("activation") == "HardSwish" for kernel in lab.kernels(model))


@check(29, "latency")
def cost_of_hard_swish(lab: Lab) -> Finding:
    """V3-Large with h-swish as one operator against ReLU and against the operators that it can be taken apart into."""
    one = lab.model(_LARGE)
    forms: tuple[Form, ...] = ("relu", "hard sigmoid and mul", "four operators")
    relu, two, four = (with_hard_swish_as(one, form) for form in forms)
    over_relu = lab.ratio(one, relu, "h-swish against ReLU")
    of_two = lab.ratio(two, one, "HardSigmoid and Mul against h-swish")
    of_four = lab.ratio(four, one, "Add, Clip, Mul, Mul against h-swish")
    found = (
        f"h-swish takes {over_relu} of ReLU's time (1.018 printed); taken apart into Add, Clip, Mul, Mul it takes {of_four} "
        f"of its own (1.119 printed), as HardSigmoid and Mul {of_two}"
    )
    verdict = gravest([judged(over_relu.interval, around(51.4 / 50.5)), judged(of_four.interval, around(57.5 / 51.4))])
    fused, fused_two, fused_four = (_num_fused(lab, model) for model in (one, two, four))
    why = (
        f"The runtime executes {fused} HardSwish inside convolutions, {fused_two} when written as HardSigmoid and Mul, "
        f"{fused_four} when written as four operators."
    )
    return Finding(found, verdict, why)
