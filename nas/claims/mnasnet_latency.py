"""Claims about MnasNet, by latency on this device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.claims.claim import Finding, check, gravest
from nas.claims.interval import resampled
from nas.claims.judgement import around, judged
from nas.claims.kernel_time import pace
from nas.claims.lab import Lab, Ratio
from search_spaces.arch import ArchSpec, BlockSpec
from search_spaces.mnasnet import MNASNET

_A1 = "mnasnet_a1"


def of_one_type(arch: ArchSpec, kernel: int, expand_ratio: int) -> ArchSpec:
    """One layer type everywhere, without SE; layer counts, widths and strides stay.

    The first block takes part: so the MACs go as the printed latencies of table 6 do.
    """
    blocks = (
        replace(block, kernel=kernel, expand_ratio=expand_ratio, se=None) if isinstance(block, BlockSpec) else block
        for block in arch.blocks
    )
    return replace(arch, blocks=tuple(blocks))


_PIXEL_MS = {(3, 3): 63, (5, 3): 78, (3, 6): 116, (5, 6): 146}  # kernel, expansion: arXiv 1807.11626, table 6
_A1_MS = 78


@check(34, "latency")
def time_of_one_type(lab: Lab) -> Finding:
    """Networks of one layer type against A1."""
    arch, a1_macs = lab.arch(_A1), lab.count(_A1).macs
    told, verdicts, kernels = [], [], []
    for (kernel, expansion), ms in _PIXEL_MS.items():
        network, published = of_one_type(arch, kernel, expansion), ms / _A1_MS
        name = f"MBConv{expansion} {kernel}x{kernel}"
        ratio = lab.ratio(network, arch, f"{name} alone against A1")
        told.append(f"{name} {ratio} ({published:.2f} printed, MACs {lab.count(network).macs / a1_macs:.2f})")
        verdicts.append(judged(ratio.interval, around(published)))
        kernels.append(ratio.value)
    verdict = gravest(verdicts)
    why = (
        f"5x5 in place of 3x3 makes the networks {kernels[1] / kernels[0]:.2f} and {kernels[3] / kernels[2]:.2f} times as "
        f"slow here, {78 / 63:.2f} and {146 / 116:.2f} times on the phone."
    )
    return Finding(f"of A1's time, one layer type alone: {', '.join(told)}", verdict, "" if verdict == "holds" else why)


_NUM_NETWORKS = 100
_SAME_MACS = 0.01  # difference of MACs up to which two networks have as many
_LARGE_GAP = 1.3


@dataclass(frozen=True, slots=True)
class Measured:
    """A network of the space: its MACs, its time over the reference's."""

    arch: ArchSpec
    macs: int
    ratio: Ratio


def certain_gap(slow: Measured, fast: Measured) -> float:
    """How many times as slow the one is as the other, as far as the intervals leave it certain."""
    return slow.ratio.interval[0] / fast.ratio.interval[1]


def most_unlike(networks: Sequence[Measured]) -> tuple[Measured, Measured]:
    """Of the pairs with as many MACs the one that differs most in time: the slow one, the fast one.

    Raises:
        ValueError: no two have as many MACs.
    """
    pairs = [pair for pair in itertools.permutations(networks, 2) if abs(pair[0].macs / pair[1].macs - 1) <= _SAME_MACS]
    return max(pairs, key=lambda pair: certain_gap(*pair))


def _rank_correlation(rows: NDArray[np.float64]) -> float:
    """Spearman's, of two columns."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(rows, axis=0), rowvar=False)[0, 1])


@check(31, "latency", long=True)
def macs_as_proxy(lab: Lab) -> Finding:
    """Random networks of the MnasNet space: MACs against latency.

    The claim has no figure; here it holds if two networks with as many MACs differ in time by more than `_LARGE_GAP`
    beyond their intervals.
    """
    rng = lab.rng()
    networks = []
    for number in range(1, _NUM_NETWORKS + 1):
        arch = MNASNET.decode(MNASNET.sample(rng))
        ratio = lab.ratio(arch, "mobilenet_v2", f"network {number} of {_NUM_NETWORKS} of the MnasNet space")
        networks.append(Measured(arch, lab.count(arch).macs, ratio))
    rows = np.array([(network.macs, network.ratio.value) for network in networks])
    rank, (low, high) = _rank_correlation(rows), resampled(_rank_correlation, rows, rng)
    linear = float(np.corrcoef(rows, rowvar=False)[0, 1])
    slow, fast = most_unlike(networks)
    gap, certain = slow.ratio.value / fast.ratio.value, certain_gap(slow, fast)
    found = (
        f"{len(networks)} networks: rank correlation of MACs and latency {rank:.3f} ({low:.3f} to {high:.3f}), linear "
        f"{linear:.3f}; two with MACs equal within {_SAME_MACS:.0%} differ in latency by {gap:.2f} times, by {certain:.2f} "
        "for certain"
    )
    why = f"MACs per nanosecond of these two under profiling: {pace(lab, slow.arch)} and {pace(lab, fast.arch)}."
    return Finding(found, judged((certain, max(certain, 1.0)), (_LARGE_GAP, np.inf)), why)
