"""An architecture as frozen data: a stem, blocks of identical layers, a head.

A spec says what was decided; `BlockSpec.layers` resolves the rules (expansion ratios, squeeze widths, where a skip really
applies) into plain numbers. Everything that computes reads the resolved layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

Activation = Literal["none", "relu", "relu6", "hswish", "sigmoid", "hsigmoid"]
SkipOp = Literal["identity", "pool", "none"]
ConvOp = Literal["conv", "mbconv"]
SqueezeRule = Literal["input", "expansion"]

BLOCK_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu6", "hswish")


def make_divisible(width: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, halves up, at least `divisor` and never below 90 % of `width`.

    The rounding of MobileNetV2 and V3 (slim `mobilenet.py: _make_divisible`).
    """
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_count(what: str, value: int) -> None:
    # An exact int: True, 3.0 and NumPy's integers compare equal to one, but print as something else.
    _check(type(value) is int and value >= 1, f"{what} {value!r}: must be an integer, at least 1")


def _check_kernel_and_stride(part: str, kernel: int, stride: int) -> None:
    _check(type(kernel) is int and kernel > 0 and kernel % 2 == 1, f"{part}kernel {kernel!r}: must be odd and positive")
    _check(type(stride) is int and stride in (1, 2), f"{part}stride {stride!r}: must be 1 or 2")


def _fraction(value: object, what: str) -> float:
    """`value` as a float, so that equal numbers print alike."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} {value!r}: must be a number")
    return float(value)


def _check_activation(activation: str) -> None:
    _check(activation in BLOCK_ACTIVATIONS, f"activation {activation!r}: allowed are {', '.join(BLOCK_ACTIVATIONS)}")


@dataclass(frozen=True, slots=True)
class SqueezeExcite:
    """Squeeze-and-excitation, arXiv 1709.01507, in the two forms that the mobile networks use.

    Attributes:
        ratio: squeezed width over the width named by `rule`; in (0, 1].
        rule: ``input`` is MnasNet's (of the layer's input channels, truncated, sigmoid gate); ``expansion`` is
            MobileNetV3's (of the expanded channels, to multiples of 8, hard-sigmoid gate).
    """

    ratio: float
    rule: SqueezeRule = "input"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", _fraction(self.ratio, "squeeze-and-excitation ratio"))
        _check(0 < self.ratio <= 1, f"squeeze-and-excitation ratio {self.ratio}: must lie in (0, 1]")
        _check(self.rule in get_args(SqueezeRule), f"squeeze rule {self.rule!r}: allowed are input, expansion")

    def squeezed_channels(self, in_channels: int, expanded_channels: int) -> int:
        """Width of the bottleneck inside the gate."""
        if self.rule == "input":
            return max(1, int(in_channels * self.ratio))
        return make_divisible(expanded_channels * self.ratio)

    @property
    def gate(self) -> Activation:
        """Activation that makes the gate."""
        return "sigmoid" if self.rule == "input" else "hsigmoid"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a block, every rule resolved; skip is what really happens, not what was asked for."""

    op: ConvOp
    kernel: int
    stride: int
    in_channels: int
    expanded_channels: int
    out_channels: int
    squeezed_channels: int  # 0: no squeeze-and-excitation
    gate: Activation
    skip: SkipOp
    activation: Activation


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """`repeats` identical layers; only the first has the stride and changes the width (MnasNet, section 4.1).

    Attributes:
        op: ``conv`` is kernel x kernel convolution + BN + activation. ``mbconv`` is MobileNetV2's inverted residual:
            1x1 expansion, depthwise, linear 1x1 projection; with `expand_ratio` 1 the expansion convolution is left
            out, which makes it the separable convolution of MnasNet.
        kernel: odd side of the square kernel.
        stride: 1 or 2, of the first layer.
        in_channels: width that the block receives.
        out_channels: width that it gives.
        repeats: number of layers, at least 1.
        expand_ratio: expanded over input channels of each layer; `mbconv` only.
        expand_channels: absolute expanded width that takes the place of the ratio (MobileNetV3's 200, 184).
        se: squeeze-and-excitation after the (depthwise) activation, or None.
        skip: ``identity`` adds the input where the stride is 1 and widths agree; ``pool`` adds 3x3 average pooling of
            it, at the layer's stride, where widths agree; ``none`` adds nothing.
        activation: after every convolution but the linear projection.
    """

    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    op: ConvOp = "mbconv"
    repeats: int = 1
    expand_ratio: int = 1
    expand_channels: int | None = None
    se: SqueezeExcite | None = None
    skip: SkipOp = "identity"
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        _check(self.op in get_args(ConvOp), f"op {self.op!r}: allowed are conv, mbconv")
        _check(self.skip in get_args(SkipOp), f"skip {self.skip!r}: allowed are identity, pool, none")
        _check_kernel_and_stride("", self.kernel, self.stride)
        for name in ("in_channels", "out_channels", "repeats", "expand_ratio"):
            _check_count(name, getattr(self, name))
        if self.expand_channels is not None:
            _check_count("expand_channels", self.expand_channels)
            _check(self.expand_ratio == 1, "expand_ratio and expand_channels exclude each other")
        if self.op == "conv":
            _check(self.expand_ratio == 1 and self.expand_channels is None, "a plain convolution has no expansion")
        _check_activation(self.activation)

    def layers(self) -> Iterator[Layer]:
        """The block's layers in order, resolved."""
        in_channels, stride = self.in_channels, self.stride
        for _ in range(self.repeats):
            expanded = (
                self.out_channels if self.op == "conv" else self.expand_channels or in_channels * self.expand_ratio
            )
            widths_agree = in_channels == self.out_channels
            applies = widths_agree and (stride == 1 or self.skip == "pool")
            yield Layer(
                op=self.op,
                kernel=self.kernel,
                stride=stride,
                in_channels=in_channels,
                expanded_channels=expanded,
                out_channels=self.out_channels,
                squeezed_channels=self.se.squeezed_channels(in_channels, expanded) if self.se else 0,
                gate=self.se.gate if self.se else "none",
                skip=self.skip if applies else "none",
                activation=self.activation,
            )
            in_channels, stride = self.out_channels, 1


@dataclass(frozen=True, slots=True)
class Stem:
    """The first convolution: kernel x kernel, BN, activation. Defaults: MnasNet's."""

    channels: int = 32
    kernel: int = 3
    stride: int = 2
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        _check_count("stem channels", self.channels)
        _check_kernel_and_stride("stem ", self.kernel, self.stride)
        _check_activation(self.activation)


@dataclass(frozen=True, slots=True)
class Head:
    """1x1 convolution + BN + activation, global average pooling, [hidden layer], dropout, classifier.

    Attributes:
        channels: width of the 1x1 convolution.
        hidden: width of a biased layer without BN between pooling and classifier (MobileNetV3's "NBN" row), or None.
        activation: of the 1x1 convolution and of the hidden layer.
        dropout: rate before the classifier, in [0, 1); training only.
    """

    channels: int = 1280
    hidden: int | None = None
    activation: Activation = "relu"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _check_count("head channels", self.channels)
        if self.hidden is not None:
            _check_count("hidden width", self.hidden)
        object.__setattr__(self, "dropout", _fraction(self.dropout, "dropout"))
        _check(0 <= self.dropout < 1, f"dropout {self.dropout}: must lie in [0, 1)")
        _check_activation(self.activation)


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """One network, complete but for input resolution and number of classes.

    Prints as a string (`search_spaces.arch_string`) and has a JSON form (`search_spaces.arch_json`).

    Raises:
        ValueError: a block does not receive the width that the one before it gives.
    """

    blocks: tuple[BlockSpec, ...]
    stem: Stem = field(default_factory=Stem)
    head: Head = field(default_factory=Head)

    def __post_init__(self) -> None:
        _check(len(self.blocks) > 0, "an architecture needs at least one block")
        given = self.stem.channels
        for number, block in enumerate(self.blocks, start=1):
            if block.in_channels != given:
                raise ValueError(f"block {number} takes i{block.in_channels}, but receives {given} channels")
            given = block.out_channels

    def __str__(self) -> str:
        from search_spaces.arch_string import format_arch

        return format_arch(self)

    @property
    def key(self) -> str:
        """16 hexadecimal digits, equal for specs that resolve to the same network however they are written."""
        layers = [layer for block in self.blocks for layer in block.layers()]
        return hashlib.sha256(repr((self.stem, layers, self.head)).encode()).hexdigest()[:16]
