"""Claims about batch normalisation, by short paired trainings on the digits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.claims.claim import Finding, check, gravest
from nas.claims.digits_training import ANY_GAIN, NUM_CLASSES, accuracy, images, one_thread, recipe, small
from nas.claims.interval import MeanDifference
from nas.claims.judgement import judged
from nas.claims.lab import Lab
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.graph import Graph

_NORMALISED = parse_arch(
    "stem_k3_s11_o16 r1_k3_s11_conv_i16_o32_noskip r1_k3_s22_conv_i32_o64_noskip r1_k3_s11_conv_i64_o64_noskip "
    "r1_k3_s22_conv_i64_o128_noskip r1_k3_s11_conv_i128_o128_noskip head_noconv_d0"
)
_WITHOUT = replace(_NORMALISED, norm=None)
_RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
_EPOCHS = 10
_NUM_SEEDS = 5
_LEARNT = 90.0  # per cent; of ten classes
_PUBLISHED_RATES = 5, 30  # times the rate that suits the network without BN: arXiv 1502.03167, section 4.2.2


@dataclass(frozen=True, slots=True)
class Course:
    """Accuracy after each epoch, in per cent, of a training at one rate; where it diverged, until then."""

    accuracies: tuple[float, ...]
    diverged: bool = False

    @property
    def final(self) -> float:
        """Accuracy in the end; that of guessing where it diverged."""
        return 100 / NUM_CLASSES if self.diverged else self.accuracies[-1]

    @property
    def epochs_to_learn(self) -> int:
        """Epochs until it was there; all there are if it never was."""
        reached = (epoch for epoch, points in enumerate(self.accuracies, start=1) if points >= _LEARNT)
        return next(reached, _EPOCHS)


def course(graph: Graph, learning_rate: float, seed: int) -> Course:
    """Train, scoring after each epoch."""
    from nas.training import DivergedError, train
    from search_spaces.torch_module import build_module

    module = build_module(graph, seed)
    accuracies: list[float] = []
    try:
        with one_thread():
            for _ in train(module, images(seed)[0], recipe(_EPOCHS, learning_rate), seed):
                accuracies.append(accuracy(module, seed))
    except DivergedError:
        return Course(tuple(accuracies), diverged=True)
    return Course(tuple(accuracies))


Sweep = Mapping[float, Sequence[Course]]
"""Learning rate -> courses, one a seed, the seeds in the same order at each rate."""


def best_rate(sweep: Sweep) -> float:
    """The rate of the highest mean accuracy."""
    return max(sweep, key=lambda rate: float(np.mean([each.final for each in sweep[rate]])))


def highest_rates(sweep: Sweep) -> list[float]:
    """For each seed the highest rate that ends well; the lowest of all where none does."""
    num_seeds = len(sweep[min(sweep)])
    return [
        max((rate for rate in sweep if sweep[rate][seed].final >= _LEARNT), default=min(sweep))
        for seed in range(num_seeds)
    ]


def _sweep(lab: Lab, arch: ArchSpec, what: str) -> Sweep:
    graph = small(arch)
    courses: dict[float, list[Course]] = {}
    for rate in _RATES:
        lab.say(f"training {what} at learning rate {rate:g}")
        courses[rate] = [course(graph, rate, seed) for seed in range(lab.seed, lab.seed + _NUM_SEEDS)]
    return courses


@check(48, "training")
def learning_rates_with_bn(lab: Lab) -> Finding:
    """Six plain convolutions with BN and without at rates a factor of 3 apart; dropout is not looked at."""
    with_bn = _sweep(lab, _NORMALISED, "with BN")
    without = _sweep(lab, _WITHOUT, "without BN")
    highest = highest_rates(with_bn), highest_rates(without)
    factor = MeanDifference.of([math.log10(bn / plain) for bn, plain in zip(*highest, strict=True)])
    rates = best_rate(with_bn), best_rate(without)
    fast, slow = with_bn[rates[0]], without[rates[1]]
    saved = MeanDifference.of(
        [plain.epochs_to_learn - bn.epochs_to_learn for bn, plain in zip(fast, slow, strict=True)]
    )
    low, high = (10**end for end in factor.interval)
    best = [float(np.mean([each.final for each in courses])) for courses in (fast, slow)]
    found = (
        f"on the digits the highest of the rates {', '.join(f'{rate:g}' for rate in _RATES)} that learns is "
        f"{10**factor.value:.1f} times as high with BN ({low:.1f} to {high:.1f}) over {factor.number} seeds; at the best "
        f"rates, {rates[0]:g} and {rates[1]:g}, {_LEARNT:.0f} % come {saved} epochs earlier and the end is "
        f"{best[0]:.1f} against {best[1]:.1f} %"
    )
    published = math.log10(_PUBLISHED_RATES[0]), math.log10(_PUBLISHED_RATES[1])
    verdicts = judged(factor.interval, published, neutral=0.0), judged(saved.interval, ANY_GAIN, neutral=0.0)
    return Finding(found, gravest(verdicts))
