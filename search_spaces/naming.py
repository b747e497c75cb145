"""What other libraries call the weights of a network: small rules over the operations of its graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from search_spaces.graph import Conv, Graph, Linear

_NAME = re.compile(r"(?:(b\d+\.l\d+)\.)?(.+)")
"""A layer and a part of it, or what stands outside of layers."""
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Part:
    """An operation with weights, and where it stands.

    Attributes:
        op: the operation.
        role: its name without block and layer: ``stem``, ``expand``, ``se.reduce``, ``branch2.1``, ``head.conv``,
            ``classifier``, ``aux1.conv``.
        layer: number of its layer among those that have weights, from 1; 0 for the stem, one more than the last for what
            follows the layers. Width multipliers do not change it, which block numbers need not survive.
        siblings: parts of its layer in order, itself included, squeeze-and-excitation and a branch being one each; empty
            outside of layers.
    """

    op: Conv | Linear
    role: str
    layer: int
    siblings: tuple[str, ...] = ()

    @property
    def position(self) -> int:
        """Number among its siblings, from 0."""
        return self.siblings.index(self.role.split(".")[0])


@dataclass(frozen=True, slots=True)
class Keys:
    """What a library calls an operation's modules.

    Attributes:
        weights: of the convolution or fully connected layer, as ``features.0.0``.
        norm: of its batch normalisation, or None where it has none.
        flat: the library has a fully connected layer where the graph has a 1x1 convolution of one position.
    """

    weights: str
    norm: str | None = None
    flat: bool = False


Rule = Callable[[Part], Keys]


@dataclass(frozen=True, slots=True)
class Naming:
    """A library's form of a network.

    Attributes:
        rule: names a part.
        epsilon: of the library's batch normalisation, without which the same weights compute something else; None leaves
            the architecture's.
    """

    rule: Rule
    epsilon: float | None


@dataclass(frozen=True, slots=True)
class Key:
    """One tensor of a library's state dict: its name, and whether it lacks the last two axes, of length 1, of ours."""

    name: str
    flat: bool = False


def parts(graph: Graph) -> list[Part]:
    """The operations of `graph` that have weights, in order."""
    found: list[tuple[Conv | Linear, str, str]] = []
    layers: dict[str, list[str]] = {}
    for op in graph.ops:
        if isinstance(op, Conv | Linear):
            place, role = _NAME.fullmatch(op.name).groups(default="")  # type: ignore[union-attr]
            found.append((op, place, role))
            if place:
                siblings = layers.setdefault(place, [])
                siblings += [] if (own := role.split(".")[0]) in siblings else [own]
    numbers = {place: number for number, place in enumerate(layers, start=1)}
    after = len(layers) + 1
    return [
        Part(op, role, numbers[place], tuple(layers[place]))
        if place
        else Part(op, role, 0 if role == "stem" else after)
        for op, place, role in found
    ]


def skeleton(graph: Graph) -> tuple[object, ...]:
    """Equal for graphs that differ in widths, activations and epsilon alone, auxiliary heads left aside."""
    return tuple(_bones(part) for part in parts(graph) if not part.role.startswith("aux"))


def _bones(part: Part) -> tuple[object, ...]:
    match part.op:
        case Conv(kernel=kernel, stride=stride, groups=groups):
            return (part.role, part.layer, kernel, stride, groups > 1)
        case Linear():
            return (part.role, part.layer)


def key_map(graph: Graph, naming: Naming) -> dict[str, Key]:
    """Key in the state dict of `graph`'s torch module -> key in the library's."""
    return {ours: key for part in parts(graph) for ours, key in _keys(part, naming.rule(part))}


def _keys(part: Part, keys: Keys) -> Iterator[tuple[str, Key]]:
    name = part.op.name
    if isinstance(part.op, Linear):
        yield f"{name}.linear.weight", Key(f"{keys.weights}.weight")
        yield f"{name}.linear.bias", Key(f"{keys.weights}.bias")
        return
    yield f"{name}.conv.weight", Key(f"{keys.weights}.weight", keys.flat)
    if part.op.bias:
        yield f"{name}.conv.bias", Key(f"{keys.weights}.bias")
    if part.op.norm:
        yield from ((f"{name}.norm.{leaf}", Key(f"{keys.norm}.{leaf}")) for leaf in _NORM)
