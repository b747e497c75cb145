"""What networks cost while an adaptation runs, and what an accepted step really costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from latency.latency import Latency
from nas.netadapt.cost import CostModel
from nas.netadapt.measured_cost import MeasuredCost
from search_spaces.arch import ArchSpec


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is known of an accepted network.

    Attributes:
        cost: as it counts towards the budget.
        predicted_ratio: its price over that of its parent, as they were priced when it was proposed.
        latency: measured against the reference network; None where nothing is measured.
        change: measured interleaved with its parent: the ratio is what the step really saved; None likewise.
    """

    cost: float
    predicted_ratio: float
    latency: Latency | None = None
    change: Latency | None = None


class Pricing(Protocol):
    """Prices of networks, in the unit of the cost, and what becomes of them."""

    @property
    def model(self) -> CostModel:
        """The cost, at the prices that are known now."""
        ...

    def settle(self, parent: ArchSpec, parent_latency: Latency | None, accepted: ArchSpec) -> Settlement:
        """What `accepted` costs; prices may be better afterwards.

        Raises:
            UserError: it cannot be measured.
        """
        ...


@dataclass(frozen=True, slots=True)
class AsPriced:
    """Nothing is measured: a network costs what it is priced at."""

    model: CostModel

    def settle(
        self,
        parent: ArchSpec,
        parent_latency: Latency | None,  # noqa: ARG002  (of those that measure)
        accepted: ArchSpec,
    ) -> Settlement:
        """The price."""
        cost = self.model.cost(accepted)
        return Settlement(cost, cost / self.model.cost(parent))


@dataclass(frozen=True, slots=True)
class AsMeasured:
    """An accepted network is measured, and its latency counts as it was measured.

    Attributes:
        model: prices latencies by `latencies`.
        latencies: learns from each step.
    """

    model: CostModel
    latencies: MeasuredCost

    def settle(self, parent: ArchSpec, parent_latency: Latency | None, accepted: ArchSpec) -> Settlement:
        """By measurement."""
        assert parent_latency is not None, "where steps are measured the seed was"
        found = self.latencies.settle(parent, parent_latency, accepted)
        cost = self.model.settled(accepted, found.latency.latency_ms)
        return Settlement(cost, found.predicted_ratio, found.latency, found.change)
