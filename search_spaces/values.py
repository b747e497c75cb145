"""What the fields of a spec may hold, and how they are checked."""

from __future__ import annotations

from typing import Literal

Activation = Literal["none", "relu", "relu6", "hswish", "swish", "sigmoid", "hsigmoid"]
Padding = Literal["same", "valid", "ceil"]
"""See `search_spaces.graph.window_size`."""
Kernel = tuple[int, int]
"""Height and width of a convolution's window."""

BLOCK_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu6", "hswish", "swish")


def make_divisible(width: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, halves up, at least `divisor` and never below 90 % of `width`.

    The rounding of MobileNetV2 and V3 (slim `mobilenet.py: _make_divisible`).
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def check(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition`."""
    if not condition:
        raise ValueError(message)


def check_count(what: str, value: int) -> None:
    """`value` is an integer of at least 1."""
    # An exact int: True, 3.0 and NumPy's integers compare equal to one, but print as something else.
    check(type(value) is int and value >= 1, f"{what} {value!r}: must be an integer, at least 1")


def check_kernel(part: str, kernel: int) -> None:
    """`kernel` is odd and positive."""
    check(type(kernel) is int and kernel > 0 and kernel % 2 == 1, f"{part}kernel {kernel!r}: must be odd and positive")


def check_stride(part: str, stride: int) -> None:
    """`stride` is 1 or 2."""
    check(type(stride) is int and stride in (1, 2), f"{part}stride {stride!r}: must be 1 or 2")


def check_padding(part: str, padding: str, allowed: tuple[Padding, ...] = ("same", "valid")) -> None:
    """`padding` is one of `allowed`."""
    check(padding in allowed, f"{part}padding {padding!r}: allowed are {', '.join(allowed)}")


def check_activation(activation: str) -> None:
    """`activation` is one that a block may have."""
    check(activation in BLOCK_ACTIVATIONS, f"activation {activation!r}: allowed are {', '.join(BLOCK_ACTIVATIONS)}")


def as_float(value: object, what: str) -> float:
    """`value` as a float, so that equal numbers print alike."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} {value!r}: must be a number")
    return float(value)
