"""An architecture as frozen data: a stem, blocks, a head, and what hangs beside them in training.

A spec says what was decided; a block's `layers` resolve the rules (expansion ratios, squeeze widths, where a skip really
applies) into plain numbers. Everything that computes reads the resolved layers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from search_spaces.block import BlockSpec, ConvOp, Layer, Shortcut, SkipOp, SqueezeExcite, SqueezeRule
from search_spaces.module import Branches, LocalNorm, Pool
from search_spaces.values import (
    BLOCK_ACTIVATIONS,
    Activation,
    Kernel,
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

__all__ = [
    "BLOCK_ACTIVATIONS",
    "DEFAULT_NORM",
    "Activation",
    "AnyLayer",
    "ArchSpec",
    "AuxHead",
    "Block",
    "BlockSpec",
    "ConvOp",
    "Head",
    "Kernel",
    "Layer",
    "Norm",
    "Padding",
    "Shortcut",
    "SkipOp",
    "SqueezeExcite",
    "SqueezeRule",
    "Stem",
    "make_divisible",
]

Block = BlockSpec | Pool | LocalNorm | Branches
"""What an architecture is a chain of."""

AnyLayer = Layer | Pool | LocalNorm | Branches
"""What a block resolves into."""


@dataclass(frozen=True, slots=True)
class Norm:
    """Batch normalisation of every convolution but those of squeeze-and-excitation and a hidden layer.

    Attributes:
        epsilon: added to the variance; part of what the network computes. Default: MnasNet's and MobileNetV3's code.
    """

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", as_float(self.epsilon, "norm epsilon"))
        check(0 < self.epsilon < 1, f"norm epsilon {self.epsilon}: must lie in (0, 1)")


DEFAULT_NORM = Norm()


@dataclass(frozen=True, slots=True)
class Stem:
    """The first convolution: kernel x kernel, BN, activation. Defaults: MnasNet's."""

    channels: int = 32
    kernel: int = 3
    stride: int = 2
    activation: Activation = "relu"
    padding: Padding = "same"

    def __post_init__(self) -> None:
        check_count("stem channels", self.channels)
        check_kernel("stem ", self.kernel)
        check_stride("stem ", self.stride)
        check_activation(self.activation)
        check_padding("stem ", self.padding)


@dataclass(frozen=True, slots=True)
class Head:
    """[1x1 convolution + BN + activation], global average pooling, [hidden layer], dropout, classifier.

    Attributes:
        channels: width of the 1x1 convolution; None leaves it out.
        hidden: width of a biased layer without BN between pooling and classifier (MobileNetV3's "NBN" row), or None.
        activation: of the 1x1 convolution and of the hidden layer.
        dropout: rate before the classifier, in [0, 1); training only.
    """

    channels: int | None = 1280
    hidden: int | None = None
    activation: Activation = "relu"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.channels is not None:
            check_count("head channels", self.channels)
        if self.hidden is not None:
            check_count("hidden width", self.hidden)
        object.__setattr__(self, "dropout", as_float(self.dropout, "dropout"))
        check(0 <= self.dropout < 1, f"dropout {self.dropout}: must lie in [0, 1)")
        check_activation(self.activation)


@dataclass(frozen=True, slots=True)
class AuxHead:
    """An auxiliary classifier, in training only: average pooling 5x5 at stride 3, 1x1 convolution, then as named.

    Windows shrink to the map they get where it is smaller than at the published resolution.

    Attributes:
        after: number, from 1, of the block whose output it reads.
        weight: of its loss; positive.
        channels: width of the 1x1 convolution.
        final_channels: width of a 5x5 convolution after it (Inception-V3's 768), or None.
        hidden: width of a fully connected layer with ReLU after that (GoogLeNet's 1024), or None.
        dropout: rate before its classifier, in [0, 1).
    """

    after: int
    weight: float
    channels: int = 128
    final_channels: int | None = None
    hidden: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_count("auxiliary head's block", self.after)
        check_count("auxiliary channels", self.channels)
        for name in ("final_channels", "hidden"):
            if getattr(self, name) is not None:
                check_count(f"auxiliary {name}", getattr(self, name))
        for name in ("weight", "dropout"):
            object.__setattr__(self, name, as_float(getattr(self, name), f"auxiliary {name}"))
        check(0 < self.weight <= 1, f"auxiliary weight {self.weight}: must lie in (0, 1]")
        check(0 <= self.dropout < 1, f"auxiliary dropout {self.dropout}: must lie in [0, 1)")


@dataclass(frozen=True, slots=True)
class ArchSpec:
    """One network, complete but for input resolution and number of classes.

    Prints as a string (`search_spaces.arch_string`) and has a JSON form (`search_spaces.arch_json`).

    Attributes:
        blocks: at least one.
        stem: the first convolution.
        head: what follows the blocks.
        norm: batch normalisation, or None: convolutions are biased instead (GoogLeNet).
        aux: auxiliary classifiers, in the order of the blocks they read.

    Raises:
        ValueError: a block does not receive the width that the one before it gives, or an auxiliary head reads no block.
    """

    blocks: tuple[Block, ...]
    stem: Stem = field(default_factory=Stem)
    head: Head = field(default_factory=Head)
    norm: Norm | None = DEFAULT_NORM
    aux: tuple[AuxHead, ...] = ()

    def __post_init__(self) -> None:
        check(len(self.blocks) > 0, "an architecture needs at least one block")
        given = self.stem.channels
        for number, block in enumerate(self.blocks, start=1):
            try:
                given = block.receive(given)
            except ValueError as error:
                raise ValueError(f"block {number} {error}") from None
        places = [head.after for head in self.aux]
        check(places == sorted(set(places)), f"auxiliary heads after blocks {places}: must ascend")
        for place in places:
            check(place <= len(self.blocks), f"an auxiliary head reads block {place} of {len(self.blocks)}")

    def __str__(self) -> str:
        from search_spaces.arch_string import format_arch

        return format_arch(self)

    def layers(self) -> list[AnyLayer]:
        """The resolved layers of all blocks, in order."""
        layers: list[AnyLayer] = []
        for block in self.blocks:
            layers += block.layers()
        return layers

    def aux_by_layer(self) -> tuple[AuxHead, ...]:
        """The auxiliary heads as they are where each layer is a block of its own: `after` counts layers."""
        counts = [sum(1 for _ in block.layers()) for block in self.blocks]
        return tuple(replace(head, after=sum(counts[: head.after])) for head in self.aux)

    @property
    def key(self) -> str:
        """16 hexadecimal digits, equal for specs that resolve to the same network however they are written."""
        parts = (self.stem, self.layers(), self.head, self.norm, self.aux_by_layer())
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
