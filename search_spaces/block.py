"""A block: identical layers of one kind, and the rules (expansion, squeeze, shortcut) resolved into plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.values import (
    Activation,
    Padding,
    as_float,
    check,
    check_activation,
    check_count,
    check_kernel,
    check_padding,
    check_stride,
    make_divisible,
)

SkipOp = Literal["identity", "pool", "none"]
Shortcut = Literal["identity", "pool", "projection", "none"]
"""What a layer really adds: ``projection`` is a 1x1 convolution of its input (ResNet, where shapes differ)."""
ConvOp = Literal["conv", "dwsep", "mbconv", "bottleneck", "bottleneck_v1"]
SqueezeRule = Literal["input", "expansion", "gated"]


@dataclass(frozen=True, slots=True)
class SqueezeExcite:
    """Squeeze-and-excitation, arXiv 1709.01507: its own form and the two that the mobile networks use.

    Attributes:
        ratio: squeezed width over the width named by `rule`; in (0, 1].
        rule: ``gated`` is SENet's (of the channels that it gates, truncated, sigmoid gate; its r = 16 is ratio 1/16);
            ``input`` is MnasNet's (of the layer's input channels, truncated, sigmoid gate); ``expansion`` is
            MobileNetV3's (of the channels that it gates, to multiples of 8, hard-sigmoid gate).
    """

    ratio: float
    rule: SqueezeRule = "input"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", as_float(self.ratio, "squeeze-and-excitation ratio"))
        check(0 < self.ratio <= 1, f"squeeze-and-excitation ratio {self.ratio}: must lie in (0, 1]")
        check(
            self.rule in get_args(SqueezeRule),
            f"squeeze rule {self.rule!r}: allowed are {', '.join(get_args(SqueezeRule))}",
        )

    def squeezed_channels(self, in_channels: int, gated_channels: int) -> int:
        """Width of the bottleneck inside the gate."""
        if self.rule == "expansion":
            return make_divisible(gated_channels * self.ratio)
        return max(1, int((in_channels if self.rule == "input" else gated_channels) * self.ratio))

    @property
    def gate(self) -> Activation:
        """Activation that makes the gate."""
        return "hsigmoid" if self.rule == "expansion" else "sigmoid"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a block, every rule resolved; `skip` is what really happens, not what was asked for."""

    op: ConvOp
    kernel: int
    stride: int
    in_channels: int
    expanded_channels: int  # of a bottleneck: the narrow width inside
    out_channels: int
    squeezed_channels: int  # 0: no squeeze-and-excitation
    gate: Activation
    skip: Shortcut
    activation: Activation
    padding: Padding = "same"


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """`repeats` identical layers; only the first has the stride and changes the width (MnasNet, section 4.1).

    Attributes:
        op: ``conv`` is kernel x kernel convolution + BN + activation. ``dwsep`` is MobileNetV1's pair of depthwise and
            1x1 convolution, each with BN and activation. ``mbconv`` is MobileNetV2's inverted residual: 1x1 expansion,
            depthwise, linear 1x1 projection; with `expand_ratio` 1 the expansion convolution is left out, which makes
            it the separable convolution of MnasNet. ``bottleneck`` is ResNet's: 1x1 down to `expand_channels`,
            kernel x kernel with the stride, linear 1x1, the activation after the addition; ``bottleneck_v1`` has the
            stride on its first 1x1 (arXiv 1512.03385; the other placement is "v1.5").
        kernel: odd side of the square kernel.
        stride: 1 or 2, of the first layer.
        in_channels: width that the block receives.
        out_channels: width that it gives.
        repeats: number of layers, at least 1.
        expand_ratio: expanded over input channels of each layer; `mbconv` only.
        expand_channels: absolute inner width: takes the place of the ratio (MobileNetV3's 200, 184); a bottleneck's.
        se: squeeze-and-excitation after the depthwise activation of `mbconv`, on the output of the others, or None.
        skip: ``identity`` adds the input where the stride is 1 and widths agree, a bottleneck elsewhere a projection of
            it; ``pool`` adds 3x3 average pooling of it, at the layer's stride, where widths agree; ``none`` nothing.
        activation: after every convolution but a linear projection; ``none`` for `conv` alone (a linear layer).
        padding: ``same``, or ``valid`` for `conv`.
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
    padding: Padding = "same"

    def __post_init__(self) -> None:
        check(self.op in get_args(ConvOp), f"op {self.op!r}: allowed are {', '.join(get_args(ConvOp))}")
        check(self.skip in get_args(SkipOp), f"skip {self.skip!r}: allowed are identity, pool, none")
        check_kernel("", self.kernel)
        check_stride("", self.stride)
        check_padding("", self.padding)
        for name in ("in_channels", "out_channels", "repeats", "expand_ratio"):
            check_count(name, getattr(self, name))
        if self.expand_channels is not None:
            check_count("expand_channels", self.expand_channels)
            check(self.expand_ratio == 1, "expand_ratio and expand_channels exclude each other")
        if self.op != "conv" or self.activation != "none":
            check_activation(self.activation)
        self._check_op()

    def _check_op(self) -> None:
        if self.op == "conv":
            check(self.expand_ratio == 1 and self.expand_channels is None, "a plain convolution has no expansion")
        if self.op == "dwsep":
            check(self.expand_ratio == 1 and self.expand_channels is None, "a dwsep layer has no expansion")
        if self.is_bottleneck:
            check(self.expand_channels is not None, "a bottleneck needs expand_channels, its inner width")
            check(self.skip != "pool", "a bottleneck's skip is identity or none")
        if self.padding == "valid":
            check(self.op == "conv" and self.skip == "none", "valid padding is for plain convolutions without skip")

    @property
    def is_bottleneck(self) -> bool:
        """Whether the layers are ResNet's."""
        return self.op in ("bottleneck", "bottleneck_v1")

    def receive(self, channels: int) -> int:
        """Width given on receiving `channels`; ValueError where that is not what the block takes."""
        check(self.in_channels == channels, f"takes i{self.in_channels}, but receives {channels} channels")
        return self.out_channels

    def layers(self) -> Iterator[Layer]:
        """The block's layers in order, resolved."""
        in_channels, stride = self.in_channels, self.stride
        for _ in range(self.repeats):
            expanded = self._inner_channels(in_channels)
            gated = expanded if self.op == "mbconv" else self.out_channels
            yield Layer(
                op=self.op,
                kernel=self.kernel,
                stride=stride,
                in_channels=in_channels,
                expanded_channels=expanded,
                out_channels=self.out_channels,
                squeezed_channels=self.se.squeezed_channels(in_channels, gated) if self.se else 0,
                gate=self.se.gate if self.se else "none",
                skip=self._shortcut(in_channels, stride),
                activation=self.activation,
                padding=self.padding,
            )
            in_channels, stride = self.out_channels, 1

    def _inner_channels(self, in_channels: int) -> int:
        if self.op == "conv":
            return self.out_channels
        return self.expand_channels or in_channels * self.expand_ratio

    def _shortcut(self, in_channels: int, stride: int) -> Shortcut:
        widths_agree = in_channels == self.out_channels
        if self.skip == "none" or (widths_agree and (stride == 1 or self.skip == "pool")):
            return self.skip
        return "projection" if self.is_bottleneck else "none"
