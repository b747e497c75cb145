"""Claims about MobileNetV3 but those about its activations, by latency on this device."""

from __future__ import annotations

from dataclasses import replace

from nas.claims.claim import Finding, check
from nas.claims.figures import percent
from nas.claims.judgement import around, judged
from nas.claims.kernel_time import op_times_us, time_share, unless_it_holds
from nas.claims.lab import Lab
from search_spaces.count import count
from search_spaces.edits import with_activation, with_squeeze_rule, without_squeeze
from search_spaces.graph import Conv, Graph, Op
from search_spaces.lower import lower_block, lower_head
from search_spaces.zoo import ZOO

_LARGE, _OLD_STAGE, _OLD_STEM = (
    "mobilenet_v3_large",
    "mobilenet_v3_large_original_last_stage",
    "mobilenet_v3_large_stem32",
)
_NO_DISCERNIBLE_COST = (0.98, 1.02)


@check(16, "latency")
def faster_than_v2(lab: Lab) -> Finding:
    """V3-Large against V2, as it is and with ReLU in place of h-swish."""
    published = 51 / 64  # ms: arXiv 1905.02244v5, table 3
    ratio = lab.ratio(_LARGE, "mobilenet_v2")
    relu = lab.ratio(with_activation(lab.arch(_LARGE), "relu"), "mobilenet_v2", "V3-Large with ReLU against V2")
    found = f"V3-Large takes {ratio} of V2's time ({published:.2f} printed), with ReLU {relu}"
    verdict = judged(ratio.interval, around(published))
    return Finding(found, verdict, unless_it_holds(verdict, lab, {"V3-Large": _LARGE, "V2": "mobilenet_v2"}))


def narrow_squeeze(lab: Lab) -> Graph:
    """V3-Large with SE of a quarter of each layer's input, as in MnasNet, all else kept: the gates stay hard."""
    graph = lab.graph(with_squeeze_rule(lab.arch(_LARGE), 0.25, "input"))
    return Graph(graph.input_shape, tuple(map(_hard_gate, graph.ops)))


def _hard_gate(op: Op) -> Op:
    return replace(op, activation="hsigmoid") if isinstance(op, Conv) and op.name.endswith("se.gate") else op


@check(17, "latency")
def time_of_squeeze(lab: Lab) -> Finding:
    """SE of a quarter of the expansion against one of a quarter of the input, and against none."""
    narrow, without = narrow_squeeze(lab), without_squeeze(lab.arch(_LARGE))
    ratio = lab.ratio(_LARGE, narrow, "SE of the expansion against SE of the input")
    at_all = lab.ratio(_LARGE, without, "V3-Large with against without SE")
    found = f"time with SE of a quarter of the expansion {ratio} of that with a quarter of the input, {at_all} of none"
    verdict = judged(ratio.interval, _NO_DISCERNIBLE_COST)
    if verdict == "holds":
        return Finding(found, verdict)
    wide_us, narrow_us = (op_times_us(lab.kernels(network)) for network in (_LARGE, narrow))
    layers_us = [
        sum(us for name, us in times.items() if ".se.re" in name or ".se.g" in name) for times in (wide_us, narrow_us)
    ]
    why = (
        f"Under profiling the two small layers of all SE take {layers_us[0]:.0f} us at a quarter of the expansion, "
        f"{layers_us[1]:.0f} at a quarter of the input: at one position each weight is read for a single MAC. With pooling, "
        f"scaling and changes of layout SE is {percent(time_share('.se.', wide_us))} of the network's time."
    )
    return Finding(found, verdict, why)


def last_stages(lab: Lab) -> tuple[Graph, Graph]:
    """What follows the last map of 160 channels, classifier included: original, efficient."""
    old, new = lab.arch(_OLD_STAGE), lab.arch(_LARGE)
    shape = (160, 7, 7)
    block = lower_block(old.blocks[-1], shape, 1)
    old_head = lower_head(old.head, block.ops[-1].shape, 1000, block.ops[-1].name)
    return Graph(shape, (*block.ops, *old_head.ops)), lower_head(new.head, shape, 1000)


@check(23, "latency")
def time_of_last_stage(lab: Lab) -> Finding:
    """The redesigned last stage against the original one, in the network and alone."""
    published = 1 - 0.11  # section 5.1
    ratio = lab.ratio(_LARGE, _OLD_STAGE)
    old, new = last_stages(lab)
    alone = lab.ratio(new, old, "the last stage alone")
    macs = count(new).macs / count(old).macs
    found = (
        f"the network takes {ratio} of its time before ({published:.2f} printed), the stage alone {alone} of its own, with "
        f"{macs:.2f} of its MACs"
    )
    verdict = judged(ratio.interval, around(published))
    return Finding(found, verdict, unless_it_holds(verdict, lab, {"the stage before": old, "after": new}))


@check(24, "latency")
def time_of_first_filters(lab: Lab) -> Finding:
    """16 against 32 first filters."""
    published = 51 / 53  # 2 ms less, and 51 ms then: section 5.1 and table 3
    ratio = lab.ratio(_LARGE, _OLD_STEM)
    macs = ZOO[_LARGE].macs / ZOO[_OLD_STEM].macs
    found = f"the network takes {ratio} of its time with 32 ({published:.2f} printed), with {macs:.3f} of its MACs"
    verdict = judged(ratio.interval, around(published))
    return Finding(found, verdict, unless_it_holds(verdict, lab, {"with 16": _LARGE, "with 32": _OLD_STEM}))
