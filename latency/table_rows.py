"""From profiled networks to rows: what an operation's kernels took under profiling, by key."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from latency.kernel_profile import kernels
from latency.latency import Latency
from latency.measurement import Measurement
from latency.op_key import OpKey, op_keys
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.graph import Graph
from search_spaces.lower import lower

_TO_PLAIN_LAYOUT = "ReorderOutput"
_POLISHING_ROUNDS = 10
_TRIMMED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Observation:
    """One network, measured whole and profiled.

    Attributes:
        arch: the network.
        latency: of the whole network, not profiled.
        measurements: the raw samples behind it, one a process.
        op_us: time of each operation's kernels under profiling, microseconds, in the order of the graph.
        op_kernels: how many kernels that were.
        rest_us: time of kernels that belong to no operation.
    """

    arch: ArchSpec
    latency: Latency
    measurements: tuple[Measurement, ...]
    op_us: tuple[float, ...]
    op_kernels: tuple[int, ...]
    rest_us: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "arch": str(self.arch),
            "latency": self.latency.to_dict(),
            "measurements": [measurement.to_dict() for measurement in self.measurements],
            "op_us": [round(time_us, 3) for time_us in self.op_us],
            "op_kernels": list(self.op_kernels),
            "rest_us": round(self.rest_us, 3),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Observation:
        """Inverse of `to_dict`, to a nanosecond.

        Raises:
            KeyError, TypeError, ValueError: not what `to_dict` gives.
        """
        return cls(
            parse_arch(data["arch"]),
            Latency.from_dict(data["latency"]),
            tuple(map(Measurement.from_dict, data["measurements"])),
            tuple(map(float, data["op_us"])),
            tuple(map(int, data["op_kernels"])),
            float(data["rest_us"]),
        )


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half of `values` (at least one): robust as a median, and finer than whole microseconds."""
    ordered = np.sort(values)
    cut = int(len(ordered) * _TRIMMED_SHARE)
    return float(ordered[cut : len(ordered) - cut].mean())


@dataclass(frozen=True, slots=True)
class Profile:
    """Time and number of kernels of each operation of a graph; fields as in `Observation`."""

    op_us: tuple[float, ...]
    op_kernels: tuple[int, ...]
    rest_us: float


def attribute(graph: Graph, model: bytes, trace: Mapping[str, Any]) -> Profile:
    """Charge the kernels of a profile to the operations of `graph`.

    Args:
        graph: the network's operations.
        model: the ONNX bytes that were profiled, with nodes called after the operations.
        trace: as `latency.kernel_trace.trace` gives it.
    """
    positions = {op.name: position for position, op in enumerate(graph.ops)}
    op_us, op_kernels, rest_us = [0.0] * len(positions), [0] * len(positions), 0.0
    durations_us = {event[0]: event[2] for event in trace["events"]}
    origins = _origins(model, trace)
    for name, origin in origins.items():
        time_us = interquartile_mean(durations_us[name])
        position = positions.get((origin or "").partition("/")[0])
        if position is None:
            rest_us += time_us
        else:
            op_us[position] += time_us
            op_kernels[position] += 1
    return Profile(tuple(op_us), tuple(op_kernels), rest_us)


def _origins(model: bytes, trace: Mapping[str, Any]) -> dict[str, str | None]:
    """Kernel -> node that it is charged to.

    A change of layout is charged to the operation that works in the other layout. For a return to the plain layout that is
    the reader: its maker would have kept the blocked one, whoever came next. Charged so, a layer costs the same before
    any neighbour.
    """
    origins = {kernel.name: kernel.origin for kernel in kernels(model, trace)}
    executed = list(onnx.load_from_string(base64.b64decode(trace["optimized"])).graph.node)
    readers: dict[str, str] = {}
    for node in executed:
        for tensor in node.input:
            readers.setdefault(tensor, node.name)
    for node in executed:
        if node.op_type == _TO_PLAIN_LAYOUT and (reader := readers.get(node.output[0])) in origins:
            assert reader is not None
            origins[node.name] = origins[reader]
    return origins


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen of one key under profiling.

    Attributes:
        count: times it was seen, at least 1.
        mean_us: interquartile mean of its times, the machine's state taken out; 0 where it was fused away.
        spread_us: standard deviation of the times; 0 for a single one.
        num_kernels: mean number of executed kernels.
    """

    count: int
    mean_us: float
    spread_us: float
    num_kernels: float


def rows(observations: Sequence[Observation], resolution: int, num_classes: int) -> dict[OpKey, Row]:
    """The rows of all keys in `observations` (at least one network).

    A profile of some seconds sees the machine in one state: all its kernels are some percent fast or slow. So a time is
    taken as a key's mean times a factor of the network, found by turns (a two-way fit); the factors' median is 1.
    """
    names: dict[OpKey, int] = {}
    keys_of = [op_keys(lower(seen.arch, resolution, num_classes)) for seen in observations]
    numbers = np.array([names.setdefault(key, len(names)) for keys in keys_of for key in keys])
    networks = np.repeat(np.arange(len(keys_of)), [len(keys) for keys in keys_of])
    times_us = np.array([time_us for seen in observations for time_us in seen.op_us])
    num_kernels = np.array([number for seen in observations for number in seen.op_kernels], float)
    factors = np.ones(len(keys_of))
    for _ in range(_POLISHING_ROUNDS):
        means = _trimmed_means(numbers, times_us / factors[networks], len(names))
        factors = _network_factors(networks, times_us, means[numbers], len(keys_of))
    adjusted = times_us / factors[networks]
    means = _trimmed_means(numbers, adjusted, len(names))
    counts = np.bincount(numbers)
    squares = np.bincount(numbers, (adjusted - (np.bincount(numbers, adjusted) / counts)[numbers]) ** 2)
    spreads = np.sqrt(squares / np.maximum(counts - 1, 1))
    kernels_mean = np.bincount(numbers, num_kernels) / counts
    return {
        key: Row(int(counts[n]), float(means[n]), float(spreads[n]), float(kernels_mean[n])) for key, n in names.items()
    }


def _trimmed_means(groups: NDArray[np.intp], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Interquartile mean of each group; every group has at least one value."""
    order = np.lexsort((values, groups))
    counts = np.bincount(groups, minlength=size)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    cuts = (counts * _TRIMMED_SHARE).astype(int)
    sums = np.concatenate(([0.0], np.cumsum(values[order])))
    means: NDArray[np.float64] = (sums[starts + counts - cuts] - sums[starts + cuts]) / (counts - 2 * cuts)
    return np.maximum(means, 0.0)  # differences of long sums may end below zero by rounding


def _network_factors(
    networks: NDArray[np.intp], times_us: NDArray[np.float64], means_us: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """How slow each network's profile was: the median of time over mean, an operation counting by its mean."""
    factors = np.ones(size)
    for network in range(size):
        mine = (networks == network) & (means_us > 0)
        if not mine.any():
            continue
        ratios, weights = times_us[mine] / means_us[mine], means_us[mine]
        order = np.argsort(ratios)
        cumulated = np.cumsum(weights[order])
        factors[network] = ratios[order][np.searchsorted(cumulated, cumulated[-1] / 2)]
    factors = np.where(factors > 0, factors, 1.0)
    scaled: NDArray[np.float64] = factors / np.median(factors)
    return scaled
