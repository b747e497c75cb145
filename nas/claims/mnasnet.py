"""Claims about MnasNet (arXiv 1807.11626)."""

from __future__ import annotations

import math

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.lab import Lab
from nas.objective import Objective
from search_spaces.mnasnet import MNASNET

_PAPER = "arXiv 1807.11626"
_TARGET_MS = 75.0

MACS_AS_PROXY = Claim(
    31,
    "MACs say little about latency.",
    published="two networks of 575 and 564 M (MobileNet, NASNet) take 113 and 183 ms",
    source=f"{_PAPER}, section 1",
)


def _indifferent_exponent(gain: float) -> float:
    """Exponent for which doubling the latency and `gain` more accuracy leave MnasNet's reward as it was.

    Solved by bisection on the reward itself, which is monotone in it.
    """
    low, high = -1.0, 0.0
    while high - low > 1e-12:
        w = (low + high) / 2
        objective = Objective(target_ms=_TARGET_MS, alpha=w, beta=w)
        worse = objective.reward((1 + gain) * 0.5, 2 * _TARGET_MS) < objective.reward(0.5, _TARGET_MS)
        low, high = (w, high) if worse else (low, w)
    return (low + high) / 2


@claim(
    32,
    "The reward is ACC (LAT / T)^w; w = -0.07, for doubling the latency usually brings 5 % of accuracy.",
    published="alpha = beta = -0.07; alpha = 0, beta = -1 for a hard constraint",
    source=f"{_PAPER}, equations 2 and 3, section 3",
)
def reward_exponent(_: Lab) -> Finding:
    """The exact root, and the two constraints at the target."""
    root = _indifferent_exponent(0.05)
    soft = Objective(target_ms=_TARGET_MS)
    hard = Objective(target_ms=_TARGET_MS, alpha=0.0, beta=-1.0)
    around = [soft.reward(0.75, _TARGET_MS * (1 + step)) for step in (-1e-9, 0.0, 1e-9)]
    continuous = max(around) - min(around) < 1e-9
    flat = {hard.reward(0.75, fraction * _TARGET_MS) for fraction in (0.1, 0.5, 0.9, 1.0)} == {0.75}
    halves = math.isclose(hard.reward(0.75, 2 * _TARGET_MS), 0.75 / 2)
    found = (
        f"5 % for a doubling is w = {root:.5f}; the soft reward is {'' if continuous else 'not '}continuous at T, the hard "
        f"one {'' if flat else 'not '}flat below it"
    )
    return Finding(found, verdict_of(round(root, 2) == -0.07 and continuous and flat and halves))


PARETO_IN_ONE_SEARCH = Claim(
    33,
    "The soft constraint finds several Pareto-optimal models in one search.",
    published="3000 models of one search: hard, most are faster than 75 ms; soft, from below 40 to above 110 ms",
    source=f"{_PAPER}, figure 6",
    awaits="its stage, the comparison of whole searches, is not built yet",
)


def _power(number: int) -> str:
    return f"{number:.2e}".replace("e+", "e")


@claim(
    34,
    "The factorised space lets layers differ and stays small.",
    published="about 10^13 networks against 10^39 (S = 432, B = 5 blocks of N = 3 layers); networks of one layer type "
    "71.8 % 63 ms to 75.6 % 146 ms, A1 75.2 % 78 ms",
    source=f"{_PAPER}, section 4.1 and table 6",
)
def factorised_space(_: Lab) -> Finding:
    """The quoted case, and the size of this program's own space."""
    options, blocks, layers = 4 * 2 * 2 * 3 * 3 * 3, 5, 3  # convolutions, kernels, SE, skips, filters, layers
    factorised, flat = options**blocks, options ** (blocks * layers)
    found = (
        f"{options}^{blocks} = {_power(factorised)}, {options}^{blocks * layers} = {_power(flat)}; the space "
        f"`{MNASNET.name}` of this program has {_power(MNASNET.size)}"
    )
    return Finding(found, verdict_of((int(math.log10(factorised)), int(math.log10(flat))) == (13, 39)))


CONTROLLER = Claim(
    35,
    "A controller trained by reinforcement finds Pareto-optimal models.",
    published="about 8000 models sampled, the best 15 trained fully",
    source=f"{_PAPER}, sections 4.2 and 5",
    awaits="its stage, the comparison of whole searches, is not built yet",
)
