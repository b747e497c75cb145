"""Published networks as specs. Layer tables: the papers and the authors' code named at each entry."""

from __future__ import annotations

from types import MappingProxyType

from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch

_STRINGS = {
    # arXiv 1801.04381, table 2; tensorflow/models slim mobilenet_v2.py
    "mobilenet_v2": (
        "stem_k3_s22_o32_relu6 r1_k3_s11_e1_i32_o16_relu6 r2_k3_s22_e6_i16_o24_relu6 r3_k3_s22_e6_i24_o32_relu6 "
        "r4_k3_s22_e6_i32_o64_relu6 r3_k3_s11_e6_i64_o96_relu6 r3_k3_s22_e6_i96_o160_relu6 r1_k3_s11_e6_i160_o320_relu6 "
        "head_o1280_relu6"
    ),
    # arXiv 1807.11626, figure 7(a); the string is that of tensorflow/tpu mnasnet_models.py
    "mnasnet_a1": (
        "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k5_s22_e3_i24_o40_se0.25 r4_k3_s22_e6_i40_o80 "
        "r2_k3_s11_e6_i80_o112_se0.25 r3_k5_s22_e6_i112_o160_se0.25 r1_k3_s11_e6_i160_o320"
    ),
    # tensorflow/tpu mnasnet_models.py (search without SE)
    "mnasnet_b1": (
        "r1_k3_s11_e1_i32_o16_noskip r3_k3_s22_e3_i16_o24 r3_k5_s22_e3_i24_o40 r3_k5_s22_e6_i40_o80 "
        "r2_k3_s11_e6_i80_o96 r4_k5_s22_e6_i96_o192 r1_k3_s11_e6_i192_o320_noskip"
    ),
    # arXiv 1905.02244v5, table 1; slim mobilenet_v3.py V3_LARGE
    "mobilenet_v3_large": (
        "stem_k3_s22_o16_hswish r1_k3_s11_e1_i16_o16 r1_k3_s22_e4_i16_o24 r1_k3_s11_e3_i24_o24 "
        "r3_k5_s22_e3_i24_o40_hse0.25 r1_k3_s22_e6_i40_o80_hswish r1_k3_s11_x200_i80_o80_hswish "
        "r2_k3_s11_x184_i80_o80_hswish r2_k3_s11_e6_i80_o112_hse0.25_hswish "
        "r3_k5_s22_e6_i112_o160_hse0.25_hswish head_o960_f1280_hswish"
    ),
    # arXiv 1905.02244v5, table 2; hidden width 1024 and no SE on the last convolution, as in slim V3_SMALL
    "mobilenet_v3_small": (
        "stem_k3_s22_o16_hswish r1_k3_s22_e1_i16_o16_hse0.25 r1_k3_s22_x72_i16_o24 r1_k3_s11_x88_i24_o24 "
        "r1_k5_s22_e4_i24_o40_hse0.25_hswish r2_k5_s11_e6_i40_o40_hse0.25_hswish "
        "r2_k5_s11_e3_i40_o48_hse0.25_hswish r3_k5_s22_e6_i48_o96_hse0.25_hswish head_o576_f1024_hswish"
    ),
}

ZOO = MappingProxyType({name: parse_arch(text) for name, text in _STRINGS.items()})
"""Name -> spec of every published network."""


def get(name: str) -> ArchSpec:
    """The published network called `name`.

    Raises:
        ValueError: no such network; the message lists those there are.
    """
    if name not in ZOO:
        raise ValueError(f"no network named {name!r}; known: {', '.join(ZOO)}")
    return ZOO[name]
