"""MnasNet (arXiv 1807.11626, figure 7 and table 4; the strings are those of tensorflow/tpu `mnasnet_models.py`).

In MnasNet-small the code's string of block 1 declares 16 input filters while the stem gives 8: it really runs on 8, and
the test for a skip compares 16 with 8, so there is none.
"""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import scaled
from search_spaces.naming import Keys, Naming, Part
from search_spaces.zoo.network import Network, Published, PublishedTraining
from search_spaces.zoo.timm_names import TIMM_EPSILON, timm_rule

_A1 = parse_arch(
    "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k5_s22_e3_i24_o40_se0.25 r4_k3_s22_e6_i40_o80 "
    "r2_k3_s11_e6_i80_o112_se0.25 r3_k5_s22_e6_i112_o160_se0.25 r1_k3_s11_e6_i160_o320"
)
_B1 = parse_arch(
    "r1_k3_s11_e1_i32_o16_noskip r3_k3_s22_e3_i16_o24 r3_k5_s22_e3_i24_o40 r3_k5_s22_e6_i40_o80 "
    "r2_k3_s11_e6_i80_o96 r4_k5_s22_e6_i96_o192 r1_k3_s11_e6_i192_o320_noskip"
)
_SMALL = parse_arch(
    "stem_k3_s22_o8 r1_k3_s11_e1_i8_o8_noskip r1_k3_s22_e3_i8_o16 r2_k3_s22_e6_i16_o16 r4_k5_s22_e6_i16_o32_se0.25 "
    "r3_k3_s11_e6_i32_o32_se0.25 r3_k5_s22_e6_i32_o88_se0.25 r1_k3_s11_e6_i88_o144 head_o1280_d0"
)


def _scaled(arch: ArchSpec) -> Callable[[float], ArchSpec]:
    return lambda alpha: scaled(arch, alpha, head_alpha=1.0)  # the head is never scaled


_A1_STAGES = (1, 2, 3, 4, 2, 3, 1)
_B1_STAGES = (1, 3, 3, 3, 2, 4, 1)


def _torchvision(part: Part) -> Keys:
    """Names of torchvision `mnasnet.py`: one sequence, of which a stage is one place, but the first is laid open."""
    if part.role == "classifier":
        return Keys("classifier.1")
    if not part.siblings or part.layer == 1:
        number = {"stem": 0, "depthwise": 3, "project": 6, "head.conv": 14}[part.role]
        return Keys(f"layers.{number}", f"layers.{number + 1}")
    places = [f"layers.{7 + stage}.{i}" for stage, layers in enumerate(_B1_STAGES) for i in range(layers)]
    within = f"{places[part.layer - 1]}.layers"
    return Keys(f"{within}.{3 * part.position}", f"{within}.{3 * part.position + 1}")


_TRAINING = PublishedTraining(
    source="arXiv 1807.11626, section 5",
    optimizer="rmsprop",
    learning_rate=0.256,
    batch_size=4096,
    rmsprop_epsilon=0.001,  # tensorflow/tpu `mnasnet_utils.py: build_optimizer`; the paper has none
    weight_decay=1e-5,
    bn_momentum=0.01,
    warmup_epochs=5.0,
    decay_factor=0.97,
    decay_epochs=2.4,
)
_README = "tensorflow/tpu `mnasnet` README"
_TORCHVISION = "torchvision `mnasnet.py`"


def _a1(top1: float, params_m: float, macs_m: float, latency_ms: float) -> Published:
    # the README's multiply-adds lie 1.2 to 2.4 % above every count; the paper's 312 M is exact
    return Published(
        source=_README, top1=top1, params_m=params_m, macs_m=macs_m, latency_ms=latency_ms, tolerance=0.025
    )


def _b1(params: int, macs_m: float, top1: float) -> Published:
    return Published(source=_TORCHVISION, top1=top1, params_m=params / 1e6, macs_m=macs_m)


NETWORKS = {
    "mnasnet_a1": Network(
        arch=_A1,
        summary="found by search, with SE; the seed of MobileNetV3-Large",
        source="arXiv 1807.11626, figure 7(a)",
        params=3_887_038,
        macs=311_579_072,
        training=_TRAINING,
        scale=_scaled(_A1),
        names={"timm": Naming(timm_rule(_A1_STAGES), TIMM_EPSILON)},
        published={
            "": Published(source="arXiv 1807.11626, table 1", top1=75.2, params_m=3.9, macs_m=312, latency_ms=78),
            "@1.4": _a1(77.2, 6.1, 591.5, 135),
            "@0.75": _a1(73.3, 2.9, 226.7, 61),
            "@0.5": _a1(68.9, 2.1, 105.2, 32),
            "@0.35": _a1(64.1, 1.7, 63.2, 22),
            "@1.4/192": _a1(76.1, 6.1, 435.1, 99),
            "/192": _a1(74.0, 3.9, 232.0, 57),
            "@0.75/192": _a1(72.1, 2.9, 166.9, 45),
            "@0.5/192": _a1(67.2, 2.1, 77.6, 24),
            "@0.35/192": _a1(62.4, 1.7, 46.8, 17),
            "@1.4/160": _a1(74.8, 6.1, 302.8, 72),
            "/160": _a1(72.0, 3.9, 161.6, 41),
            "@0.75/160": _a1(70.1, 2.9, 116.4, 33),
            "@0.5/160": _a1(64.9, 2.1, 54.4, 18),
            "@0.35/160": _a1(59.3, 1.7, 32.9, 13),
            "@1.4/128": _a1(72.5, 6.1, 194.5, 49),
            "/128": _a1(69.3, 3.9, 104.1, 29),
            "@0.75/128": _a1(67.0, 2.9, 75.0, 23),
            "@0.5/128": _a1(60.8, 2.1, 35.3, 12),
            "@0.35/128": _a1(54.8, 1.7, 21.6, 8.5),
            "@1.4/96": _a1(68.6, 6.1, 110.3, 32),
            "/96": _a1(64.4, 3.9, 59.3, 18),
            "@0.75/96": _a1(62.1, 2.9, 42.9, 17),
            "@0.5/96": _a1(54.7, 2.1, 20.5, 7.4),
            "@0.35/96": _a1(49.3, 1.7, 12.7, 5.4),
        },
    ),
    "mnasnet_b1": Network(
        arch=_B1,
        summary="found by search, without SE",
        source="tensorflow/tpu `mnasnet_b1`; torchvision `mnasnet1_0`",
        params=4_383_312,
        macs=314_415_872,
        training=_TRAINING,
        scale=_scaled(_B1),
        names={
            "torchvision": Naming(_torchvision, 1e-5),
            "timm": Naming(timm_rule(_B1_STAGES), TIMM_EPSILON),
        },
        published={
            "": Published(
                source="arXiv 1807.11626, table 2", top1=74.5, params_m=4.4, macs_m=315, latency_ms=77, tolerance=0.003
            ),  # 314.4 counted
            "@0.5": _b1(2_218_512, 104, 67.734),
            "@0.75": _b1(3_170_208, 215, 71.180),
            "@1.3": _b1(6_282_256, 526, 76.506),
        },
    ),
    "mnasnet_small": Network(
        arch=_SMALL,
        summary="found by search for 22 ms",
        source="tensorflow/tpu `mnasnet_small`",
        params=2_030_264,
        macs=68_339_184,
        training=_TRAINING,
        scale=_scaled(_SMALL),
        published={"": Published(source=_README, top1=66.0, params_m=2.0, macs_m=68, latency_ms=23.2)},
    ),
}
