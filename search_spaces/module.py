"""What stands between blocks: pooling, local response normalisation, and Inception's parallel branches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.block import SqueezeExcite
from search_spaces.values import (
    Activation,
    Kernel,
    Padding,
    check,
    check_activation,
    check_count,
    check_kernel,
    check_padding,
    check_stride,
)

PoolKind = Literal["max", "average"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooling over kernel x kernel.

    Attributes:
        kind: ``max`` or ``average``.
        kernel: at least 2; even ones need padding ``valid`` or ``ceil``.
        stride: 1 or 2.
        padding: ``same``, ``valid``, or ``ceil``: see `search_spaces.graph.window_size`.
        counts_padding: an average counts padded positions as zeros (torchvision's Inception-V3).
    """

    kind: PoolKind
    kernel: int
    stride: int
    padding: Padding = "same"
    counts_padding: bool = False

    def __post_init__(self) -> None:
        check(self.kind in get_args(PoolKind), f"pool {self.kind!r}: allowed are {', '.join(get_args(PoolKind))}")
        check(type(self.kernel) is int and self.kernel >= 2, f"pool kernel {self.kernel!r}: must be at least 2")
        check_padding("pool ", self.padding, get_args(Padding))
        check(self.kernel % 2 == 1 or self.padding != "same", f"pool kernel {self.kernel}: even ones are valid or ceil")
        check_stride("pool ", self.stride)
        check(
            not self.counts_padding or (self.kind == "average" and self.padding == "same"),
            "counts_padding is for average pooling with padding same",
        )

    def receive(self, channels: int) -> int:
        """Width given on receiving `channels`: the same."""
        return channels

    def layers(self) -> Iterator[Pool]:
        """Itself."""
        yield self


@dataclass(frozen=True, slots=True)
class LocalNorm:
    """Local response normalisation over `size` channels, alpha 1e-4, beta 0.75; defaults: GoogLeNet's caffe model."""

    size: int = 5

    def __post_init__(self) -> None:
        check_kernel("local normalisation ", self.size)

    def receive(self, channels: int) -> int:
        """Width given on receiving `channels`: the same."""
        return channels

    def layers(self) -> Iterator[LocalNorm]:
        """Itself."""
        yield self


@dataclass(frozen=True, slots=True)
class BranchConv:
    """Convolution + BN + activation inside a branch; the kernel is (height, width)."""

    kernel: Kernel
    channels: int
    stride: int = 1
    padding: Padding = "same"

    def __post_init__(self) -> None:
        check(len(self.kernel) == 2, f"kernel {self.kernel!r}: must be (height, width)")
        object.__setattr__(self, "kernel", tuple(self.kernel))
        for side in self.kernel:
            check_kernel("branch ", side)
        check_count("branch channels", self.channels)
        check_stride("branch ", self.stride)
        check_padding("branch ", self.padding)


@dataclass(frozen=True, slots=True)
class Fork:
    """A branch that ends in branches of its own (Inception-V3's 1x3 beside 3x1)."""

    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "branches", _checked(self.branches))


Step = BranchConv | Pool | Fork
Branch = tuple[Step, ...]


def _checked(branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    check(len(branches) >= 2, "a module needs at least two branches")
    for branch in branches:
        check(len(branch) > 0, "a branch needs at least one step")
        check(not any(isinstance(step, Fork) for step in branch[:-1]), "a fork ends its branch")
    return tuple(map(tuple, branches))


def width_of(branches: tuple[Branch, ...], in_channels: int) -> int:
    """Width of what `branches` give together on receiving `in_channels`."""
    return sum(_branch_width(branch, in_channels) for branch in branches)


def _branch_width(branch: Branch, channels: int) -> int:
    for step in branch:
        match step:
            case BranchConv():
                channels = step.channels
            case Fork():
                channels = width_of(step.branches, channels)
    return channels


@dataclass(frozen=True, slots=True)
class Branches:
    """An Inception module: branches read the same tensor, their outputs are concatenated (arXiv 1409.4842, figure 2).

    Attributes:
        in_channels: width that it receives.
        branches: at least two.
        se: squeeze-and-excitation on the whole output, or None (SENet, figure 2).
        activation: after every convolution.
    """

    in_channels: int
    branches: tuple[Branch, ...]
    se: SqueezeExcite | None = None
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_count("in_channels", self.in_channels)
        object.__setattr__(self, "branches", _checked(self.branches))
        check_activation(self.activation)

    @property
    def out_channels(self) -> int:
        """Width that it gives."""
        return width_of(self.branches, self.in_channels)

    @property
    def squeezed_channels(self) -> int:
        """Width of the bottleneck inside the gate; 0 without squeeze-and-excitation."""
        return self.se.squeezed_channels(self.in_channels, self.out_channels) if self.se else 0

    def receive(self, channels: int) -> int:
        """Width given on receiving `channels`; ValueError where that is not what the module takes."""
        check(self.in_channels == channels, f"takes i{self.in_channels}, but receives {channels} channels")
        return self.out_channels

    def layers(self) -> Iterator[Branches]:
        """Itself."""
        yield self
