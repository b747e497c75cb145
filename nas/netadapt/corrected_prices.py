"""Prices of networks by a latency table, corrected by what an adaptation has measured so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul

from latency.latency import Latency
from latency.table import LatencyTable
from nas.netadapt.cost import table_price_ms
from nas.netadapt.proposal import Cost
from search_spaces.arch import ArchSpec

_HALF_WIDTH_95 = 1.96

# Relative standard deviations of what a step saves over what the table says: of all steps in common, before any is measured,
# and of each step by itself. Steps differ by more than tables do: with less for a step, the first steps' errors are learnt.
_COMMON_SD = 0.2
_STEP_SD = 0.5
_LEAST_SD = 1e-5  # of a measurement, relative: what is exact shall not weigh infinitely
_LEAST_SCALE = 0.25  # noise alone must not make narrower networks dearer


@dataclass(frozen=True, slots=True)
class Measured:
    """A network of an adaptation, as it was measured.

    Attributes:
        arch: the network.
        latency: against the table's reference.
        change: against its parent, interleaved with it: the ratio is what the step really saved. None for the seed.
    """

    arch: ArchSpec
    latency: Latency
    change: Latency | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """From a table's milliseconds to those of an adaptation.

    Attributes:
        offset_ms: of every network.
        scale: what a step saves over what the table says, on average; positive.
    """

    offset_ms: float = 0.0
    scale: float = 1.0

    def ms(self, table_ms: float) -> float:
        """What the table says, corrected."""
        return self.offset_ms + self.scale * table_ms


class CorrectedPrices:
    """A `Cost` in milliseconds that learns.

    A table is fitted to networks of all widths; an adaptation takes steps of a few percent of one network. What it has
    measured corrects the table by a line: the scale from what its steps saved, measured child beside parent; the offset from
    the networks themselves. A line leaves the order of proposals as it is. Fitting the table's own correction anew
    (`LatencyTable.corrected`) does not: networks of all widths outvote the few of the adaptation, savings stay biased, and
    single prices may turn round.

    Prices are a function of the table and of what was learnt, so that an adaptation that is resumed, or replayed from its
    journal, prices as one that was not interrupted.

    Args:
        table: prices before anything is measured.
        measured: what the adaptation has measured already: the seed, then each step.
    """

    def __init__(self, table: LatencyTable, measured: Iterable[Measured] = ()) -> None:
        self._table_ms = table_price_ms(table)
        self._measured: tuple[Measured, ...] = ()
        self._line = Line()
        for network in measured:
            self.learn(network)

    @property
    def line(self) -> Line:
        """The correction as it is now."""
        return self._line

    def __call__(self, arch: ArchSpec) -> float:
        """Price of `arch` in milliseconds, as corrected so far.

        Raises:
            UserError: an operation has no price.
        """
        return self._line.ms(self._table_ms(arch))

    def learn(self, network: Measured) -> None:
        """Correct prices by the network that the adaptation has come to: the seed, then each step's, in order.

        Raises:
            ValueError: a seed after another network, or a step without one before.
            UserError: an operation has no price.
        """
        if (network.change is None) != (not self._measured):
            raise ValueError("the seed is learnt first, and has no change; each step after it has one")
        measured = (*self._measured, network)
        self._line = fitted_line(measured, self._table_ms)
        self._measured = measured


def fitted_line(measured: Sequence[Measured], table_ms: Cost) -> Line:
    """The line through what an adaptation has measured.

    The scale is the mean of measured over predicted savings, weighted by how certain each is, the table's word (1) among
    them: the posterior mean of a normal prior. With it the sum of savings comes out right. The offset then makes the mean
    network right.

    Args:
        measured: the seed, then each step; at least one.
        table_ms: prices by the table.
    """
    prices = [table_ms(network.arch) for network in measured]
    weight, weighted = _COMMON_SD**-2, _COMMON_SD**-2
    for (parent, before), (child, after) in pairwise(zip(measured, prices, strict=True)):
        assert child.change is not None
        predicted, parent_ms = before - after, parent.latency.latency_ms
        saved = parent_ms * (1 - child.change.ratio)
        variance = (parent_ms * _relative_sd(child.change)) ** 2 + (_STEP_SD * predicted) ** 2
        weight += predicted**2 / variance
        weighted += predicted * saved / variance
    scale = max(_LEAST_SCALE, weighted / weight)
    weights = [1 / (network.latency.latency_ms * _relative_sd(network.latency)) ** 2 for network in measured]
    offsets = [network.latency.latency_ms - scale * price for network, price in zip(measured, prices, strict=True)]
    return Line(sum(map(mul, weights, offsets)) / sum(weights), scale)


def _relative_sd(latency: Latency) -> float:
    low, high = latency.ratio_interval
    return max(_LEAST_SD, math.log(high / low) / (2 * _HALF_WIDTH_95))
