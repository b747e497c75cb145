"""Frames whose columns have their types even without rows, and in which what is missing stays missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from latency.latency import Latency
from nas.accuracy import wilson_interval

LATENCY = {
    "latency_ms": "float64",
    "latency_low_ms": "float64",
    "latency_high_ms": "float64",
    "latency_ratio": "float64",
    "latency_status": "string",
    "latency_source": "string",
}
"""Columns of a latency, with their types: milliseconds, the ends of their 95 % interval, the ratio to the reference network
that they come from, status and source as in `latency.latency.Latency`."""


def typed_frame(rows: Iterable[Mapping[str, object]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """A frame of `rows` with the columns of `dtypes`; None becomes NaN or NA."""
    return pd.DataFrame(list(rows), columns=list(dtypes)).astype(dict(dtypes))


def latency_cells(latency: Latency | None) -> dict[str, object]:
    """The cells of `LATENCY`: all missing where there is no latency, the numbers where it failed."""
    if latency is None:
        return dict.fromkeys(LATENCY)
    failed = latency.status == "failed"
    numbers = (math.nan,) * 4 if failed else (latency.latency_ms, *latency.interval_ms, latency.ratio)
    return dict(zip(LATENCY, (*numbers, latency.status, latency.source), strict=True))


def accuracy_cells(num_correct: float | None, num_images: int, name: str = "accuracy") -> dict[str, object]:
    """Columns `name`, its ``_low`` and its ``_high``: a share of `num_images`, with its 95 % interval over images."""
    names = (name, f"{name}_low", f"{name}_high")
    if num_correct is None:
        return dict.fromkeys(names)
    interval = wilson_interval(round(num_correct), num_images)
    return dict(zip(names, (num_correct / num_images, *interval), strict=True))
