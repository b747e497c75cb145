"""Fronts and hypervolumes of frames of trials."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nas.controller_bench.summary import dominated_area
from nas.dominance import front_positions

Range = tuple[float, float]


def pareto_front(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other beats in accuracy and latency both, fastest first; of equal ones the earliest stays.

    Args:
        trials: with columns ``accuracy`` and ``latency_ms``, of one run or of several; a row that lacks one of the two is on
            no front.

    Raises:
        KeyError: one of the columns is not there.
    """
    return trials.iloc[front_positions(trials["latency_ms"].tolist(), trials["accuracy"].tolist())]


def hypervolume(trials: pd.DataFrame, *, latency_ms: Range, accuracy: Range = (0.0, 1.0)) -> float:
    """Share of a rectangle of latencies and accuracies that some trials dominate, in [0, 1].

    A trial dominates whatever is no faster and no more accurate than it. Runs can be compared by one rectangle alone, so
    it is given, not taken from the trials.

    Args:
        trials: with columns ``accuracy`` and ``latency_ms``; a row that lacks one of the two dominates nothing.
        latency_ms: the rectangle's least and greatest latency, milliseconds.
        accuracy: its least and greatest accuracy, in [0, 1].

    Raises:
        KeyError: one of the columns is not there.
        ValueError: a range is empty.
    """
    for name, (low, high) in (("latency_ms", latency_ms), ("accuracy", accuracy)):
        if not low < high:
            raise ValueError(f"{name} ({low}, {high}): must be a smaller and a greater number")
    known = trials[["latency_ms", "accuracy"]].dropna()
    points = np.column_stack([known["latency_ms"], -known["accuracy"]])
    return dominated_area(points, corner=(latency_ms[1], -accuracy[0]), ideal=(latency_ms[0], -accuracy[1]))
