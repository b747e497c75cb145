"""How far a table is off: its prices against measurements of networks that it was not fitted to."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from latency.latency import Latency, LatencySource
from latency.table import LatencyTable, Validation, WorstCase
from search_spaces.arch import ArchSpec

_NUM_WORST = 5
_LIMIT = 0.05

Comparison = tuple[ArchSpec, Latency, float]
"""A network, the table's price, the measured milliseconds."""


def compare(table: LatencyTable, metered: LatencySource, archs: Iterable[ArchSpec]) -> Iterator[Comparison]:
    """Price and measure `archs` one after the other; those that cannot be measured well are left out.

    All are priced before the first is measured, so that a missing key does not cost minutes.

    Args:
        table: in question.
        metered: measures on the table's device, against its reference.
        archs: which it was not fitted to.

    Raises:
        MissingKeysError: a network has operations without a price.
    """
    priced = [(arch, table.price(arch)) for arch in archs]
    for arch, price in priced:
        measured = metered.latency(arch)
        if measured.status in ("ok", "wide"):
            yield arch, price, measured.latency_ms


def validation(comparisons: Sequence[Comparison], date: str | None = None) -> Validation:
    """What `comparisons` say about the table.

    Raises:
        ValueError: fewer than two networks.
    """
    from scipy.stats import kendalltau  # a second of imports that only this needs

    if len(comparisons) < 2:
        raise ValueError(f"{len(comparisons)} networks measured: a validation needs at least 2")
    priced_ms = np.array([price.latency_ms for _, price, _ in comparisons])
    measured_ms = np.array([milliseconds for _, _, milliseconds in comparisons])
    errors = np.abs(priced_ms / measured_ms - 1)
    worst = np.argsort(-errors, kind="stable")[:_NUM_WORST]
    tau = float(kendalltau(priced_ms, measured_ms).statistic)
    return Validation(
        mape=float(errors.mean()),
        within_5_percent=float((errors < _LIMIT).mean()),
        kendall_tau=0.0 if np.isnan(tau) else tau,  # all prices alike: no order at all
        num_networks=len(comparisons),
        worst=tuple(WorstCase(str(comparisons[i][0]), float(priced_ms[i]), float(measured_ms[i])) for i in worst),
        date=date or datetime.date.today().isoformat(),
    )
