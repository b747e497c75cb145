"""REINFORCE over independent decisions: the controller of TuNAS (arXiv 2008.06120, section 3.2; constants from its code).

Differences from TuNAS: a batch is that many suggestions, where TuNAS has one per core; the baseline starts at the median
of the first rewards that differ, where TuNAS corrects an average that starts at 0; advantages are clipped, and failed
trials do not move the baseline (`controllers/advantage.py`). As there, only decisions that are active in a candidate are
learnt from it, if `hierarchical`; what the candidates' weights are is none of the controller's business: trained apart, or
shared and trained meanwhile (`nas/policy_sampler.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controllers.advantage import AdvantageEstimator
from controllers.constants import check_constants
from controllers.controller import Outcome, Suggestion
from controllers.ledger import Candidate, Ledger, Told
from controllers.variation import first_unknown, unknown_near
from search_spaces.choice import Choice, Option

# Shapes below: B draws, T decisions, K = the most options of any decision.

_ADAM_EPSILON = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceConfig:
    """Constants of the controller. The defaults are the preset `fast`, chosen by measurement for up to 1000 samples.

    Attributes:
        learning_rate: of Adam, at the start.
        tenfold_after: samples over which the learning rate grows tenfold, exponentially, and stays there; 0 leaves it
            as it is. TuNAS: over the whole search, whose length a controller does not know.
        beta1: of Adam. 0: TuNAS.
        beta2: of Adam. 0.999: TuNAS.
        batch_size: suggestions per update. 32 cores draw one each in TuNAS.
        entropy_weight: of the entropy in nats, averaged over the decisions. 0: TuNAS.
        baseline_decay: of the moving average of rewards that is the baseline, per reward. 0.95: TuNAS.
        normalise_reward: divide advantages by the moving standard deviation of the rewards. Ours.
        advantage_clip: largest magnitude of an advantage, in standard deviations or, unnormalised, in units of reward.
        hierarchical: log-probability and entropy of a decision count only in candidates in which it is active, as
            `Outcome.active` says. True: TuNAS.
        num_draws: how often to draw at most for a candidate that was not suggested before. 1 allows repeats, as in
            TuNAS, where each trains the shared weights a little more.
    """

    learning_rate: float = 0.1
    tenfold_after: float = 0
    beta1: float = 0.0
    beta2: float = 0.999
    batch_size: int = 2
    entropy_weight: float = 0.05
    baseline_decay: float = 0.95
    normalise_reward: bool = True
    advantage_clip: float = 3.0
    hierarchical: bool = False
    num_draws: int = 16

    def __post_init__(self) -> None:
        check_constants(
            self,
            flags=("normalise_reward", "hierarchical"),
            whole=("batch_size", "num_draws"),
            positive=("learning_rate", "advantage_clip"),
            below_one=("beta1", "beta2", "baseline_decay"),
        )


PRESETS = {
    "fast": ReinforceConfig(),
    # 3e-4 per 256 images of a batch of 4096; the reward is used as it is.
    "paper": ReinforceConfig(
        learning_rate=4.8e-3,
        batch_size=32,
        entropy_weight=0.0,
        normalise_reward=False,
        advantage_clip=1.0,
        hierarchical=True,
        num_draws=1,
    ),
}
"""Named configurations."""


class ReinforceController:
    """Draws every decision from a softmax of its own and moves the logits towards the better draws.

    Suggestions are learnt in whole batches in the order of the asks, so which trial ends first makes no difference.

    Args:
        choices: the decisions of the space.
        seed: non-negative; the same seed gives the same controller.
        config: constants, for example ``PRESETS["fast"]``.

    Raises:
        ValueError: there are no choices, or two share a name.
    """

    def __init__(self, choices: Sequence[Choice], seed: int, config: ReinforceConfig) -> None:
        self._ledger = Ledger(choices)
        self.config = config
        self._rng = np.random.default_rng(seed)
        num_options = self._ledger.num_options
        shape = len(num_options), max(num_options)
        # Options that pad shorter decisions to K have a logit of minus infinity, hence probability 0 for ever.
        self._logits = np.where(np.arange(shape[1]) < np.array(num_options)[:, None], 0.0, -np.inf)  # (T, K)
        self._momentum, self._square = np.zeros(shape), np.zeros(shape)
        self._num_updates = 0
        self._estimator = AdvantageEstimator(config.baseline_decay, config.normalise_reward, config.advantage_clip)
        self._batch: list[Told] = []
        self._known: set[Candidate] = set()  # everything asked

    @property
    def logits(self) -> NDArray[np.float64]:
        """Of all decisions, (T, K), a copy; minus infinity where a decision has no such option."""
        return self._logits.copy()

    def most_likely(self) -> dict[str, Option]:
        """Of every decision the option that the policy prefers; the first of several, as before any learning."""
        return {
            choice.name: choice.options[best]
            for choice, best in zip(self._ledger.choices, self._logits.argmax(axis=1).tolist(), strict=True)
        }

    def ask(self) -> Suggestion:
        """A draw from the policy as it is now.

        It is the first of `num_draws` draws that was not suggested before; where there is none, because the policy has
        settled, a neighbour of the last that was not. A single draw is taken as it is.
        """
        candidates = drawn(self._logits, self.config.num_draws, self._rng)
        candidate = first_unknown(candidates, self._known)
        if len(candidates) > 1:
            candidate = unknown_near(candidate, self._ledger.num_options, self._known, self._rng)
        self._known.add(candidate)
        return self._ledger.ask(candidate)

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Enter an outcome, and learn every batch that it completes.

        Raises:
            ValueError: the suggestion was never asked or was told already, the reward is not finite, or an active
                decision is not one of the space's.
        """
        names = {choice.name for choice in self._ledger.choices}
        if unknown := sorted((outcome.active or frozenset()) - names):
            raise ValueError(f"active decisions {unknown}: the space has none of these names")
        for told in self._ledger.tell(suggestion, outcome):
            self._batch.append(told)
            if len(self._batch) == self.config.batch_size:
                self._learn(self._batch)
                self._batch = []

    def _learn(self, batch: Sequence[Told]) -> None:
        outcomes = [told.outcome for told in batch]
        advantages = self._estimator.advantages([o.reward for o in outcomes], [o.failed for o in outcomes])
        taken = np.array([told.candidate for told in batch])
        gradient = policy_gradient(self._logits, taken, advantages, self.config.entropy_weight, self._active(outcomes))
        self._climb(gradient)

    def _active(self, outcomes: Sequence[Outcome]) -> NDArray[np.bool_]:
        """Which decisions count in which candidate, (B, T)."""
        names = [choice.name for choice in self._ledger.choices]
        taken = [o.active if self.config.hierarchical else None for o in outcomes]
        return np.array([[active is None or name in active for name in names] for active in taken])

    def _climb(self, gradient: NDArray[np.float64]) -> None:
        """One step of Adam (arXiv 1412.6980, algorithm 1), upwards."""
        c = self.config
        self._num_updates += 1
        self._momentum = c.beta1 * self._momentum + (1 - c.beta1) * gradient
        self._square = c.beta2 * self._square + (1 - c.beta2) * gradient**2
        mean = self._momentum / (1 - c.beta1**self._num_updates)
        square = self._square / (1 - c.beta2**self._num_updates)
        progress = min(self._num_updates * c.batch_size / c.tenfold_after, 1.0) if c.tenfold_after else 0.0
        self._logits = self._logits + c.learning_rate * 10**progress * mean / (np.sqrt(square) + _ADAM_EPSILON)


def drawn(logits: NDArray[np.float64], num_draws: int, rng: np.random.Generator) -> list[Candidate]:
    """Candidates from the softmax of `logits`, (T, K), independent of each other."""
    noise = rng.gumbel(size=(num_draws, *logits.shape))  # argmax(logits + Gumbel noise) is a draw from the softmax
    return [tuple(draw) for draw in (logits + noise).argmax(axis=2).tolist()]


def policy_gradient(
    logits: NDArray[np.float64],
    taken: NDArray[np.int64],
    advantages: NDArray[np.float64],
    entropy_weight: float,
    active: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Gradient by the logits of ``mean_b(advantage_b x sum_t m_bt log p_t(taken_bt) + weight x mean_t m_bt H_t)``.

    Args:
        logits: (T, K); minus infinity where a decision has no such option.
        taken: option indices, (B, T).
        advantages: (B,).
        entropy_weight: of the mean over decisions of the entropy in nats.
        active: m, (B, T): which decisions count in which draw; None: all.

    Returns:
        (T, K); 0 where a logit is minus infinity, and for decisions that are active in no draw.
    """
    counted = np.ones(taken.shape) if active is None else active.astype(np.float64)
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = weight / weight.sum(axis=1, keepdims=True)
    hits = taken[:, :, None] == np.arange(logits.shape[1])  # (B, T, K)
    gradient = np.einsum("b,bt,btk->tk", advantages, counted, hits - p) / len(taken)
    if entropy_weight:
        log_p = np.log(p, where=p > 0, out=np.zeros_like(p))
        entropy = -(p * log_p).sum(axis=1, keepdims=True)
        share = counted.mean(axis=0)[:, None]  # of the draws, in which a decision counts
        gradient = gradient - entropy_weight / len(logits) * share * p * (log_p + entropy)
    return np.asarray(gradient)
