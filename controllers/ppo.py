"""The controller of MnasNet (arXiv 1807.11626, section 4.3): an RNN policy trained by proximal policy optimisation.

Differences from the papers: neither gives the number of gradient steps per batch, so the presets state theirs;
advantages are clipped, and in the preset `fast` also normalised; failed trials do not move the reward baseline
(`controllers/advantage.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from controllers.advantage import AdvantageEstimator
from controllers.constants import check_constants
from controllers.controller import Outcome, Suggestion
from controllers.ledger import Ledger, Told
from controllers.policy import AutoregressivePolicy
from search_spaces.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOConfig:
    """Constants of the controller.

    The defaults are the preset `fast`, chosen by measurement to learn within 64 to 1000 samples; NASNet (arXiv
    1707.07012) and MnasNet draw thousands.

    Attributes:
        hidden_size: LSTM units and embedding width. 100: NASNet.
        init_range: weights start uniform in +-init_range. 0.1: NASNet. 0 turns the RNN off for good and leaves
            independent decisions that start uniform, the controller of TuNAS (arXiv 2008.06120).
        learning_rate: of Adam (beta 0.9, 0.999). NASNet has 3.5e-4; ten times that is what 64 samples need.
        batch_size: suggestions per update. 20 is what is reported for NASNet; a smaller batch updates earlier. Measured:
            4 is better than 8 for searches of about 64 samples, and less steady over 1000 when rewards are noisy.
        num_epochs: gradient steps on each batch, each over the whole of it. Ours; not stated in the papers.
        clip_range: a decision's probability ratio gains nothing outside 1 +- clip_range. 0.2: PPO (arXiv 1707.06347).
        entropy_weight: of the entropy in nats, averaged over the decisions, beside the averaged advantage. NASNet has
            1e-5, next to nothing beside normalised advantages.
        baseline_decay: of the moving average of rewards that is the baseline, per reward. 0.95: NASNet.
        normalise_reward: divide advantages by the moving standard deviation of the rewards. Ours: accuracies differ by
            a few hundredths, and an update should not depend on the unit of the reward.
        advantage_clip: largest magnitude of an advantage, in standard deviations or, unnormalised, in units of reward.
            Ours, against absurd failure rewards.
    """

    hidden_size: int = 100
    init_range: float = 0.1
    learning_rate: float = 3e-3
    batch_size: int = 8
    num_epochs: int = 4
    clip_range: float = 0.2
    entropy_weight: float = 0.05
    baseline_decay: float = 0.95
    normalise_reward: bool = True
    advantage_clip: float = 3.0

    def __post_init__(self) -> None:
        check_constants(
            self,
            flags=("normalise_reward",),
            whole=("hidden_size", "batch_size", "num_epochs"),
            positive=("learning_rate", "clip_range", "advantage_clip"),
            below_one=("baseline_decay",),
        )


PRESETS = {
    "fast": PPOConfig(),
    # The constants of NASNet, which MnasNet keeps. The reward is used as it is: rewards of MnasNet lie
    # between 0 and about 1, where the clip at 1 never binds.
    "paper": PPOConfig(
        learning_rate=3.5e-4, batch_size=20, entropy_weight=1e-5, normalise_reward=False, advantage_clip=1.0
    ),
}
"""Named configurations."""


class PPOController:
    """Draws candidates from an RNN policy and moves the policy towards the better ones.

    Suggestions are learnt in whole batches in the order of the asks: batch b is the ids b * batch_size up to
    (b + 1) * batch_size. Which trial ends first therefore makes no difference.

    Single-threaded use on the CPU; reads and sets no global random state.

    Args:
        choices: the decisions of the space, in the order in which the policy takes them.
        seed: non-negative; the same seed gives the same controller.
        config: constants, for example ``PRESETS["fast"]``.

    Raises:
        ValueError: there are no choices, or two share a name.
    """

    def __init__(self, choices: Sequence[Choice], seed: int, config: PPOConfig) -> None:
        self._ledger = Ledger(choices)
        self.config = config
        init_rng, self._rng = np.random.default_rng(seed).spawn(2)
        num_options = [len(choice.options) for choice in choices]
        self._policy = AutoregressivePolicy(num_options, config.hidden_size, config.init_range, init_rng)
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=config.learning_rate)
        self._estimator = AdvantageEstimator(config.baseline_decay, config.normalise_reward, config.advantage_clip)
        self._log_probs: dict[
            int, Tensor
        ] = {}  # (T,) by suggestion id, under the policy that drew it; learnt ones dropped
        self._batch: list[Told] = []

    def ask(self) -> Suggestion:
        """A draw from the policy as it is now; repeats are possible, and become the rule as the policy settles."""
        taken, log_probs = self._policy.sample(self._rng)
        suggestion = self._ledger.ask(taken)
        self._log_probs[suggestion.id] = log_probs
        return suggestion

    def tell(self, suggestion: Suggestion, outcome: Outcome) -> None:
        """Enter an outcome, and learn every batch that it completes.

        Raises:
            ValueError: the suggestion was never asked or was told already, or the reward is not finite.
        """
        for told in self._ledger.tell(suggestion, outcome):
            self._batch.append(told)
            if len(self._batch) == self.config.batch_size:
                self._learn(self._batch)
                self._batch = []

    def _learn(self, batch: Sequence[Told]) -> None:
        outcomes = [told.outcome for told in batch]
        advantages = self._estimator.advantages([o.reward for o in outcomes], [o.failed for o in outcomes])
        advantage = torch.from_numpy(advantages)[:, None]  # (B, 1), one for all decisions of a draw
        taken = torch.tensor([told.candidate for told in batch])  # (B, T), like all below
        old_log_probs = torch.stack([self._log_probs.pop(told.id) for told in batch])
        for _ in range(self.config.num_epochs):
            log_probs, entropy = self._policy(taken)
            gain = clipped_gain(log_probs - old_log_probs, advantage, self.config.clip_range)
            loss = -gain.mean() - self.config.entropy_weight * entropy.mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()


def clipped_gain(log_ratio: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """The objective of PPO, to be maximised (arXiv 1707.06347, eq. 7), elementwise.

    Every decision is an action with a ratio of its own. The ratio of a whole candidate, a product over some 40
    decisions, leaves the clip range sooner; when measured it had learnt half as much after 64 samples.

    Args:
        log_ratio: log-probability of an action now, minus that at the draw.
        advantage: broadcastable to `log_ratio`.
        clip_range: epsilon of the paper.
    """
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip_range, 1 + clip_range) * advantage)
