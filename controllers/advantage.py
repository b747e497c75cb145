"""How much better than usual a reward is, in a form that one absurd reward cannot wreck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MAD_TO_STD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_SMALLEST_SCALE = 0.01  # of the first spread: a converged policy must not blow up the last bits of its rewards


class AdvantageEstimator:
    """Advantages against an exponential moving average of the rewards of successful trials.

    Failed trials get an advantage like any other, but do not move the average or the spread: a space in which a third
    of the trials fail would otherwise show the controller hardly any difference among those that succeed. Advantages
    are clipped, and it is the clipped ones that move the average and the spread.

    Args:
        decay: of the averages per reward, in [0, 1).
        normalise: divide by the moving standard deviation of the rewards around the average.
        clip: largest magnitude of an advantage; in standard deviations if `normalise`, else in units of reward.
    """

    def __init__(self, decay: float, normalise: bool, clip: float) -> None:
        self._decay = decay
        self._normalise = normalise
        self._clip = clip
        self._early: list[float] = []  # successful rewards before the first two that differ
        self._baseline = 0.0
        self._variance = 0.0
        self._smallest_scale = 0.0  # 0 as long as no two successful rewards differed

    def advantages(self, rewards: Sequence[float], failed: Sequence[bool]) -> NDArray[np.float64]:
        """Advantages of one batch against what was known before it, which the batch then updates.

        Args:
            rewards: finite, in the order of the asks.
            failed: for each reward, whether the trial failed.

        Returns:
            One advantage per reward, in [-clip, clip]; all zero as long as no two successful rewards differed.
        """
        reward = np.asarray(rewards, dtype=np.float64)
        good = ~np.asarray(failed, dtype=bool)
        if not self._smallest_scale:
            self._start(reward[good])
            if not self._smallest_scale:
                return np.zeros_like(reward)
        scale, advantage = self._scale(), self.peek(rewards)
        for value in self._baseline + scale * advantage[good]:
            error = float(value) - self._baseline
            self._variance = self._decay * self._variance + (1 - self._decay) * error**2
            self._baseline += (1 - self._decay) * error
        return advantage

    def peek(self, rewards: Sequence[float]) -> NDArray[np.float64]:
        """Advantages against what is known now; nothing is updated.

        Args:
            rewards: finite.

        Returns:
            One advantage per reward, in [-clip, clip]; all zero as long as no two successful rewards differed.
        """
        reward = np.asarray(rewards, dtype=np.float64)
        if not self._smallest_scale:
            return np.zeros_like(reward)
        return np.clip((reward - self._baseline) / self._scale(), -self._clip, self._clip)

    def _scale(self) -> float:
        return max(self._variance**0.5, self._smallest_scale) if self._normalise else 1.0

    def _start(self, rewards: NDArray[np.float64]) -> None:
        """First average and spread, by medians, which no single reward can move far."""
        self._early.extend(rewards.tolist())
        early = np.array(self._early)
        if (early == early[:1]).all():
            return
        self._baseline = float(np.median(early))
        deviations = np.abs(early - self._baseline)
        self._variance = float(_MAD_TO_STD * np.median(deviations[deviations > 0])) ** 2
        self._smallest_scale = _SMALLEST_SCALE * self._variance**0.5
