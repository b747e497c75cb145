"""Inception-V3 (arXiv 1512.00567; widths of slim `inception_v3.py`, the pooling of torchvision's, whose weights fit).

The released code differs from the paper's table 1: its stem ends in a pooling, and it has 4 modules of 1x7 and 7x1. In
torchvision the average pooling of a module counts the padding.
"""

from __future__ import annotations

from search_spaces.arch_string import parse_arch
from search_spaces.naming import Keys, Naming, Part
from search_spaces.zoo.network import Network, Published, PublishedTraining

_POOL = "avgpool_k3_s11_countpad"
_REDUCE = "maxpool_k3_s22_valid"
_CROSS = "(k1x3_o384|k3x1_o384)"


def _35(in_channels: int, projection: int) -> str:
    """Figure 5, with one 5x5 left."""
    return f"branches_i{in_channels}(k1_o64|k1_o48,k5_o64|k1_o64,k3_o96,k3_o96|{_POOL},k1_o{projection})"


def _17(inner: int) -> str:
    """Figure 6, n = 7."""
    return (
        f"branches_i768(k1_o192|k1_o{inner},k1x7_o{inner},k7x1_o192|"
        f"k1_o{inner},k7x1_o{inner},k1x7_o{inner},k7x1_o{inner},k1x7_o192|{_POOL},k1_o192)"
    )


def _8(in_channels: int) -> str:
    """Figure 7."""
    return f"branches_i{in_channels}(k1_o320|k1_o384,{_CROSS}|k1_o448,k3_o384,{_CROSS}|{_POOL},k1_o192)"


_MODULES = (
    _35(192, 32),
    _35(256, 64),
    _35(288, 64),
    f"branches_i288(k3_s22_o384_valid|k1_o64,k3_o96,k3_s22_o96_valid|{_REDUCE})",  # figure 10
    _17(128),
    _17(160),
    _17(160),
    _17(192),
    f"branches_i768(k1_o192,k3_s22_o320_valid|k1_o192,k1x7_o192,k7x1_o192,k3_s22_o192_valid|{_REDUCE})",
    _8(1280),
    _8(2048),
)
_STEM = (
    "stem_k3_s22_o32_valid r1_k3_s11_conv_i32_o32_noskip_valid r1_k3_s11_conv_i32_o64_noskip maxpool_k3_s22_valid "
    "r1_k1_s11_conv_i64_o80_noskip r1_k3_s11_conv_i80_o192_noskip_valid maxpool_k3_s22_valid"
)
_AFTER_MIXED_6E = 14  # six blocks of the stem, three modules on 35x35, the reduction, four modules on 17x17

_PLACES = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
_BRANCHES = {
    "Mixed_5": ("branch1x1", "branch5x5_{}", "branch3x3dbl_{}", "branch_pool"),
    "Mixed_6a": ("branch3x3", "branch3x3dbl_{}"),
    "Mixed_6": ("branch1x1", "branch7x7_{}", "branch7x7dbl_{}", "branch_pool"),
    "Mixed_7a": ("branch3x3_{}", "branch7x7x3_{}"),
    "Mixed_7": ("branch1x1", "branch3x3_{}", "branch3x3dbl_{}", "branch_pool"),
}


def _names(part: Part) -> Keys:
    """Names of torchvision `inception.py` and timm `inception_v3.py`, which agree.

    Their pretrained weights want images with mean 0.5 and standard deviation 0.5 taken off (`transform_input`).
    """
    linear = {"classifier": "fc", "aux1.classifier": "AuxLogits.fc"}
    if part.role in linear:
        return Keys(linear[part.role])
    auxiliary = {"aux1.conv": "AuxLogits.conv0", "aux1.final": "AuxLogits.conv1"}
    place = auxiliary.get(part.role) or _place(_PLACES[part.layer], part.role)
    return Keys(f"{place}.conv", f"{place}.bn")


def _place(layer: str, role: str) -> str:
    """``Mixed_7b`` and ``branch2.2.branch1.1`` -> ``Mixed_7b.branch3x3_2a``."""
    branch, *steps = role.split(".")
    if not steps:
        return layer
    names = _BRANCHES.get(layer) or _BRANCHES[layer[:-1]]
    forked = {"branch1": "a", "branch2": "b"}[steps[1]] if len(steps) > 1 else ""
    return f"{layer}.{names[int(branch.removeprefix('branch')) - 1].format(steps[0] + forked)}"


NETWORKS = {
    "inception_v3": Network(
        arch=parse_arch(f"{_STEM} {' '.join(_MODULES)} head_noconv aux_b{_AFTER_MIXED_6E}_w0.4_o128_c768"),
        summary="factorised convolutions, parallel grid reduction",
        source="arXiv 1512.00567, table 1 and figures 5 to 10; slim and torchvision `inception_v3.py`",
        params=23_834_568,
        macs=5_713_216_096,
        resolution=299,
        training=PublishedTraining(
            source="arXiv 1512.00567, section 8",
            optimizer="rmsprop",
            learning_rate=0.045,
            batch_size=32,  # each of 50 replicas
            weight_decay=4e-5,
            bn_momentum=0.0003,
            label_smoothing=0.1,
            clip_norm=2.0,
            decay_factor=0.94,
            decay_epochs=2.0,
            ema_decay=0.9999,
        ),
        names=dict.fromkeys(("torchvision", "timm"), Naming(_names, 1e-3)),
        published={"": Published(source="arXiv 1512.00567, table 3; torchvision's counts", top1=78.8, macs_m=5713)},
    )
}
