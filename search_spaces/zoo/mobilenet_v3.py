"""MobileNetV3 (arXiv 1905.02244v5, tables 1 and 2; tensorflow/models slim `mobilenet_v3.py`) and its ablations.

Small has a hidden width of 1024 and no SE on its last convolution, as in slim: the parameter counts of the paper agree.
"""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import (
    minimalistic,
    scaled,
    with_activation,
    with_efficient_last_stage,
    with_expansions,
    with_squeeze_rule,
    with_stem_channels,
)
from search_spaces.naming import Keys, Naming, Part
from search_spaces.zoo.network import History, Network, Published, PublishedTraining
from search_spaces.zoo.timm_names import TIMM_EPSILON, timm_rule

_BODY = (
    "stem_k3_s22_o16_hswish r1_k3_s11_e1_i16_o16 r1_k3_s22_e4_i16_o24 r1_k3_s11_e3_i24_o24 "
    "r3_k5_s22_e3_i24_o40_hse0.25 r1_k3_s22_e6_i40_o80_hswish r1_k3_s11_x200_i80_o80_hswish "
    "r2_k3_s11_x184_i80_o80_hswish r2_k3_s11_e6_i80_o112_hse0.25_hswish r3_k5_s22_e6_i112_o160_hse0.25_hswish "
)
_LARGE = parse_arch(_BODY + "head_o960_f1280_hswish")
_ORIGINAL_LAST_STAGE = parse_arch(_BODY + "r1_k3_s11_e6_i160_o320_hswish head_o1280_hswish")
_SMALL = parse_arch(
    "stem_k3_s22_o16_hswish r1_k3_s22_e1_i16_o16_hse0.25 r1_k3_s22_x72_i16_o24 r1_k3_s11_x88_i24_o24 "
    "r1_k5_s22_e4_i24_o40_hse0.25_hswish r2_k5_s11_e6_i40_o40_hse0.25_hswish "
    "r2_k5_s11_e3_i40_o48_hse0.25_hswish r3_k5_s22_e6_i48_o96_hse0.25_hswish head_o576_f1024_hswish"
)


def _scaled_large(arch: ArchSpec) -> Callable[[float], ArchSpec]:
    # the hidden layer keeps its width, also above 1: so printed counts come out
    return lambda alpha: scaled(arch, alpha)


def _scaled_small(arch: ArchSpec) -> Callable[[float], ArchSpec]:
    # likewise below 1; at 1.25 the printed 3.6 M need it scaled
    return lambda alpha: scaled(arch, alpha, hidden_alpha=max(1.0, alpha))


def _torchvision(part: Part) -> Keys:
    """Names of torchvision `mobilenetv3.py`: every layer numbered, its parts in a sequence."""
    place = f"features.{part.layer}"
    match part.role:
        case "stem" | "head.conv":
            return Keys(f"{place}.0", f"{place}.1")
        case "head.hidden":
            return Keys("classifier.0", flat=True)
        case "classifier":
            return Keys("classifier.3")
        case "se.reduce":
            return Keys(f"{place}.block.{part.position}.fc1")
        case "se.gate":
            return Keys(f"{place}.block.{part.position}.fc2")
        case _:
            return Keys(f"{place}.block.{part.position}.0", f"{place}.block.{part.position}.1")


def _names(stages: tuple[int, ...]) -> dict[str, Naming]:
    # timm counts the last convolution, before the pooling, as a stage
    timm = timm_rule(stages, Keys(f"blocks.{len(stages)}.0.conv", f"blocks.{len(stages)}.0.bn1"))
    return {"torchvision": Naming(_torchvision, 1e-3), "timm": Naming(timm, TIMM_EPSILON)}


_TRAINING = PublishedTraining(
    source="arXiv 1905.02244, section 6.1",
    optimizer="rmsprop",
    learning_rate=0.1,
    batch_size=4096,
    weight_decay=1e-5,
    bn_momentum=0.01,
    decay_factor=0.99,  # "learning rate decay rate of 0.01 every 3 epochs", as re-implementations read it
    decay_epochs=3.0,
    ema_decay=0.9999,
)
# The layers that differ between table 1 and MnasNet-A1; which step of section 4 and 5 each belongs to is told there.
_HISTORY = History(
    "mnasnet_a1",
    {
        "NetAdapt: expansions 96 to 64, 144 to 72, 480 to 200, 184, 184": lambda arch: with_expansions(
            arch, {1: 64, 2: 72, 7: 200, 8: 184, 9: 184}
        ),
        "last stage: pooling before the wide layer": with_efficient_last_stage,
        "stem: 32 to 16 filters": lambda arch: with_stem_channels(arch, 16),
        "SE: a quarter of the expansion, hard sigmoid": lambda arch: with_squeeze_rule(arch, 0.25, "expansion"),
        "h-swish from 80 channels on": lambda arch: with_activation(arch, "hswish", from_channels=80),
    },
)
_APPENDIX = "arXiv 1905.02244v5, table 9"
_README = "slim `mobilenet_v3` README"


def _row(top1: float, macs_m: float, params_m: float | None, latency_ms: float | None) -> Published:
    # the table's multiply-adds lie up to 1.5 % from what its own code builds
    return Published(
        source=_APPENDIX, top1=top1, params_m=params_m, macs_m=macs_m, latency_ms=latency_ms, tolerance=0.015
    )


NETWORKS = {
    "mobilenet_v3_large": Network(
        arch=_LARGE,
        summary="MnasNet-A1 refined by NetAdapt, h-swish, cheaper ends",
        source="arXiv 1905.02244v5, table 1",
        params=5_483_032,
        macs=216_589_760,
        training=_TRAINING,
        scale=_scaled_large(_LARGE),
        names=_names((1, 2, 3, 4, 2, 3)),
        history=_HISTORY,
        published={
            "": _row(75.2, 217, 5.4, 51.2),
            "@1.25": _row(76.6, 356, 7.5, 77.0),
            "@0.75": _row(73.3, 155, 4.0, 39.8),
            "@0.5": _row(68.8, 69, 2.6, 21.7),
            "@0.35": _row(64.2, 40, 2.2, 15.1),
            "/256": _row(76.0, 282, 5.4, 65.6),
            "/192": _row(73.7, 160, 5.4, 38.0),
            "/160": _row(71.7, 112, 5.4, 27.8),
            "/128": _row(68.4, 73, 5.4, 17.8),
            "/96": _row(63.3, 43, 5.4, 12.5),
        },
    ),
    "mobilenet_v3_small": Network(
        arch=_SMALL,
        summary="its sibling for small budgets",
        source="arXiv 1905.02244v5, table 2",
        params=2_542_856,
        macs=56_510_400,
        training=_TRAINING,
        scale=_scaled_small(_SMALL),
        names=_names((1, 2, 3, 2, 3)),
        published={
            "": _row(67.5, 57, 2.5, 15.8),
            "@1.25": _row(70.4, 91, 3.6, 23.6),
            "@0.75": _row(65.4, 44, 2.0, 12.8),
            "@0.5": _row(58.0, 21, 1.6, 7.7),
            "@0.35": Published(source=_APPENDIX, top1=49.8, params_m=1.4, latency_ms=5.7),  # 12.8 M counted, 12 printed
            "/256": _row(68.5, 74, 2.5, 20.0),
            "/192": _row(65.4, 42, None, None),
            "/160": _row(62.8, 30, 2.5, 8.6),
            "/128": _row(57.3, 20, 2.5, 5.8),
            "/96": _row(51.7, 12, 2.5, 4.4),
        },
    ),
    "mobilenet_v3_large_minimalistic": Network(
        arch=minimalistic(_LARGE),
        summary="Large without SE, h-swish and 5x5 kernels",
        source="slim `V3_LARGE_MINIMALISTIC`",
        params=3_924_288,
        macs=209_136_704,
        training=_TRAINING,
        scale=_scaled_large(minimalistic(_LARGE)),
        published={"": Published(source=_README, top1=72.3, params_m=3.9, macs_m=209, latency_ms=44.1)},
    ),
    "mobilenet_v3_small_minimalistic": Network(
        arch=minimalistic(_SMALL),
        summary="Small without SE, h-swish and 5x5 kernels",
        source="slim `V3_SMALL_MINIMALISTIC`",
        params=2_044_736,
        macs=52_288_448,
        training=_TRAINING,
        scale=_scaled_small(minimalistic(_SMALL)),
        # the README's 65 M multiply-adds cannot be reproduced
        published={"": Published(source=_README, top1=61.9, params_m=2.0, latency_ms=12.2)},
    ),
    "mobilenet_v3_large_original_last_stage": Network(
        arch=_ORIGINAL_LAST_STAGE,
        summary="Large with the last stage before its redesign",
        source="arXiv 1905.02244, figure 5, top",
        params=4_983_512,
        macs=250_907_520,
        training=_TRAINING,
    ),
    "mobilenet_v3_large_stem32": Network(
        arch=with_stem_channels(_LARGE, 32),
        summary="Large with 32 first filters",
        source="arXiv 1905.02244, section 5.1",
        params=5_483_928,
        macs=227_026_368,
        training=_TRAINING,
    ),
}
