"""Corrected prices whose corrections are measured on the device: what is accepted counts as it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from latency.latency import Latency
from latency.meter import GRADES, Grade
from latency.metered import MeteredLatency
from latency.table import LatencyTable
from nas.errors import UserError
from nas.netadapt.corrected_prices import CorrectedPrices, Measured
from search_spaces.arch import ArchSpec

MAX_TRIES = 10
"""Of a measurement, each of which takes disturbed processes again itself."""

_PAUSE_S = 30.0  # between tries: bad moments pass, and an adaptation is left alone for hours


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


class MeasuredCost(CorrectedPrices):
    """Corrected prices, and the meter that they learn from.

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
        super().__init__(table, measured)
        self._metered = metered
        self._grade = grade
        self._rest = rest

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
        return trusted_latency(self._metered, arch, self._grade, self._rest)

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
        change = trusted_latency(beside, child, self._grade, self._rest)
        self.learn(Measured(child, latency, change))
        return Settled(latency, change, predicted_ratio)


def trusted_latency(
    metered: MeteredLatency, arch: ArchSpec, grade: Grade, rest: Callable[[float], None] = time.sleep
) -> Latency:
    """A latency that is ``ok`` or ``wide``, tried again after a pause where the machine was disturbed.

    Args:
        metered: measures.
        arch: the network.
        grade: how carefully.
        rest: waits so many seconds before the next try.

    Raises:
        UserError: `MAX_TRIES` were in vain.
    """
    for left in reversed(range(MAX_TRIES)):
        latency, _ = metered.measure(arch, grade)
        if latency.status in ("ok", "wide"):
            return latency
        if left:
            rest(_PAUSE_S)
    raise UserError(
        f"latency of {arch}: {latency.status} in {MAX_TRIES} tries ({latency.reason}); nothing is lost: close what else "
        "runs on this machine (nas latency check says how quiet it is), then go on with --resume"
    )
