"""Milliseconds by a latency table that an adaptation corrects by what it measures: predicted, but settled by measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul

from latency.latency import Latency
from latency.meter import GRADES, Grade
from latency.metered import MeteredLatency
from latency.table import LatencyTable
from nas.errors import UserError
from nas.netadapt.cost import table_price_ms
from nas.netadapt.proposal import Cost
from search_spaces.arch import ArchSpec

MAX_TRIES = 10
"""Of a measurement, each of which takes disturbed processes again itself."""

_PAUSE_S = 30.0  # between tries: bad moments pass, and an adaptation is left alone for hours
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
class Settled:
    """An accepted step, measured.

    Attributes:
        latency: of the child, against the table's reference.
        change: of the child, interleaved with its parent.
        predicted_ratio: price of the child over that of the parent, as they were before this step was learnt.
    """

    latency: Latency
    change: Latency
    predicted_ratio: float


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


class MeasuredCost:
    """A `Cost` in milliseconds that learns.

    A table is fitted to networks of all widths; an adaptation takes steps of a few percent of one network. What it has
    measured corrects the table by a line: the scale from what its steps saved, measured child beside parent; the offset from
    the networks themselves. A line leaves the order of proposals as it is. Fitting the table's own correction anew
    (`LatencyTable.corrected`) does not: networks of all widths outvote the few of the adaptation, savings stay biased, and
    single prices may turn round.

    Prices are a function of the table and of what was learnt, so that an adaptation that is resumed prices as one that was
    not interrupted.

    Args:
        table: prices before anything is measured; its reference is that of `metered`.
        metered: measures.
        measured: what the adaptation has measured already: the seed, then each step.
        grade: of all measurements; at least as careful as steps are small.
        rest: waits so many seconds before a measurement is tried again.
    """

    def __init__(
        self,
        table: LatencyTable,
        metered: MeteredLatency,
        measured: Iterable[Measured] = (),
        *,
        grade: Grade = GRADES["final"],
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table_ms = table_price_ms(table)
        self._metered = metered
        self._grade = grade
        self._rest = rest
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

    def seed(self, arch: ArchSpec) -> Latency:
        """Measure the network that the adaptation begins with, and learn from it.

        Raises:
            UserError: it cannot be measured.
        """
        latency = self.measured(arch)
        self.learn(Measured(arch, latency))
        return latency

    def measured(self, arch: ArchSpec) -> Latency:
        """Latency of any network, against the table's reference; nothing is learnt from it.

        Raises:
            UserError: it cannot be measured.
        """
        return self._trusted(self._metered, arch)

    def settle(self, parent: ArchSpec, parent_latency: Latency, child: ArchSpec) -> Settled:
        """Measure an accepted step, and learn from it.

        Args:
            parent: what was learnt last: the seed, or the step before.
            parent_latency: as it was measured.
            child: the accepted network.

        Raises:
            UserError: it cannot be measured; nothing is learnt.
        """
        predicted_ratio = self(child) / self(parent)
        latency = self.measured(child)
        beside = self._metered.against(self._metered.model(parent), parent_latency.latency_ms)
        change = self._trusted(beside, child)
        self.learn(Measured(child, latency, change))
        return Settled(latency, change, predicted_ratio)

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

    def _trusted(self, metered: MeteredLatency, arch: ArchSpec) -> Latency:
        """A latency that is ``ok`` or ``wide``."""
        for left in reversed(range(MAX_TRIES)):
            latency, _ = metered.measure(arch, self._grade)
            if latency.status in ("ok", "wide"):
                return latency
            if left:
                self._rest(_PAUSE_S)
        raise UserError(
            f"latency of {arch}: {latency.status} in {MAX_TRIES} tries ({latency.reason}); nothing is lost: close what else "
            "runs on this machine (nas latency check says how quiet it is), then go on with --resume"
        )


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
