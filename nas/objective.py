"""What the search maximises: accuracy against latency, as one number."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["power", "absolute"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Reward of an accuracy in [0, 1] and a latency in milliseconds.

    ``power`` is MnasNet's ACC x (LAT/T)^w, w = alpha where LAT <= T and beta elsewhere (arXiv 1807.11626, equations 2
    and 3). alpha = beta = -0.07 is its soft constraint, alpha = 0 and beta = -1 the hard one. ``absolute`` is TuNAS's
    ACC + beta x |LAT/T - 1| (arXiv 2008.06120, section 3.3), which pulls towards T from both sides; alpha is not used.

    Attributes:
        target_ms: T; positive and finite.
        form: ``power`` or ``absolute``.
        alpha: exponent at or below the target; at most 0.
        beta: exponent above it, or weight of the absolute form; at most 0.
    """

    target_ms: float
    form: Form = "power"
    alpha: float = -0.07
    beta: float = -0.07

    def __post_init__(self) -> None:
        if not 0 < self.target_ms < math.inf:
            raise ValueError(f"target of {self.target_ms:g} ms: must be positive")
        if not (-math.inf < self.alpha <= 0 and -math.inf < self.beta <= 0):
            raise ValueError(
                f"alpha {self.alpha:g} and beta {self.beta:g} must be finite and not positive: slower is not better"
            )

    @property
    def failure_reward(self) -> float:
        """What a failed trial is told, so that failing never pays.

        0 in the power form, which no network undercuts. -1 in the absolute form, whose rewards of weak and slow networks
        are negative but do not lie that deep unless a network is many times too slow.
        """
        return -1.0 if self.form == "absolute" else 0.0

    def latency_term(self, latency_ms: float) -> float:
        """Latency's part: a factor in the power form, a summand in the absolute one."""
        ratio = latency_ms / self.target_ms
        if self.form == "absolute":
            return self.beta * abs(ratio - 1)
        return math.pow(ratio, self.alpha if ratio <= 1 else self.beta)

    def reward(self, accuracy: float, latency_ms: float) -> float:
        """The reward; equals the accuracy when the latency is the target."""
        term = self.latency_term(latency_ms)
        return accuracy + term if self.form == "absolute" else accuracy * term

    def spread(self, accuracies: list[float], latencies_ms: list[float]) -> tuple[float, float]:
        """Shares of accuracy and of latency in the variance of the rewards of some networks; they add up to 1.

        Terms are summands (logarithms, in the power form); the share of one is its covariance with their sum over the
        variance of the sum, so a share is negative where a term works against the outcome. Both are NaN when fewer than
        two networks have positive accuracy, or all rewards are equal.
        """
        pairs = [(a, t) for a, t in zip(accuracies, latencies_ms, strict=True) if a > 0]
        if self.form == "absolute":
            terms = [(a, self.latency_term(t)) for a, t in pairs]
        else:
            terms = [(math.log(a), math.log(self.latency_term(t))) for a, t in pairs]
        if len(terms) < 2:
            return math.nan, math.nan
        sums = [a + t for a, t in terms]
        mean = sum(sums) / len(sums)
        variance = sum((s - mean) ** 2 for s in sums)
        if variance == 0:
            return math.nan, math.nan
        accuracy_share = sum(a * (s - mean) for (a, _), s in zip(terms, sums, strict=True)) / variance
        return accuracy_share, 1 - accuracy_share


@dataclass(frozen=True, slots=True)
class Target:
    """A latency budget as people write it: ``3.5ms``, or ``1.0x mobilenet_v2``: of a network measured in the same run.

    Attributes:
        value: milliseconds, or the factor.
        network: the network that the factor refers to; None when the value is absolute.
    """

    value: float
    network: str | None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a target.

        Raises:
            ValueError: neither form, or not positive.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:ms|x\s+(\S.*?))\s*", text)
        if match is None:
            raise ValueError(
                f"target {text!r}: write milliseconds (3.5ms) or a multiple of a network (1.0x mobilenet_v2)"
            )
        value = float(match.group(1))
        if not 0 < value < math.inf:
            raise ValueError(f"target {text!r}: must be positive and finite")
        return cls(value, match.group(2))
