"""MobileNetV1 (arXiv 1704.04861, table 1; tensorflow/models slim `mobilenet_v1.py`) and its plain-convolution twin.

ReLU as the paper says, where slim has ReLU6. The last depthwise convolution has stride 1: the printed 2 contradicts the
sizes beside it and the printed multiply-adds.
"""

from __future__ import annotations

from dataclasses import replace

from search_spaces.arch import ArchSpec, BlockSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import scaled
from search_spaces.zoo.network import Network, Published, PublishedTraining

_MOBILENET_V1 = parse_arch(
    "r1_k3_s11_dwsep_i32_o64_noskip r1_k3_s22_dwsep_i64_o128_noskip r1_k3_s11_dwsep_i128_o128_noskip "
    "r1_k3_s22_dwsep_i128_o256_noskip r1_k3_s11_dwsep_i256_o256_noskip r1_k3_s22_dwsep_i256_o512_noskip "
    "r5_k3_s11_dwsep_i512_o512_noskip r1_k3_s22_dwsep_i512_o1024_noskip r1_k3_s11_dwsep_i1024_o1024_noskip "
    "head_noconv_d0.001"
)


def with_plain_convolutions(arch: ArchSpec) -> ArchSpec:
    """Every pair of depthwise and 1x1 convolution becomes one full convolution (arXiv 1704.04861, section 4.1)."""
    blocks = (replace(b, op="conv") if isinstance(b, BlockSpec) and b.op == "dwsep" else b for b in arch.blocks)
    return replace(arch, blocks=tuple(blocks))


def _width(value: float) -> int:
    return max(int(value), 8)  # slim `mobilenet_v1.py: depth`; no rounding to 8


def _scaled(alpha: float) -> ArchSpec:
    return scaled(_MOBILENET_V1, alpha, _width)


_TRAINING = PublishedTraining(
    source="arXiv 1704.04861, section 3.2; constants of slim `mobilenet_v1_train.py`",
    optimizer="rmsprop",
    learning_rate=0.045,
    batch_size=64,
    weight_decay=4e-5,
    decays_depthwise=False,  # "very little or no weight decay on the depthwise filters"
    bn_momentum=0.0003,
    decay_factor=0.94,
    decay_epochs=2.5,
)

_PAPER = "arXiv 1704.04861, tables 4, 6 and 7"
_SLIM = "slim `mobilenet_v1.md`, checkpoints of 2018-02-22"


def _slim(top1: float, params_m: float, macs_m: float | None) -> Published:
    # slim's 1.34 M at width 0.5 are 1.33 counted
    return Published(source=_SLIM, top1=top1, params_m=params_m, macs_m=macs_m)


_PUBLISHED = {
    "": Published(source=_PAPER, top1=70.6, params_m=4.2, macs_m=569, latency_ms=113),
    "@0.75": Published(source=_PAPER, top1=68.4, params_m=2.6, macs_m=325),
    "@0.5": Published(source=_PAPER, top1=63.7, params_m=1.3, macs_m=149),
    "@0.25": Published(source=_PAPER, top1=50.6, params_m=0.5, macs_m=41),
    "/192": Published(source=_PAPER, top1=69.1, params_m=4.2, macs_m=418),
    "/160": Published(source=_PAPER, top1=67.2, params_m=4.2, macs_m=290),
    "/128": Published(source=_PAPER, top1=64.4, params_m=4.2, macs_m=186),
    # the multiply-adds of slim's rows at 0.75, and at 0.25/192, contradict the paper's and every count
    "@0.75/192": _slim(67.2, 2.59, None),
    "@0.75/160": _slim(65.3, 2.59, None),
    "@0.75/128": _slim(62.1, 2.59, None),
    "@0.5/192": _slim(61.7, 1.34, 110),
    "@0.5/160": _slim(59.1, 1.34, 77),
    "@0.5/128": _slim(56.3, 1.34, 49),
    "@0.25/192": _slim(47.7, 0.47, None),
    "@0.25/160": _slim(45.5, 0.47, 21),
    "@0.25/128": _slim(41.5, 0.47, 14),
}

NETWORKS = {
    "mobilenet_v1": Network(
        arch=_MOBILENET_V1,
        summary="depthwise separable convolutions",
        source="arXiv 1704.04861, table 1",
        params=4_231_976,
        macs=568_740_352,
        training=_TRAINING,
        published=_PUBLISHED,
        scale=_scaled,
    ),
    "conv_mobilenet_v1": Network(
        arch=with_plain_convolutions(_MOBILENET_V1),
        summary="MobileNetV1 with full convolutions",
        source="arXiv 1704.04861, table 4",
        params=29_294_088,
        macs=4_867_293_184,
        training=_TRAINING,
        published={"": Published(source=_PAPER, top1=71.7, params_m=29.3, macs_m=4866, tolerance=0.0003)},
        scale=lambda alpha: with_plain_convolutions(_scaled(alpha)),
    ),
}
