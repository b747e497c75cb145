"""The controller of MnasNet (arXiv 1807.11626, section 4.3): a policy trained by proximal policy optimisation.

Differences from the papers: neither gives the number of gradient steps per batch, so the presets state theirs;
advantages are clipped, and in the presets `fast` and `rnn` also normalised; these two avoid repeats, and `fast` has
independent softmaxes in place of the RNN; failed trials do not move the reward baseline (`controllers/advantage.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from controllers.advantage import AdvantageEstimator
from controllers.constants import check_constants
from controllers.controller import Outcome, Suggestion
from controllers.ledger import Candidate, Ledger, Told
from controllers.policy import AutoregressivePolicy, IndependentPolicy, Policy
from controllers.variation import first_unknown, unknown_near
from search_spaces.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOConfig:
    """Constants of the controller.

    The defaults are the preset `fast`, chosen by measurement on two benchmarks of trained networks (Accel-NASBench and
    NAS-Bench-Macro; `nas bench controllers`) to learn within 50 to 1000 samples; NASNet (arXiv 1707.07012) and MnasNet
    draw thousands. What counted, in this order: not to repeat a candidate, independent decisions, small batches with
    several steps each, enough entropy, learning the best again.

    Attributes:
        hidden_size: LSTM units and embedding width. 100: NASNet.
        init_range: weights of the RNN start uniform in +-init_range. 0.1: NASNet. 0 is no RNN but independent decisions
            that start uniform, the policy of TuNAS (arXiv 2008.06120). An RNN has to learn each decision anew for every
            context before it learns the context; within 1000 samples it settled too early.
        learning_rate: of Adam (beta 0.9, 0.999). NASNet has 3.5e-4 and an RNN, which bears some ten times that; logits
            that are learnt directly want more.
        batch_size: suggestions per update. 20 is what is reported for NASNet; a smaller batch updates earlier.
        num_epochs: gradient steps on each batch, each over the whole of it. Ours; not stated in the papers.
        clip_range: a decision's probability ratio gains nothing outside 1 +- clip_range. 0.2: PPO (arXiv 1707.06347).
        entropy_weight: of the entropy in nats, averaged over the decisions, beside the averaged advantage. NASNet has
            1e-5, next to nothing beside normalised advantages. Twice the default no longer settles.
        baseline_decay: of the moving average of rewards that is the baseline, per reward. 0.95: NASNet.
        normalise_reward: divide advantages by the moving standard deviation of the rewards. Ours: accuracies differ by
            a few hundredths, and an update should not depend on the unit of the reward.
        advantage_clip: largest magnitude of an advantage, in standard deviations or, unnormalised, in units of reward.
            Ours, against absurd failure rewards.
        num_elites: so many of the best of the latest successes are learnt again with every batch, where they are above
            the baseline (self-imitation, arXiv 1806.05635). Ours; 0 in the papers.
        elite_window: how many successes are the latest. All would let one lucky training rule for ever.
        num_draws: how often to draw at most for a candidate that was not suggested before. 1 allows repeats, as the
            papers do, where training is noisy and thousands are drawn; here a repeat is not trained again.
    """

    hidden_size: int = 100
    init_range: float = 0.0
    learning_rate: float = 0.04
    batch_size: int = 4
    num_epochs: int = 8
    clip_range: float = 0.2
    entropy_weight: float = 0.2
    baseline_decay: float = 0.95
    normalise_reward: bool = True
    advantage_clip: float = 3.0
    num_elites: int = 4
    elite_window: int = 64
    num_draws: int = 16

    def __post_init__(self) -> None:
        check_constants(
            self,
            flags=("normalise_reward",),
            whole=("hidden_size", "batch_size", "num_epochs", "elite_window", "num_draws"),
            counts=("num_elites",),
            positive=("learning_rate", "clip_range", "advantage_clip"),
            below_one=("baseline_decay",),
        )


PRESETS = {
    "fast": PPOConfig(),
    # The RNN of MnasNet, with constants that learn in hundreds of samples.
    "rnn": PPOConfig(init_range=0.1, learning_rate=3e-3, batch_size=8, num_epochs=4, entropy_weight=0.05, num_elites=0),
    # The constants of NASNet, which MnasNet keeps. The reward is used as it is: rewards of MnasNet lie
    # between 0 and about 1, where the clip at 1 never binds.
    "paper": PPOConfig(
        init_range=0.1,
        learning_rate=3.5e-4,
        batch_size=20,
        num_epochs=4,
        entropy_weight=1e-5,
        normalise_reward=False,
        advantage_clip=1.0,
        num_elites=0,
        num_draws=1,
    ),
}
"""Named configurations."""


class PPOController:
    """Draws candidates from a policy and moves the policy towards the better ones.

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
        self._policy: Policy = (
            AutoregressivePolicy(num_options, config.hidden_size, config.init_range, init_rng)
            if config.init_range
            else IndependentPolicy(num_options)
        )
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=config.learning_rate)
        self._estimator = AdvantageEstimator(config.baseline_decay, config.normalise_reward, config.advantage_clip)
        self._log_probs: dict[
            int, Tensor
        ] = {}  # (T,) by suggestion id, under the policy that drew it; learnt ones dropped
        self._known: set[Candidate] = set()  # everything asked
        self._batch: list[Told] = []
        self._successes: deque[Told] = deque(maxlen=config.elite_window)  # the latest

    def ask(self) -> Suggestion:
        """A draw from the policy as it is now.

        It is the first of `num_draws` draws that was not suggested before; where there is none, because the policy has
        settled, a neighbour of the last that was not. A single draw is taken as it is.
        """
        draws = self._policy.sample(self._rng, self.config.num_draws)
        candidate = first_unknown([tuple(draw) for draw in draws.tolist()], self._known)
        if len(draws) > 1:
            candidate = unknown_near(candidate, self._ledger.num_options, self._known, self._rng)
        suggestion = self._ledger.ask(candidate)
        self._known.add(candidate)
        with torch.no_grad():
            self._log_probs[suggestion.id] = self._policy(torch.tensor([candidate]))[0][0]
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
        elites = sorted(self._successes, key=lambda told: told.outcome.reward, reverse=True)[: self.config.num_elites]
        self._successes.extend(told for told in batch if not told.outcome.failed)
        outcomes = [told.outcome for told in batch]
        advantages = self._estimator.advantages([o.reward for o in outcomes], [o.failed for o in outcomes])
        again = np.maximum(self._estimator.peek([told.outcome.reward for told in elites]), 0.0)
        # B: batch and elites together
        advantage = torch.from_numpy(np.concatenate([advantages, again]))[
            :, None
        ]  # (B, 1), one for all decisions of a draw
        taken = torch.tensor([told.candidate for told in (*batch, *elites)])  # (B, T), like all below
        old_log_probs = self._policy(taken)[0].detach()  # of elites: their draw is long ago
        old_log_probs[: len(batch)] = torch.stack([self._log_probs.pop(told.id) for told in batch])
        for _ in range(self.config.num_epochs):
            log_probs, entropy = self._policy(taken)
            gain = clipped_gain(log_probs - old_log_probs, advantage, self.config.clip_range)
            loss = -gain.mean() - self.config.entropy_weight * entropy.mean()
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
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
