"""Times at widths that nobody measured: a surface over the measured widths of one family of keys.

Kernels work in vectors, so that time is a staircase in the widths: the surface is bilinear, with coefficients of at least 0,
in widths padded to the next stair. It therefore never falls as a width grows. How long the stair is, the data say. Outside the
box of measured widths there is no surface: nothing is extrapolated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency.op_key import Kind, OpKey
from latency.table_rows import Row

STAIRS = (1, 4, 8, 16)
"""Lengths of stair to choose from, in channels."""

_CLOCK_US = 1.0  # the profiler counts whole microseconds: shorter times are not weighted up beyond it
_LEAST_TRUST = 0.05
_UNKNOWN_TRUST = 1.0  # no key was seen often enough to tell: the surface counts like one more sighting
_LEAST_DEVIATION = 0.01

Measured = Mapping[OpKey, Row]


@dataclass(frozen=True, slots=True)
class Surface:
    """Time of one family as a function of its widths.

    Attributes:
        low: least measured input and output width.
        high: greatest.
        stair: widths are padded to its multiples.
        coefficients: of 1, padded input width, padded output width and their product; none is negative. Microseconds.
        num_kernels: median number of kernels over the family.
    """

    low: tuple[int, int]
    high: tuple[int, int]
    stair: int
    coefficients: tuple[float, float, float, float]
    num_kernels: float

    def covers(self, key: OpKey) -> bool:
        """Whether both widths of `key` lie in the box."""
        widths = (key.in_channels, key.out_channels)
        return all(low <= width <= high for low, width, high in zip(self.low, widths, self.high, strict=True))

    def time_us(self, key: OpKey) -> float:
        """Time at the widths of `key`, which should be covered; at least 0."""
        return float(_terms([key], self.stair)[0] @ np.array(self.coefficients))


@dataclass(frozen=True)
class Surfaces:
    """The surfaces of a table, and how much they are worth beside a row.

    Attributes:
        by_family: family -> its surface.
        trust: kind -> number of sightings of a key that weigh as much as the surface.
    """

    by_family: Mapping[OpKey, Surface]
    trust: Mapping[Kind, float]

    def time_us(self, key: OpKey, row: Row | None) -> float:
        """Time of `key`: the row's and the surface's, weighted by how often the key was seen.

        A key seen once is as uncertain as one profile; many like it say together what it should be.

        Raises:
            KeyError: neither a row nor a surface that covers the key.
        """
        if row is None:
            surface = self.by_family[key.family]
            if not surface.covers(key):
                raise KeyError(f"{key} lies outside the measured widths")
            return surface.time_us(key)
        if row.num_kernels == 0:
            return row.mean_us  # fused away: that is seen, not estimated
        trust = self.trust[key.kind]
        return (row.count * row.mean_us + trust * self.by_family[key.family].time_us(key)) / (row.count + trust)

    def covers(self, key: OpKey) -> bool:
        """Whether `key` lies inside the measured widths of its family."""
        surface = self.by_family.get(key.family)
        return surface is not None and surface.covers(key)


def _padded(width: NDArray[np.int64], stair: int) -> NDArray[np.int64]:
    return -(-width // stair) * stair


def _terms(keys: list[OpKey], stair: int) -> NDArray[np.float64]:
    """Rows of 1, p(in), p(out), p(in) p(out). Tied widths are one number: their last two columns are 0."""
    p_in = _padded(np.array([key.in_channels for key in keys]), stair)
    p_out = _padded(np.array([key.out_channels for key in keys]), stair)
    free = 0.0 if keys[0].ties_widths else 1.0
    return np.stack([np.ones(len(keys)), p_in, free * p_out, free * p_in * p_out], axis=1).astype(np.float64)


def _weights(measured: Measured, keys: list[OpKey]) -> NDArray[np.float64]:
    """For relative errors, by the number of sightings."""
    return np.array([np.sqrt(measured[key].count) / (measured[key].mean_us + _CLOCK_US) for key in keys])


def _fit(measured: Measured, keys: list[OpKey], stair: int) -> tuple[NDArray[np.float64], float]:
    """Coefficients, and the weighted sum of squared errors."""
    from scipy.optimize import nnls  # half a second of imports that a trial's process can do without

    terms, weights = _terms(keys, stair), _weights(measured, keys)
    scales = np.maximum(terms.max(axis=0), 1.0)
    times_us = np.array([measured[key].mean_us for key in keys])
    solution, norm = nnls(weights[:, None] * terms / scales, weights * times_us)
    coefficients: NDArray[np.float64] = solution / scales
    return coefficients, float(norm**2)


def fit_surfaces(measured: Measured) -> Surfaces:
    """Surfaces of all families in `measured`; the stair is chosen for each kind by least error over its families."""
    families: dict[OpKey, list[OpKey]] = defaultdict(list)
    for key in measured:
        families[key.family].append(key)
    stairs = {kind: _stair(measured, families, kind) for kind in {family.kind for family in families}}
    surfaces = {family: _surface(measured, keys, stairs[family.kind]) for family, keys in families.items()}
    return Surfaces(surfaces, {kind: _trust(measured, surfaces, kind) for kind in stairs})


def _stair(measured: Measured, families: Mapping[OpKey, list[OpKey]], kind: Kind) -> int:
    mine = [keys for family, keys in families.items() if family.kind == kind]
    errors = {stair: sum(_fit(measured, keys, stair)[1] for keys in mine) for stair in STAIRS}
    return min(STAIRS, key=lambda stair: (errors[stair], stair))


def _surface(measured: Measured, keys: list[OpKey], stair: int) -> Surface:
    coefficients, _ = _fit(measured, keys, stair)
    one, p_in, p_out, product = map(float, coefficients)
    ins, outs = [key.in_channels for key in keys], [key.out_channels for key in keys]
    return Surface(
        low=(min(ins), min(outs)),
        high=(max(ins), max(outs)),
        stair=stair,
        coefficients=(one, p_in, p_out, product),
        num_kernels=float(np.median([measured[key].num_kernels for key in keys])),
    )


def _trust(measured: Measured, surfaces: Mapping[OpKey, Surface], kind: Kind) -> float:
    """Variance of single sightings over variance of true times about their surface, both relative (empirical Bayes)."""
    keys = [key for key in measured if key.kind == kind]
    times_us = np.array([measured[key].mean_us for key in keys]) + _CLOCK_US
    counts = np.array([measured[key].count for key in keys])
    spreads = np.array([measured[key].spread_us for key in keys]) / times_us
    repeated = counts > 2
    if not repeated.any():
        return _UNKNOWN_TRUST
    sighting = float(np.median(spreads[repeated])) ** 2
    expected_us = np.array([surfaces[key.family].time_us(key) for key in keys]) + _CLOCK_US
    deviations = np.abs(times_us / expected_us - 1)[repeated]
    deviation = (1.4826 * float(np.median(deviations))) ** 2 - sighting / float(np.median(counts[repeated]))
    return max(_LEAST_TRUST, sighting / max(deviation, _LEAST_DEVIATION**2))
