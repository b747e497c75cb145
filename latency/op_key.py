"""What an operation's cost depends on, as a value: the key under which a latency table keeps it.

A key holds the operation's shape and the little context that decides what a runtime fuses into it or has to reorder around
it. The context reaches no further than the operation's own layer, so that a layer costs the same whatever its neighbours
are, and a table knows a network from the layers of others. Which fusions there are is not written here: what a key costs,
no kernel at all included, is what was observed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from search_spaces.arch import Activation, Kernel, Padding
from search_spaces.graph import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalPool,
    Graph,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Op,
    Scale,
    Shape,
)

Kind = Literal[
    "conv",
    "pointwise",
    "depthwise",
    "grouped",
    "average_pool",
    "max_pool",
    "global_pool",
    "local_norm",
    "scale",
    "add",
    "concat",
    "linear",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

After = Literal["", "plain", "activated", "scale"]
"""What makes the first input of an Add: a bare convolution, one with an activation, a Scale. Empty for other operations."""

Before = Literal["", "add", "add_pooled", "scale", "gate"]
"""Who reads the output: nobody but an Add, whose other input is the layer's own or a pooled one; a Scale as its data; a
Scale as its factors. Empty: anybody else. An Add itself bears the word of its other input."""


@dataclass(frozen=True, slots=True, order=True)
class OpKey:
    """One kind of operation at one size; equal keys cost the same.

    Prints as ``conv 96->24 k1 s1 @56x56 none >add`` and the like; `parse` reads it back.

    Attributes:
        kind: ``conv`` is dense with a kernel above 1, ``pointwise`` dense with kernel 1; the rest is what it says.
        in_channels: absolute width of the first input, or features, or of all inputs of a concatenation; at least 1.
        out_channels: of the output; at least 1.
        kernel: (height, width) of the window; (1, 1) for operations without one.
        stride: 1 for operations without one.
        height: of the first input.
        width: of the first input.
        activation: swallowed or not, it is part of the convolution or addition.
        groups: of a grouped convolution; 1 for all other kinds, depthwise included.
        after: see `After`.
        before: see `Before`.
        padding: of the window.
    """

    kind: Kind
    in_channels: int
    out_channels: int
    kernel: Kernel
    stride: int
    height: int
    width: int
    activation: Activation = "none"
    groups: int = 1
    after: After = ""
    before: Before = ""
    padding: Padding = "same"

    def __str__(self) -> str:
        kernel = "x".join(map(str, dict.fromkeys(self.kernel)))
        padding = "" if self.padding == "same" else f" {self.padding}"
        groups = f" g{self.groups}" if self.groups > 1 else ""
        context = "".join(f" {sign}{word}" for sign, word in (("<", self.after), (">", self.before)) if word)
        return (
            f"{self.kind} {self.in_channels}->{self.out_channels} k{kernel} s{self.stride}{groups}{padding} "
            f"@{self.height}x{self.width} {self.activation}{context}"
        )

    @classmethod
    def parse(cls, text: str) -> OpKey:
        """Inverse of printing, strict.

        Raises:
            ValueError: `text` is not what a key prints.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"operation key {text!r}: expected the form 'pointwise 96->24 k1 s1 @56x56 none >add'")
        fields: Mapping[str, str | None] = match.groupdict()
        numbers = {name: int(value or 1) for name, value in fields.items() if name in _NUMBERS}
        words = {name: value or "" for name, value in fields.items() if name not in (*_NUMBERS, *_SIDES)}
        height, width = (fields[name] for name in _SIDES)
        kernel = (int(height or 1), int(width or height or 1))
        words["padding"] = words["padding"] or "same"
        return cls(**{**numbers, **words}, kernel=kernel)  # type: ignore[arg-type]

    @property
    def family(self) -> OpKey:
        """The key without its widths: those of one family differ in nothing else."""
        return replace(self, in_channels=0, out_channels=0)

    @property
    def ties_widths(self) -> bool:
        """Whether in and out widths are one number: neither dense convolution nor linear."""
        return self.kind not in ("conv", "pointwise", "grouped", "linear")


_NUMBERS = ("in_channels", "out_channels", "stride", "height", "width", "groups")
_SIDES = ("kernel_height", "kernel_width")


def _number(name: str) -> str:
    return rf"(?P<{name}>[1-9]\d*)"


_POINT: Kernel = (1, 1)

_PATTERN = re.compile(
    rf"(?P<kind>{'|'.join(KINDS)}) {_number('in_channels')}->{_number('out_channels')} "
    rf"k{_number('kernel_height')}(?:x(?!(?P=kernel_height) ){_number('kernel_width')})? "
    rf"s{_number('stride')}(?: g(?P<groups>[2-9]|[1-9]\d+))?"
    rf"(?: (?P<padding>valid|ceil))? "
    rf"@{_number('height')}x{_number('width')} (?P<activation>{'|'.join(get_args(Activation))})"
    rf"(?: <(?P<after>{'|'.join(filter(None, get_args(After)))}))?"
    rf"(?: >(?P<before>{'|'.join(filter(None, get_args(Before)))}))?",
    re.ASCII,
)


def op_keys(graph: Graph) -> list[OpKey]:
    """The key of every operation of `graph`, in its order."""
    makers = {op.name: op for op in graph.ops}
    readers: dict[str, list[Op]] = {op.name: [] for op in graph.ops}
    for op in graph.ops:
        for name in op.inputs:
            if name in readers:
                readers[name].append(op)
    shapes = {INPUT: graph.input_shape, **{op.name: op.shape for op in graph.ops}}
    return [
        _key(op, shapes[op.inputs[0]], _after(op, makers), _before(op, readers[op.name], makers)) for op in graph.ops
    ]


def _after(op: Op, makers: Mapping[str, Op]) -> After:
    """Only an Add's: the maker of its first input belongs to the same layer."""
    if not isinstance(op, Add):
        return ""
    maker = makers.get(op.inputs[0])
    if isinstance(maker, Scale):
        return "scale"
    return "activated" if isinstance(maker, Conv) and maker.activation != "none" else "plain"


def _before(op: Op, readers: list[Op], makers: Mapping[str, Op]) -> Before:
    if isinstance(op, Add):
        return _shortcut(op, makers)
    for reader in readers:
        if isinstance(reader, Scale):
            return "scale" if reader.inputs[0] == op.name else "gate"
    # An output that an Add and the next layer read is the layer's own output: that Add is a neighbour's.
    if readers and all(isinstance(reader, Add) for reader in readers):
        return _shortcut(readers[0], makers)
    return ""


def _shortcut(add: Op, makers: Mapping[str, Op]) -> Before:
    other = add.inputs[1]
    own = other.rpartition(".")[0] == add.name.rpartition(".")[0]  # and not the layer before, which may be a pooling
    return "add_pooled" if own and isinstance(makers.get(other), AveragePool) else "add"


def _key(op: Op, source: Shape, after: After, before: Before) -> OpKey:
    channels, height, width = source
    match op:
        case Conv():
            kind, groups = _convolution(op)
            sizes = (op.kernel, op.stride, height, width)
            return OpKey(kind, channels, op.shape[0], *sizes, op.activation, groups, after, before, op.padding)
        case AveragePool() | MaxPool():
            pool: Kind = "average_pool" if isinstance(op, AveragePool) else "max_pool"
            window = ((op.kernel, op.kernel), op.stride)
            return OpKey(pool, channels, channels, *window, height, width, before=before, padding=op.padding)
        case Linear():
            return OpKey("linear", op.in_features, op.shape[0], _POINT, 1, 1, 1, op.activation)
        case GlobalPool():
            return OpKey("global_pool", channels, channels, _POINT, 1, height, width, before=before)
        case LocalResponseNorm():
            return OpKey("local_norm", channels, channels, (op.size, op.size), 1, height, width, before=before)
        case Scale():
            return OpKey("scale", channels, channels, _POINT, 1, height, width, before=before)
        case Add():
            return OpKey("add", channels, channels, _POINT, 1, height, width, op.activation, after=after, before=before)
        case Concat():
            return OpKey("concat", op.shape[0], op.shape[0], _POINT, 1, height, width, before=before)
        case _:
            raise TypeError(f"no latency key for operation {op}")


def _convolution(op: Conv) -> tuple[Kind, int]:
    if op.groups == 1:
        return ("pointwise" if op.kernel == _POINT else "conv"), 1
    if op.groups == op.in_channels == op.shape[0]:
        return "depthwise", 1
    return "grouped", op.groups
