"""What the candidates of a supernet have in common."""

from __future__ import annotations

from typing import Literal

from search_spaces.block import Layer

Sharing = Literal["sliced", "kernel", "op"]
"""Which weights of one place candidates have in common, whatever their widths.

``sliced``: all that fit together: 1x1 convolutions and squeezes whatever the kernel and expansion, windows of one size.
``kernel``: layers of one kind and kernel. ``op``: layers of one kind, kernel and expansion: each operation has its own.
"""


def sharing_label(layer: Layer, sharing: Sharing) -> str:
    """Layers of one label, in one place, share weights."""
    if sharing == "sliced":
        return layer.op
    kernel = f"{layer.op}_k{layer.kernel}"
    if sharing == "kernel" or layer.op in ("conv", "dwsep"):  # these have no expansion of their own
        return kernel
    return f"{kernel}_e{layer.expanded_channels / layer.in_channels:.3g}".replace(".", "p")
