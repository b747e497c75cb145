"""Claims about NetAdapt, by latency on this device."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.claims.claim import Finding, check, gravest
from nas.claims.figures import percent
from nas.claims.interval import resampled
from nas.claims.judgement import judged
from nas.claims.lab import NUM_CLASSES, Lab

if TYPE_CHECKING:
    from latency.table import LatencyTable

_NETWORK = "mobilenet_v1"  # what NetAdapt adapts in its paper
_NUM_BUILDING, _NUM_FRESH = 60, 30
_CLOSE = 0.05  # mean absolute relative error that counts as close
_SAME_ORDER = 0.9  # Kendall's tau


def _table(lab: Lab) -> LatencyTable:
    """Of the layers of `_NETWORK` with random widths; measurements are the meter's to remember, profiles are taken anew."""
    from rich.console import Console

    from nas.latency_table import build

    lab.say(f"measuring and profiling {_NUM_BUILDING} networks for a table of layers")
    with tempfile.TemporaryDirectory(prefix="nas-claims-") as folder:
        return build(
            lab.meter,
            lab.arch(_NETWORK),
            Path(folder) / "table.json",
            lab.arch(_NETWORK),
            num_classes=NUM_CLASSES,
            seconds=float("inf"),
            num_networks=_NUM_BUILDING,
            console=Console(quiet=True),
        )


def plain_sums(table: LatencyTable) -> NDArray[np.float64]:
    """Of each network that the table was made from: sum of its layers' profiled times, its measured latency; both in us."""
    from search_spaces.arch_string import parse_arch

    sums = []
    for network in table.networks:
        profiled_us = sum(table.rows[key].mean_us for key in table.keys(parse_arch(network.arch)))
        sums.append((profiled_us, 1000 * network.ratio * table.reference_ms))
    return np.array(sums)


def _error(rows: NDArray[np.float64]) -> float:
    """Mean absolute relative error of the first column as an estimate of the second."""
    return float(np.mean(np.abs(rows[:, 0] / rows[:, 1] - 1)))


def _order(rows: NDArray[np.float64]) -> float:
    """Kendall's tau of the two columns."""
    from scipy.stats import kendalltau

    return float(kendalltau(rows[:, 0], rows[:, 1]).statistic)


@check(37, "latency", long=True)
def sums_of_layers(lab: Lab) -> Finding:
    """A table of layers of MobileNetV1, from networks of random widths, against fresh ones."""
    from latency.deployed_model import deployed_model
    from latency.metered import MeteredLatency
    from latency.reference import Reference
    from latency.table_validation import compare
    from nas.latency_table import fresh_networks

    table, rng = _table(lab), lab.rng()
    model = deployed_model(table.reference, table.device.deployment, NUM_CLASSES)
    metered = MeteredLatency(
        lab.meter, table.reference, num_classes=NUM_CLASSES, frozen=Reference(model, table.reference_ms)
    )
    compared = []
    for comparison in compare(table, metered, islice(fresh_networks(table, lab.seed), _NUM_FRESH)):
        compared.append(comparison)
        lab.say(f"measured {len(compared)} of {_NUM_FRESH} fresh networks")
    rows = np.array([(price.latency_ms, measured_ms) for _, price, measured_ms in compared])
    errors, taus = resampled(_error, rows, rng), resampled(_order, rows, rng)
    plain = plain_sums(table)
    low, middle, high = np.quantile(plain[:, 0] / plain[:, 1], (0.05, 0.5, 0.95))
    found = (
        f"a table from {len(plain)} networks of random widths, {len(rows)} fresh ones: off by {percent(_error(rows))} in the "
        f"mean ({percent(errors[0])} to {percent(errors[1])}), Kendall's tau {_order(rows):.3f} ({taus[0]:.3f} to "
        f"{taus[1]:.3f}); before a fit to whole networks, plain sums of profiled layers are {middle:.2f} times the latency "
        f"({low:.2f} to {high:.2f}), tau {_order(plain):.3f}"
    )
    verdict = gravest([judged(taus, (_SAME_ORDER, 1.0), neutral=0.0), judged(errors, (-_CLOSE, _CLOSE), neutral=0.0)])
    return Finding(found, verdict, "" if verdict == "holds" else "The runtime's profiler slows small kernels most.")
