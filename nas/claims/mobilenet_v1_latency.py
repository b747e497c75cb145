"""Claims about MobileNetV1, by latency on this device."""

from __future__ import annotations

from collections import defaultdict

from nas.claims.claim import Finding, check, gravest
from nas.claims.figures import percent
from nas.claims.judgement import TOLERANCE, around, judged
from nas.claims.kernel_time import op_times_us, time_share, unless_it_holds
from nas.claims.lab import Lab
from nas.claims.mobilenet_v1 import op_type
from search_spaces.arch import BlockSpec, ConvOp
from search_spaces.count import count, op_macs
from search_spaces.graph import Conv, Graph, Linear
from search_spaces.lower import lower_block

_REPEATS = 3  # so that the layers, and not what stands around them, take the time
_MAPS = {32: 112, 64: 112, 128: 56, 256: 28, 512: 14, 1024: 7}  # width N -> side where the network has such layers


def equal_width_layers(op: ConvOp, width: int) -> Graph:
    """3x3 convolutions, full or separable, from `width` to `width` channels."""
    side = _MAPS[width]
    return lower_block(BlockSpec(3, 1, width, width, op=op, skip="none", repeats=_REPEATS), (width, side, side), 1)


@check(1, "latency")
def separable_time(lab: Lab) -> Finding:
    """Separable against full convolutions of each width, against the ratio of their MACs."""
    ratios, verdicts = [], []
    for width in _MAPS:
        separable, full = equal_width_layers("dwsep", width), equal_width_layers("conv", width)
        ratio = lab.ratio(separable, full, f"separable against full convolution of {width} channels")
        predicted = 1 / width + 1 / 9
        ratios.append(f"{ratio} at N = {width} ({predicted:.3f})")
        verdicts.append(judged(ratio.interval, around(predicted)))
    verdict = gravest(verdicts)
    why = ""
    if verdict != "holds":
        narrow, wide = (_depthwise_shares(lab, width) for width in (min(_MAPS), max(_MAPS)))
        why = (
            f"The depthwise convolution has {percent(narrow[0], 0)} of the pair's MACs and takes {percent(narrow[1], 0)} of "
            f"its time at {min(_MAPS)} channels, {percent(wide[0], 0)} and {percent(wide[1], 0)} at {max(_MAPS)}: it reads "
            "and writes much for each MAC."
        )
    return Finding(f"of a full convolution's time (1/N + 1/9): {', '.join(ratios)}", verdict, why)


def _depthwise_shares(lab: Lab, width: int) -> tuple[float, float]:
    """Shares of the depthwise convolutions of separable layers: of MACs, and of time under profiling."""
    layers = equal_width_layers("dwsep", width)
    depthwise = sum(op_macs(op) for op in layers.ops if op.name.endswith("depthwise"))
    return depthwise / count(layers).macs, time_share("depthwise", op_times_us(lab.kernels(layers)))


@check(4, "latency")
def time_by_type(lab: Lab) -> Finding:
    """Shares of time under profiling; the paper gives one for the 1x1 convolutions (section 3.2)."""
    ops = (op for op in lab.graph("mobilenet_v1").ops if isinstance(op, Conv | Linear))
    types = {op.name: op_type(op) for op in ops}
    times_us = op_times_us(lab.kernels("mobilenet_v1"))
    by_type: dict[str, float] = defaultdict(float)
    for name, time_us in times_us.items():
        by_type[types.get(name, "other")] += time_us / sum(times_us.values())
    share = by_type["conv1x1"]
    told = ", ".join(f"{kind} {percent(part)}" for kind, part in sorted(by_type.items(), key=lambda item: -item[1]))
    # of no interval: a share of medians, to which the runtime's profiler adds more than any noise
    verdict = judged((share, share), (0.95 * (1 - TOLERANCE), 1.0), neutral=0.5)
    why = unless_it_holds(verdict, lab, {"MobileNetV1": "mobilenet_v1"})
    return Finding(f"of the time, under profiling: {told} (the paper: conv1x1 95 %)", verdict, why)


@check(5, "latency")
def time_by_width(lab: Lab) -> Finding:
    """Latency at each alpha: between alpha^2, as MACs go, and alpha, as activations do."""
    ratios = {alpha: lab.ratio(f"mobilenet_v1@{alpha}", "mobilenet_v1") for alpha in (0.75, 0.5, 0.25)}
    verdict = gravest(judged(ratio.interval, (alpha**2, alpha)) for alpha, ratio in ratios.items())
    told = ", ".join(f"{ratio} at {alpha} ({alpha**2:.3f})" for alpha, ratio in ratios.items())
    why = unless_it_holds(verdict, lab, {f"alpha {alpha}": f"mobilenet_v1@{alpha}" for alpha in (1, *ratios)})
    return Finding(f"of the full network's time (alpha^2): {told}", verdict, why)


@check(6, "latency")
def time_by_resolution(lab: Lab) -> Finding:
    """Latency at each resolution against rho^2."""
    ratios = {side: lab.ratio(f"mobilenet_v1/{side}", "mobilenet_v1") for side in (192, 160, 128)}
    verdict = gravest(judged(ratio.interval, around((side / 224) ** 2)) for side, ratio in ratios.items())
    told = ", ".join(f"{ratio} at {side} px ({(side / 224) ** 2:.3f})" for side, ratio in ratios.items())
    why = unless_it_holds(verdict, lab, {f"{side} px": f"mobilenet_v1/{side}" for side in (224, *ratios)})
    return Finding(f"of the time at 224 px (rho^2): {told}", verdict, why)
