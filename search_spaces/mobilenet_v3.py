"""MnasNet's decisions for networks after the edits by hand that made MobileNetV3 (arXiv 1905.02244, section 5).

The first six blocks of MnasNet's space decide what they decide there. The seventh is gone: its expansion, six times what it
gets, is the head's convolution, and the wide layer follows the pooling. The stem has 16 channels, h-swish stands in stem,
head and from a sixteenth of the resolution on, and squeeze-and-excitation is to a quarter of the expansion.

What MobileNetV3-Large was before NetAdapt narrowed it, MnasNet-A1 with all edits, is a point.
"""

from __future__ import annotations

from search_spaces.arch import Activation, Head, Stem
from search_spaces.mnasnet import BLOCKS, FactorisedLayout, factorised_space

STEM = Stem(channels=16, activation="hswish")
LAST_EXPANSION = 6
_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "relu", "hswish", "hswish", "hswish")


def _head(channels: int) -> Head:
    return Head(channels=LAST_EXPANSION * channels, hidden=1280, activation="hswish")


MOBILENET_V3 = factorised_space(
    "mobilenet_v3", FactorisedLayout(BLOCKS[:-1], STEM, _head, _ACTIVATIONS, se_rule="expansion")
)
"""The space that recipes name ``mobilenet_v3``."""
