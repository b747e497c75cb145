"""What the candidates of a supernet have in common."""

from __future__ import annotations

from typing import Literal

from search_spaces.block import Layer

Sharing = Literal["nested", "sliced", "kernel", "op"]
"""Which weights of one place candidates have in common, whatever their widths.

``nested``: all of one kind of layer: a small window is the middle of the larger one, besides what ``sliced`` shares (OFA,
arXiv 1908.09791, section 3.2, without its transformation).
``sliced``: 1x1 convolutions and squeezes whatever the kernel and expansion, and windows of one size.
``kernel``: layers of one kind and kernel. ``op``: layers of one kind, kernel and expansion: each operation has its own.
"""


def sharing_label(layer: Layer, sharing: Sharing) -> str:
    """Layers of one label, in one place, share weights."""
    if sharing in ("nested", "sliced"):
        return layer.op
    kernel = f"{layer.op}_k{layer.kernel}"
    if sharing == "kernel" or layer.op in ("conv", "dwsep"):  # these have no expansion of their own
        return kernel
    return f"{kernel}_e{layer.expanded_channels / layer.in_channels:.3g}".replace(".", "p")
