"""Differences of pairs, and how far their mean can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.claims.judgement import Interval


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """Mean of paired differences with its 95 % interval (Student's t)."""

    value: float
    interval: Interval

    @classmethod
    def of(cls, differences: Sequence[float]) -> MeanDifference:
        """Of at least 3 differences.

        Raises:
            ValueError: fewer.
        """
        from latency.estimator import t_quantile

        number = len(differences)
        if number < 3:
            raise ValueError(f"{number} differences: an interval needs at least 3")
        mean = float(np.mean(differences))
        half = t_quantile(number - 1) * float(np.std(differences, ddof=1)) / math.sqrt(number)
        return cls(mean, (mean - half, mean + half))
