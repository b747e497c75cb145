"""Convolutions as the torch interpreters run them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...], groups: int
) -> Tensor:
    """`F.conv2d`; on a CPU, where the window has one position and covers the whole image there, the product that this is.

    Small training images end as a few pixels, for which a CPU's convolutions cost several times as much as products.

    Args:
        x: N x C x height x width.
        weight: of the window.
        bias: of each output channel, or none.
        stride: of the window, down and across.
        padding: rows and columns of zeros on each side.
        groups: as in `F.conv2d`.
    """
    height, width = x.shape[2:]
    sides = zip((height, width), weight.shape[2:], stride, padding, strict=True)
    covered = all(size + pad <= window and 0 <= size + 2 * pad - window < step for size, window, step, pad in sides)
    is_depthwise = groups == x.shape[1] == weight.shape[0]
    if x.device.type != "cpu" or not covered or not (groups == 1 or is_depthwise):
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)
    met = weight[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
    if not is_depthwise:
        return F.linear(x.flatten(1), met.flatten(1), bias)[:, :, None, None]
    y = (x * met.squeeze(1)).sum((2, 3), keepdim=True)
    return y if bias is None else y + bias[:, None, None]
