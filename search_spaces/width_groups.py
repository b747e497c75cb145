"""Which channels of a network are tied together: the width interpreter of the graph.

Channels are tied one by one: those that an addition sums, that a depthwise convolution or a pooling hands on, that a gate
scales. Channels tied to filters of the same convolutions make a group, one width of the network: whoever narrows it removes
the same channels from all members. Numbers that merely happen to be equal tie nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from search_spaces.graph import INPUT, Add, Concat, Conv, Graph, Linear, LocalResponseNorm, Op, Scale
from search_spaces.naming import Part, parts

Kind = Literal["stem", "expansion", "bottleneck", "branch", "head", "derived", "local_norm", "auxiliary", "classifier"]
"""What a width is.

``expansion`` is inside one layer and ``bottleneck`` between layers, in the words of the inverted residual (arXiv
1801.04381), whatever the block; ``branch`` is a convolution of an Inception module; a width between layers that the stem
shares is ``stem``. The others are never chosen: ``derived`` follows from another width by a rule of the architecture (the
squeeze of squeeze-and-excitation, the second width inside ResNet's bottleneck), channels of ``local_norm`` are normalised
with their neighbours, so that none can go without a change of others, and ``auxiliary`` heads exist in training only.
"""

V3_KINDS: frozenset[Kind] = frozenset({"expansion", "bottleneck", "branch"})
"""What MobileNetV3's refinement narrows (arXiv 1905.02244, section 4.2), and an Inception module's own."""
ALL_KINDS: frozenset[Kind] = V3_KINDS | {"stem", "head"}

Ids = NDArray[np.int64]
_BY_WORD: dict[str, Kind] = {"classifier": "classifier", "aux": "auxiliary", "stem": "stem", "head": "head"}
"""First word of a maker's role -> kind."""
_LAYER = re.compile(r"b\d+\.l\d+\.")


@dataclass(frozen=True, slots=True)
class WidthGroup:
    """One width of a network.

    Attributes:
        name: of the first convolution whose filters make its channels.
        kind: what it is.
        members: convolutions and linear layers that put its channels out, in order; one that puts out channels of several
            groups, after a concatenation, is a member of each, and one that puts its channels out twice is one twice.
        channels: ids of its channels in `Channels.of`, in order.
    """

    name: str
    kind: Kind
    members: tuple[str, ...]
    channels: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of channels."""
        return len(self.channels)


@dataclass(frozen=True, slots=True)
class Channels:
    """All channels of a graph, tied ones with one id.

    Attributes:
        of: name of a tensor -> ids of its channels, shape (channels,).
        groups: every width of the network, in the order of their first convolutions.
    """

    of: Mapping[str, Ids]
    groups: tuple[WidthGroup, ...]

    def of_kinds(self, kinds: frozenset[Kind]) -> tuple[WidthGroup, ...]:
        """The groups of some kinds, in order."""
        return tuple(group for group in self.groups if group.kind in kinds)


def width_groups(graph: Graph) -> Channels:
    """The channels of `graph` and the groups that they make; a function of names and operations, not of sizes of maps.

    Raises:
        ValueError: a grouped convolution that is not depthwise, whose channels are tied in a way that is not known here.
    """
    drawn = _drawn(graph)
    ids = _tied(drawn, graph)
    of = {name: ids[own] for name, own in drawn.items()}
    return Channels(of, tuple(_groups(graph, of)))


def makes_channels(op: Op) -> bool:
    """Whether the output channels of `op` are its own: a dense convolution, a linear layer."""
    return isinstance(op, Linear) or (isinstance(op, Conv) and op.groups == 1)


def _drawn(graph: Graph) -> dict[str, Ids]:
    """Tensor -> ids: new ones of what makes channels, those of the first input elsewhere."""
    of: dict[str, Ids] = {INPUT: np.arange(graph.input_shape[0])}
    num = graph.input_shape[0]
    for op in graph.ops:
        if isinstance(op, Conv) and op.groups not in (1, op.in_channels):
            raise ValueError(f"{op.name}: widths of a convolution in {op.groups} groups are not known to be tied")
        if makes_channels(op):
            of[op.name] = np.arange(num, num + op.shape[0])
            num += op.shape[0]
        else:
            of[op.name] = (
                np.concatenate([of[name] for name in op.inputs]) if isinstance(op, Concat) else of[op.inputs[0]]
            )
    return of


def _tied(drawn: Mapping[str, Ids], graph: Graph) -> Ids:
    """Drawn id -> the id that it shares with those tied to it: sets joined by additions and gates (union-find)."""
    ties = [[drawn[name] for name in op.inputs] for op in graph.ops if isinstance(op, Add | Scale)]
    one = np.concatenate([pair[0] for pair in ties]) if ties else np.empty(0, dtype=np.int64)
    other = np.concatenate([pair[1] for pair in ties]) if ties else np.empty(0, dtype=np.int64)
    num = 1 + max(int(ids.max()) for ids in drawn.values())
    edges = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(num, num))
    labels: Ids = connected_components(edges, directed=False)[1].astype(np.int64)
    return labels


def _groups(graph: Graph, of: Mapping[str, Ids]) -> Iterator[WidthGroup]:
    """Channels that the same operations put out are one group."""
    outputs = _layer_outputs(graph, of)
    normed = {c for op in graph.ops if isinstance(op, LocalResponseNorm) for c in of[op.name].tolist()}
    part_of = {part.op.name: part for part in parts(graph)}
    for members, ids in _by_members(list(part_of), of):
        makers = [part_of[name] for name in members if makes_channels(part_of[name].op)]
        channels = tuple(ids.tolist())
        kind = _kind(makers, not outputs.isdisjoint(channels)) if normed.isdisjoint(channels) else "local_norm"
        yield WidthGroup(makers[0].op.name, kind, members, channels)


def _by_members(names: Sequence[str], of: Mapping[str, Ids]) -> list[tuple[tuple[str, ...], Ids]]:
    """Operations that put out the same channels, with these, by partition refinement: each operation splits the sets."""
    labels = np.zeros(1 + max(int(ids.max()) for ids in of.values()), dtype=np.int64)
    members: list[tuple[str, ...]] = [()]  # by label; the image's channels keep label 0
    for name in names:
        ids, times = np.unique(of[name], return_counts=True)
        before, part = np.unique(np.stack([labels[ids], times]), axis=1, return_inverse=True)
        labels[ids] = len(members) + part.reshape(-1)
        members += [(*members[label], *[name] * number) for label, number in before.T.tolist()]
    order = {name: place for place, name in enumerate(names)}
    known = (label for label in np.unique(labels).tolist() if members[label])
    found = [(members[label], np.flatnonzero(labels == label)) for label in known]
    return sorted(found, key=lambda group: (order[group[0][0]], int(group[1][0])))


def _layer_outputs(graph: Graph, of: Mapping[str, Ids]) -> set[int]:
    """Channels that leave a layer."""
    last = {match[0]: op.name for op in graph.ops if (match := _LAYER.match(op.name))}
    return {channel for name in last.values() for channel in of[name].tolist()}


def _kind(makers: Sequence[Part], leaves_layer: bool) -> Kind:
    words = {part.role.split(".")[0].rstrip("0123456789") for part in makers}
    for word, kind in _BY_WORD.items():
        if word in words:
            return kind
    second_inner = any(part.role == "conv" and "reduce" in part.siblings for part in makers)
    if second_inner or makers[0].role == "se.reduce":
        return "derived"
    if words <= {"branch", "se"}:
        return "branch"
    return "bottleneck" if leaves_layer else "expansion"
