"""The correction: from kernel times under profiling to times of whole networks.

Profiling slows kernels, each kind by its own factor and each by its own overhead, and hides what a kernel costs its
successor. Whole networks are measured too, and the difference is spread over operations: a factor and an overhead for
each kind of kernel, and prices for multiply-adds, bytes read, written and of weights (the roofline's terms). All are sums
over operations, so that a network's price stays a sum. Priors keep what the data do not determine near "as profiled".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latency.op_key import KINDS, OpKey
from search_spaces.graph import window_size

_PHYSICAL = ("macs", "read_bytes", "written_bytes", "weight_bytes", "spilled_bytes")
FEATURES = tuple(
    [f"{kind}.time_us" for kind in KINDS]
    + [f"{kind}.kernels" for kind in KINDS]
    + [f"{kind}.{name}" for kind in KINDS for name in _PHYSICAL]
)
"""What an operation is priced by; most are 0, those of other kinds."""

_NUM_KINDS = len(KINDS)
_KERNELS = slice(_NUM_KINDS, 2 * _NUM_KINDS)
_MISFIT = 0.01  # relative error that a sum over operations has even without noise
_HUBER = 1.5  # standard deviations beyond which a network counts less
_HUBER_ROUNDS = 5

# Standard deviations of the priors, chosen by held-out error on 327 random networks of the MnasNet space on one x86 machine;
# none is critical. Of factors and kernels absolute, of the others relative to their usual contribution to a network's time.
_FACTOR_SD = 0.2
_KERNEL_SD_US = 1.0  # what noting a kernel's times costs the profiler
_PHYSICAL_SD = 0.01
_INTERCEPT_SD = 0.03

# Bounds, far enough off to be reached by nonsense alone. An intercept below 0 is no nonsense: profiling slows every network,
# and with 0 as the bound the held-out error was 2.5 instead of 1.8 %.
_MOST_NOTING_US = 5.0
_LEAST_INTERCEPT = -0.3  # of the reference's time

_CACHE_BYTES = 4 << 20  # about what a core can call its own; what does not fit costs more than profiled


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A network that the correction was fitted to.

    Attributes:
        arch: its string.
        ratio: its measured time over the reference's.
        relative_sd: standard error of that ratio, relative.
        features: sums of `FEATURES` over its operations.
    """

    arch: str
    ratio: float
    relative_sd: float
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """Prices of features.

    Attributes:
        intercept_us: of every network; negative where profiling slowed them all.
        prices: microseconds a unit, in the order of `FEATURES`. Only those of kernels may be negative.
        relative_sd: robust standard deviation of the relative errors over the fitted networks.
    """

    intercept_us: float
    prices: tuple[float, ...]
    relative_sd: float

    def price_us(self, features: NDArray[np.float64]) -> float:
        """Price of one operation; of the shortest it may be a little below 0, for sums must stay sums."""
        return float(features @ np.array(self.prices))


def op_features(key: OpKey, time_us: float, num_kernels: float) -> NDArray[np.float64]:
    """The `FEATURES` of one operation; an operation without a kernel has no work of its own."""
    kind = KINDS.index(key.kind)
    features = np.zeros(len(FEATURES))
    features[kind] = time_us
    features[_NUM_KINDS + kind] = num_kernels
    first = 2 * _NUM_KINDS + kind * len(_PHYSICAL)
    features[first : first + len(_PHYSICAL)] = np.array(_work(key)) * min(1.0, num_kernels)
    return features


def _work(key: OpKey) -> tuple[float, ...]:
    """Multiply-adds; bytes read, written, of weights, beyond a cache; float32, one image."""
    sizes = zip((key.height, key.width), key.kernel, strict=True)
    positions = math.prod(window_size(size, kernel, key.stride, key.padding) for size, kernel in sizes)
    weights = 0.0
    if key.kind == "depthwise":
        weights = math.prod(key.kernel) * key.out_channels
    elif not key.ties_widths:
        weights = math.prod(key.kernel) * key.in_channels * key.out_channels / key.groups
    num_inputs = 2 if key.kind == "add" else 1
    read = num_inputs * key.in_channels * key.height * key.width
    written = key.out_channels * (1 if key.kind == "global_pool" else positions)
    spilled = max(0.0, 4.0 * (read + written) - _CACHE_BYTES)
    return weights * positions, 4.0 * read, 4.0 * written, 4.0 * weights, spilled


def fit_correction(networks: Sequence[FittedNetwork], reference_us: float, rest_us: float = 0.0) -> Correction:
    """The correction that explains the times of `networks` best.

    Least squares of relative errors with normal priors and bounds at 0, weighted by the noise of the measurements and made
    robust by Huber's weights.

    Args:
        networks: at least one.
        reference_us: time of the reference network, microseconds.
        rest_us: time of kernels that belong to no operation: what the intercept should be about.

    Raises:
        ValueError: no networks.
    """
    from scipy.optimize import nnls  # half a second of imports that a trial's process can do without

    if not networks:
        raise ValueError("a correction needs at least one measured network")
    times_us = reference_us * np.array([network.ratio for network in networks])
    sums = np.array([network.features for network in networks])
    noise = np.hypot([network.relative_sd for network in networks], _MISFIT)
    profiled_us = sums[:, :_NUM_KINDS].sum(axis=1)
    factor = float(np.median(times_us[profiled_us > 0] / profiled_us[profiled_us > 0])) if profiled_us.any() else 1.0
    # The solver knows no bound but 0: prices of kernels are counted from their least one.
    noting_us = _MOST_NOTING_US * sums[:, _KERNELS].sum(axis=1)
    targets = 1 + (noting_us - _LEAST_INTERCEPT * reference_us) / times_us
    columns = np.hstack([np.ones((len(networks), 1)), sums]) / times_us[:, None]
    means, sds = _priors(columns, factor, rest_us - _LEAST_INTERCEPT * reference_us)
    weights = np.ones(len(networks))
    for _ in range(_HUBER_ROUNDS):
        scales = np.sqrt(weights) / noise
        stacked = np.vstack([columns * scales[:, None] * sds, np.eye(len(sds))])
        solution, _ = nnls(stacked, np.concatenate([targets * scales, means / sds]))
        errors = targets - columns @ (solution * sds)
        weights = np.minimum(1.0, _HUBER / np.maximum(np.abs(errors) / noise, _HUBER))
    intercept_us, *prices = map(float, solution * sds)
    intercept_us += _LEAST_INTERCEPT * reference_us
    prices[_KERNELS] = [price - _MOST_NOTING_US for price in prices[_KERNELS]]
    spread = 1.4826 * float(np.median(np.abs(errors)))
    return Correction(intercept_us, tuple(prices), spread)


def _priors(
    columns: NDArray[np.float64], factor: float, rest_us: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations of the coefficients of `columns`."""
    usual = np.sqrt((columns**2).mean(axis=0))
    usual = np.where(usual > 0, usual, np.inf)  # a feature that no network has keeps its prior mean
    share = np.full(columns.shape[1], _PHYSICAL_SD)
    share[0] = _INTERCEPT_SD
    sds = np.maximum(share / usual, 1e-12)
    sds[1 : 1 + _NUM_KINDS] = _FACTOR_SD * factor
    sds[1 + _NUM_KINDS : 1 + 2 * _NUM_KINDS] = _KERNEL_SD_US
    means = np.zeros(columns.shape[1])
    means[0] = rest_us
    means[1 : 1 + _NUM_KINDS] = factor
    means[1 + _NUM_KINDS : 1 + 2 * _NUM_KINDS] = _MOST_NOTING_US
    return means, sds
