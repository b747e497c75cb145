"""Claims about MobileNets, by short paired trainings of small networks of their kind: directions, hardly sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nas.claims.claim import Finding, check
from nas.claims.digits_training import ANY_GAIN, NUM_SEEDS, accuracy, as_built, gain, images, small, trained
from nas.claims.int8_error import logits
from nas.claims.interval import Interval, MeanDifference
from nas.claims.judgement import judged
from nas.claims.lab import Lab
from nas.claims.mobilenet_v3_activations import softened
from search_spaces.arch_string import parse_arch
from search_spaces.edits import without_squeeze
from search_spaces.graph import Conv, Graph, Op
from search_spaces.zoo.mobilenet_v1 import with_plain_convolutions

if TYPE_CHECKING:
    from nas.training import ImageSet
    from search_spaces.torch_module import GraphModule

_SEPARABLE = parse_arch(
    "stem_k3_s11_o16 r1_k3_s11_dwsep_i16_o32_noskip r1_k3_s22_dwsep_i32_o64_noskip r1_k3_s11_dwsep_i64_o64_noskip "
    "r1_k3_s22_dwsep_i64_o128_noskip r1_k3_s11_dwsep_i128_o128_noskip head_noconv_d0"
)
_INVERTED = parse_arch(
    "stem_k3_s11_o16_relu6 r1_k3_s11_e1_i16_o8_relu6 r2_k3_s22_e6_i8_o12_relu6 r2_k3_s22_e6_i12_o16_relu6 "
    "head_o64_relu6_d0"
)
_HARD = parse_arch(
    "stem_k3_s11_o8_hswish r1_k3_s22_e3_i8_o12_hse0.25_hswish r1_k3_s11_e3_i12_o12_hse0.25_hswish "
    "r1_k3_s22_e4_i12_o24_hse0.25_hswish r1_k3_s11_e4_i24_o24_hse0.25_hswish head_o96_f64_hswish_d0"
)
_NOT_DISCERNIBLE = (-1.0, 1.0)  # points


_SMALL_SCALE = "Networks of a few layers on digits of 8x8 pixels; what was published is of whole networks on ImageNet."


def _finding(what: str, difference: MeanDifference, claimed: Interval) -> Finding:
    verdict = judged(difference.interval, claimed, neutral=0.0)
    found = f"on the digits {what} {difference} points over {difference.number} pairs"
    return Finding(found, verdict, "" if verdict == "holds" else _SMALL_SCALE)


@check(3, "training")
def accuracy_of_separable(lab: Lab) -> Finding:
    """Six layers, full against separable; half to twice the published difference counts as its size."""
    published = 71.7 - 70.6  # points: arXiv 1704.04861, table 4
    full = small(with_plain_convolutions(_SEPARABLE))
    difference = gain(lab, full, small(_SEPARABLE), "full against separable convolutions")
    return _finding("full convolutions are better by", difference, (published / 2, published * 2))


def with_nonlinear_projections(graph: Graph) -> Graph:
    """ReLU6 after each projection too."""

    def nonlinear(op: Op) -> Op:
        return replace(op, activation="relu6") if isinstance(op, Conv) and op.name.endswith(".project") else op

    return replace(graph, ops=tuple(map(nonlinear, graph.ops)))


def _gammas_of_one(module: GraphModule) -> None:
    """A linear end of a skipped branch starts with gamma 0, a nonlinear one cannot: here both start alike."""
    from torch import nn

    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)


@check(14, "training")
def linear_bottlenecks(lab: Lab) -> Finding:
    """A small V2 as it is against one with ReLU6 after each projection; figure 6(a) of the paper has no numbers."""
    network = small(_INVERTED)
    difference = gain(
        lab,
        network,
        with_nonlinear_projections(network),
        "linear against nonlinear bottlenecks",
        initialise=_gammas_of_one,
    )
    return _finding("linear bottlenecks are better by", difference, ANY_GAIN)


@check(17, "training")
def accuracy_of_squeeze(lab: Lab) -> Finding:
    """A small V3 with SE against one without."""
    difference = gain(lab, small(_HARD), small(without_squeeze(_HARD)), "SE against none")
    return _finding("SE is better by", difference, ANY_GAIN)


@check(26, "training")
def accuracy_of_hard_functions(lab: Lab) -> Finding:
    """A small V3 against the same with swish and sigmoid; less than a point is not discernible."""
    network = small(_HARD)
    difference = gain(lab, network, softened(network), "hard against soft functions")
    return _finding("hard functions are better by", difference, _NOT_DISCERNIBLE)


_NUM_CALIBRATION = 256  # images


def int8_loss(module: GraphModule, seed: int) -> float:
    """Points of accuracy that a trained module loses in int8, calibrated on images that it was trained on."""
    from latency.int8 import quantize
    from search_spaces.onnx_model import emit_onnx, given_weights
    from search_spaces.torch_module import folded_weights

    training, held_out = images(seed)
    network = emit_onnx(module.graph, given_weights(folded_weights(module)), batch=None)
    in_int8 = quantize(network, [_normalised(training)[:_NUM_CALIBRATION]])
    labels = held_out.labels.numpy()
    right = np.mean(logits(in_int8, [_normalised(held_out)]).argmax(axis=1) == labels)
    return accuracy(module, seed) - 100 * float(right)


def _normalised(data: ImageSet) -> np.ndarray:
    array: np.ndarray = data.normalised(data.images).contiguous().numpy()
    return array


@check(27, "training")
def accuracy_in_int8(lab: Lab) -> Finding:
    """The networks of claim 26, trained, in int8: how much more the soft one loses."""
    network = small(_HARD)
    losses = []
    for seed in range(lab.seed, lab.seed + NUM_SEEDS):
        lab.say(f"int8 of hard and soft functions, pair {seed - lab.seed + 1} of {NUM_SEEDS}")
        losses.append([int8_loss(trained(graph, seed, as_built), seed) for graph in (network, softened(network))])
    hard, soft = np.mean(losses, axis=0)
    difference = MeanDifference.of([after - before for before, after in losses])
    what = f"int8 costs {hard:.2f} points with hard, {soft:.2f} with soft functions: a difference of"
    return _finding(what, difference, ANY_GAIN)
