"""What is known of a candidate's latencies before it is trained, and which candidates are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from latency.latency import Latency
from latency.table import LatencyTable, MissingKeysError
from nas.trial import Trial, pareto_front
from search_spaces.arch import ArchSpec

Point = tuple[float, float]
"""Accuracy in [0, 1] and milliseconds of a network."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What is known of a candidate when it is handed out; travels to its trial.

    Attributes:
        latencies: device name -> latency from a table or a record; empty: measured on all devices while it trains.
        front: after its training the candidate is measured on the device of its one price, unless one of these networks
            is as accurate and as fast; None: never.
    """

    latencies: Mapping[str, Latency] = field(default_factory=dict)
    front: tuple[Point, ...] | None = None

    @property
    def measures_at_once(self) -> bool:
        """Whether nothing is known, so that devices must be asked."""
        return not self.latencies

    @property
    def failure(self) -> str | None:
        """Why it need not be trained: it has no latency and will get none; None where it may."""
        failed = (latency.reason or "failed" for latency in self.latencies.values() if latency.status == "failed")
        return next(failed, None)

    def measures_after(self, accuracy: float) -> bool:
        """Whether a candidate that reached `accuracy` enters the front and has to be measured."""
        if self.front is None:
            return False
        (price,) = self.latencies.values()
        return not any(other >= accuracy and ms <= price.latency_ms for other, ms in self.front)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "latencies": {name: latency.to_dict() for name, latency in self.latencies.items()},
            "front": None if self.front is None else [list(point) for point in self.front],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Quote:
        """Inverse of `to_dict`."""
        front = document["front"]
        return cls(
            {name: Latency.from_dict(latency) for name, latency in document["latencies"].items()},
            None if front is None else tuple((accuracy, ms) for accuracy, ms in front),
        )


class Quoter(Protocol):
    """Where candidates' latencies come from."""

    def quote(self, arch: ArchSpec, told: Sequence[Trial]) -> Quote:
        """What is known of `arch`; a function of it and of the trials that the controller knows, `Study.told`."""
        ...


class MeasureAll:
    """Every candidate is measured on every device while it trains."""

    def quote(self, arch: ArchSpec, told: Sequence[Trial]) -> Quote:  # noqa: ARG002  (nothing is known of any)
        """Nothing is known."""
        return Quote()


class TablePrices:
    """Every candidate is priced by a table and none is measured.

    Args:
        table: of the device.
        device: its name.
    """

    def __init__(self, table: LatencyTable, device: str) -> None:
        self._table = table
        self._device = device

    def quote(self, arch: ArchSpec, told: Sequence[Trial]) -> Quote:  # noqa: ARG002  (prices stand)
        """The price; status ``failed`` for a network with operations that have none."""
        try:
            return Quote({self._device: self._table.price(arch)})
        except MissingKeysError as error:
            return Quote({self._device: Latency.failure(str(error), "table")})


class HybridPrices:
    """Every candidate is priced; those that enter the front are measured, and every measurement corrects the table.

    The front and the corrections are those of the trials that the controller knows: what is measured, and every price, is a
    function of the journal and does not depend on which trial finished first. A candidate with operations that have no
    price is measured while it trains.

    Args:
        table: of the device, as it was when the study began.
        device: its name.
    """

    def __init__(self, table: LatencyTable, device: str) -> None:
        self._table = table
        self._device = device
        self._corrected = table
        self._num_measured = 0  # that `_corrected` knows

    def quote(self, arch: ArchSpec, told: Sequence[Trial]) -> Quote:
        """The price at the present corrections, and the present front."""
        try:
            price = self.table(told).price(arch)
        except MissingKeysError:
            return Quote()
        front = tuple(map(_point, pareto_front(list(told))))
        return Quote({self._device: price}, front)

    def table(self, told: Sequence[Trial]) -> LatencyTable:
        """The table, corrected by what was measured in `told`; those only grow from call to call."""
        measured = [(trial.arch, trial.latency) for trial in told if trial.latency and self._corrects(trial)]
        if len(measured) != self._num_measured:
            self._corrected, self._num_measured = self._table.corrected(measured), len(measured)
        return self._corrected

    def _corrects(self, trial: Trial) -> bool:
        if trial.repeat_of is not None or trial.latency is None or trial.latency.source != "measured":
            return False
        return trial.latency.status != "failed" and all(map(self._table.knows, self._table.keys(trial.arch)))


def _point(trial: Trial) -> Point:
    assert trial.accuracy is not None
    assert trial.latency_ms is not None, "networks of a front have both"
    return trial.accuracy, trial.latency_ms
