"""Which of two networks of a final comparison is better, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student
from scipy.stats import ttest_ind

from nas.accuracy import wilson_interval
from nas.netadapt.final_network import FinalNetwork

Over = Literal["seeds", "trainings", "images"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of one network less that of another.

    Attributes:
        mean: in [-1, 1].
        interval: 95 %, low to high.
        over: what the interval is over: seeds of the training, each a pair; trainings of either; or images alone, of one
            training each.
        number: of seeds, of trainings of both, or of images.
    """

    mean: float
    interval: tuple[float, float]
    over: Over
    number: int

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart"]:
        """Of the first network: where the interval leaves out 0."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "not told apart"


def trained_difference(one: FinalNetwork, other: FinalNetwork) -> Difference | None:
    """Of test accuracies trained from scratch.

    With at least two seeds in common Student's t over the differences of equal seeds, which share what is not the network's;
    with one, `images_difference`; None without any.
    """
    ours, theirs = one.accuracies, other.accuracies
    seeds = [seed for seed in ours if seed in theirs]
    if len(seeds) < 2:
        pairs = [(ours[seed], theirs[seed]) for seed in seeds]
        return images_difference(pairs[0][0], one.num_test, pairs[0][1], other.num_test) if pairs else None
    differences = np.array([ours[seed] - theirs[seed] for seed in seeds])
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1)) / math.sqrt(len(seeds))
    half_width = float(student.ppf(0.975, len(seeds) - 1)) * spread
    return Difference(mean, (mean - half_width, mean + half_width), "seeds", len(seeds))


def unpaired_difference(one: FinalNetwork, other: FinalNetwork) -> Difference | None:
    """Of test accuracies trained from scratch by other seeds, or of networks that seeds do not pair: Welch's t over trainings.

    With one training of either `images_difference` of their first ones; None without any.
    """
    ours, theirs = list(one.accuracies.values()), list(other.accuracies.values())
    if len(ours) < 2 or len(theirs) < 2:
        return images_difference(ours[0], one.num_test, theirs[0], other.num_test) if ours and theirs else None
    mean, number = float(np.mean(ours) - np.mean(theirs)), len(ours) + len(theirs)
    if np.ptp(ours) == np.ptp(theirs) == 0:
        return Difference(mean, (mean, mean), "trainings", number)
    low, high = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return Difference(mean, (float(low), float(high)), "trainings", number)


def images_difference(one: float, num_one: int, other: float, num_other: int) -> Difference:
    """Of two accuracies in [0, 1], on so many images each, as if those were others (Newcombe 1998, method 10).

    Too wide where the images are the same, and it knows nothing of how much another training would change.
    """
    low_one, high_one = wilson_interval(round(one * num_one), num_one)
    low_other, high_other = wilson_interval(round(other * num_other), num_other)
    mean = one - other
    low = mean - math.hypot(one - low_one, high_other - other)
    high = mean + math.hypot(high_one - one, other - low_other)
    return Difference(mean, (low, high), "images", min(num_one, num_other))
