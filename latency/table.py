"""The latency table (look-up table, LUT): a network's latency as a sum over its operations, in microseconds of CPU time.

Rows come from profiles of whole networks, as the runtime really executes them; a correction fitted to whole-network
measurements makes them sum up to latencies (`table_fit`); widths between measured ones are priced by a surface
(`table_surface`). What the table does not know is an error that names it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from latency.device_info import DeviceInfo
from latency.latency import Latency
from latency.op_key import OpKey, op_keys
from latency.table_fit import Correction, FittedNetwork, fit_correction, op_features
from latency.table_rows import Observation, Row, rows
from latency.table_surface import Surfaces, fit_surfaces
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.graph import Graph
from search_spaces.lower import lower

_SHOWN_KEYS = 5
_HALF_WIDTH_95 = 1.96
_MEAN_ABSOLUTE_OF_SD = math.sqrt(2 / math.pi)  # of a normal distribution


class MissingKeysError(ValueError):
    """A network has operations that the table cannot price.

    Attributes:
        keys: those, each once.
    """

    def __init__(self, keys: Iterable[OpKey], arch: str) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        shown = ", ".join(f"'{key}'" for key in self.keys[:_SHOWN_KEYS])
        more = f" and {len(self.keys) - _SHOWN_KEYS} more" if len(self.keys) > _SHOWN_KEYS else ""
        super().__init__(
            f"the table has no price for {shown}{more}, and they lie outside the widths it measured; "
            f"measure them with: nas latency table build --arch '{arch}' --out FILE; or, where they belong to the table's "
            "own networks, let its build go on with a larger --networks or --minutes"
        )


@dataclass(frozen=True, slots=True)
class WorstCase:
    """A network of a validation: its string, the table's milliseconds, the measured ones."""

    arch: str
    table_ms: float
    measured_ms: float


@dataclass(frozen=True, slots=True)
class Validation:
    """How far a table was off on networks that it was not fitted to.

    Attributes:
        mape: mean absolute relative error, a fraction.
        within_5_percent: share of networks less than 5 % off.
        kendall_tau: rank correlation of prices and measurements, in [-1, 1].
        num_networks: at least 2.
        worst: the networks furthest off, worst first.
        date: ISO date.
    """

    mape: float
    within_5_percent: float
    kendall_tau: float
    num_networks: int
    worst: tuple[WorstCase, ...]
    date: str


@dataclass(frozen=True)
class LatencyTable:
    """A `LatencySource` that measures nothing.

    Attributes:
        device: what the prices hold for; it includes the resolution.
        population: which networks were looked at: ``space NAME`` or ``variants of ARCH``.
        num_classes: outputs of the classifier of the measured networks.
        reference: network that ratios refer to.
        reference_ms: its frozen time.
        rows: what was seen under profiling, by key.
        networks: what the correction was fitted to.
        rest_us: mean time of kernels that belong to no operation.
        correction: from rows to latencies.
        date: ISO date of the last observation.
        validation: the last one, None before the first.
    """

    device: DeviceInfo
    population: str
    num_classes: int
    reference: ArchSpec
    reference_ms: float
    rows: Mapping[OpKey, Row]
    networks: tuple[FittedNetwork, ...]
    rest_us: float
    correction: Correction
    date: str
    validation: Validation | None = None

    @property
    def resolution(self) -> int:
        """Side of the input in pixels."""
        return self.device.resolution

    @property
    def relative_error(self) -> float:
        """Standard deviation of relative errors: of the validation, or else of the fit, which flatters."""
        if self.validation is not None:
            return self.validation.mape / _MEAN_ABSOLUTE_OF_SD
        return self.correction.relative_sd

    def keys(self, arch: ArchSpec) -> list[OpKey]:
        """The keys of `arch` as the table's networks are deployed."""
        return op_keys(self._lowered(arch))

    def missing(self, graph: Graph) -> list[OpKey]:
        """Keys of `graph` that have no price, each once."""
        return [key for key in dict.fromkeys(op_keys(graph)) if not self.knows(key)]

    def knows(self, key: OpKey) -> bool:
        """Whether `key` has a price, its own or interpolated."""
        return key in self.rows or self._surfaces.covers(key)

    def interpolated(self, arch: ArchSpec) -> list[OpKey]:
        """Keys of `arch` that were never measured themselves, each once; some may have no price."""
        return [key for key in dict.fromkeys(self.keys(arch)) if key not in self.rows]

    def price_us(self, key: OpKey) -> float:
        """Corrected price of one operation in microseconds; see `Correction.price_us`.

        Raises:
            KeyError: neither a row nor a surface that covers the key.
        """
        known = self._prices.get(key)
        if known is None:
            time_us, num_kernels = self._profiled(key)
            known = self._prices[key] = self.correction.price_us(op_features(key, time_us, num_kernels))
        return known

    def price(self, arch: ArchSpec) -> Latency:
        """The latency of `arch`: the intercept and the prices of its operations; the interval is the table's error.

        Raises:
            MissingKeysError: operations without a price.
        """
        graph = self._lowered(arch)
        if missing := self.missing(graph):
            raise MissingKeysError(missing, str(arch))
        return self.latency_of_us(self.correction.intercept_us + sum(map(self.price_us, op_keys(graph))))

    def latency(self, arch: ArchSpec) -> Latency:
        """`price`, under the name that makes the table a `LatencySource`."""
        return self.price(arch)

    def latency_of_us(self, time_us: float) -> Latency:
        """A sum of prices as a `Latency`."""
        latency_ms = time_us / 1000
        ratio = latency_ms / self.reference_ms
        spread = math.exp(_HALF_WIDTH_95 * self.relative_error)
        return Latency(
            latency_ms=latency_ms,
            interval_ms=(latency_ms / spread, latency_ms * spread),
            ratio=ratio,
            ratio_interval=(ratio / spread, ratio * spread),
            status="ok",
            source="table",
        )

    def corrected(self, measured: Sequence[tuple[ArchSpec, Latency]]) -> LatencyTable:
        """This table with measurements of whole networks added and its correction fitted anew.

        Rows stay as they are. A failed or disturbed measurement says nothing and is left out.

        Raises:
            MissingKeysError: a network has operations without a price.
            ValueError: a latency that was not measured.
        """
        if unmeasured := [str(arch) for arch, latency in measured if latency.source != "measured"]:
            raise ValueError(f"a table is corrected by measurements alone; not measured: {unmeasured[0]}")
        added = [
            self._fitted(arch, latency.ratio, latency.ratio_interval)
            for arch, latency in measured
            if latency.status in ("ok", "wide")
        ]
        networks = self.networks + tuple(added)
        correction = fit_correction(networks, 1000 * self.reference_ms, self.rest_us)
        table = replace(self, networks=networks, correction=correction)
        table.__dict__["_surfaces"] = self._surfaces  # they depend on the rows alone
        return table

    @cached_property
    def _surfaces(self) -> Surfaces:
        return fit_surfaces(self.rows)

    @cached_property
    def _prices(self) -> dict[OpKey, float]:
        return {}

    def _lowered(self, arch: ArchSpec) -> Graph:
        return lower(arch, self.resolution, self.num_classes)

    def _profiled(self, key: OpKey) -> tuple[float, float]:
        """Time under profiling and number of kernels."""
        row = self.rows.get(key)
        time_us = self._surfaces.time_us(key, row)
        return time_us, self._surfaces.by_family[key.family].num_kernels if row is None else row.num_kernels

    def _fitted(self, arch: ArchSpec, ratio: float, interval: tuple[float, float]) -> FittedNetwork:
        graph = self._lowered(arch)
        if missing := self.missing(graph):
            raise MissingKeysError(missing, str(arch))
        return _fitted_network(arch, ratio, interval, [(key, *self._profiled(key)) for key in op_keys(graph)])


def _fitted_network(
    arch: ArchSpec, ratio: float, interval: tuple[float, float], operations: Iterable[tuple[OpKey, float, float]]
) -> FittedNetwork:
    features = np.sum([op_features(*operation) for operation in operations], axis=0)
    relative_sd = math.log(interval[1] / interval[0]) / (2 * _HALF_WIDTH_95)
    return FittedNetwork(str(arch), ratio, relative_sd, tuple(map(float, features)))


def fit_table(
    observations: Sequence[Observation],
    *,
    device: DeviceInfo,
    population: str,
    num_classes: int,
    reference: ArchSpec,
    reference_ms: float,
    date: str | None = None,
) -> LatencyTable:
    """The table that `observations` make: rows, surfaces over them, correction.

    Networks whose measurement failed or was disturbed still give rows.

    Args:
        observations: all of `device`.
        device: where they were taken; its resolution is the networks'.
        population: what they were drawn from, as in `LatencyTable`.
        num_classes: outputs of their classifiers.
        reference: network that their ratios refer to.
        reference_ms: its frozen time; positive.
        date: ISO date; today by default.

    Raises:
        ValueError: not one network was measured.
    """
    usable = [seen for seen in observations if seen.latency.status in ("ok", "wide")]
    if not usable:
        raise ValueError(f"of {len(observations)} observed networks none has a usable measurement")
    seen_rows = rows(observations, device.resolution, num_classes)
    surfaces = fit_surfaces(seen_rows)
    profiled = {key: (key, surfaces.time_us(key, row), row.num_kernels) for key, row in seen_rows.items()}
    networks = []
    for seen in usable:
        keys = op_keys(lower(seen.arch, device.resolution, num_classes))
        operations = [profiled[key] for key in keys]
        networks.append(_fitted_network(seen.arch, seen.latency.ratio, seen.latency.ratio_interval, operations))
    rest_us = float(np.mean([seen.rest_us for seen in observations]))
    return LatencyTable(
        device=device,
        population=population,
        num_classes=num_classes,
        reference=parse_arch(str(reference)),
        reference_ms=reference_ms,
        rows=seen_rows,
        networks=tuple(networks),
        rest_us=rest_us,
        correction=fit_correction(networks, 1000 * reference_ms, rest_us),
        date=date or datetime.date.today().isoformat(),
    )
