from __future__ import annotations

import numpy as np
import pytest

from controllers.advantage import AdvantageEstimator


def test_moving_average_by_hand() -> None:
    estimator = AdvantageEstimator(decay=0.5, normalise=False, clip=10.0)
    assert estimator.advantages([1.0, 2.0, 3.0], [False] * 3).tolist() == [-1.0, 0.0, 1.0]  # against the median, 2
    # 2 -> 1.5 -> 1.75 -> 2.375
    assert estimator.advantages([2.375, 3.375], [False] * 2).tolist() == [0.0, 1.0]


def test_normalised_advantages_do_not_depend_on_the_unit() -> None:
    rewards = np.random.default_rng(0).normal(size=(20, 8))
    one, other = (AdvantageEstimator(0.95, normalise=True, clip=3.0) for _ in range(2))
    for batch in rewards:
        plain = one.advantages(batch.tolist(), [False] * 8)
        assert other.advantages((7 + 0.01 * batch).tolist(), [False] * 8) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("failure_reward", [-1e12, -1.0, 0.0])
def test_failures_leave_the_advantages_of_successes_alone(failure_reward: float) -> None:
    rng = np.random.default_rng(0)
    without, with_failures = (AdvantageEstimator(0.95, normalise=True, clip=3.0) for _ in range(2))
    for _ in range(20):
        rewards = (0.7 + 0.02 * rng.normal(size=6)).tolist()
        advantages = with_failures.advantages([failure_reward, *rewards, failure_reward], [True, *[False] * 6, True])
        assert advantages[1:-1].tolist() == without.advantages(rewards, [False] * 6).tolist()
        assert advantages[[0, -1]].tolist() == [-3.0, -3.0]


@pytest.mark.parametrize("batch", [0, 5])
def test_one_absurd_reward_of_a_success_is_soon_forgotten(batch: int) -> None:
    rng = np.random.default_rng(0)
    estimator = AdvantageEstimator(0.95, normalise=True, clip=3.0)
    for i in range(12):
        rewards = (0.7 + 0.02 * rng.normal(size=8)).tolist()
        advantages = estimator.advantages([*rewards[:-1], -1e9] if i == batch else rewards, [False] * 8)
    assert 0.5 < advantages.std() < 2.0


def test_nothing_is_learnt_until_two_successes_differ() -> None:
    estimator = AdvantageEstimator(0.95, normalise=True, clip=3.0)
    assert estimator.advantages([-1.0, -2.0], [True, True]).tolist() == [0.0, 0.0]
    assert estimator.advantages([0.5], [False]).tolist() == [0.0]
    assert estimator.advantages([0.5, -1.0], [False, True]).tolist() == [0.0, 0.0]
    assert estimator.advantages([0.6], [False]).tolist() == pytest.approx([1 / 1.4826])  # deviation over 1.4826 MAD


def test_rewards_that_converge_do_not_make_noise_of_their_last_bits() -> None:
    estimator = AdvantageEstimator(0.95, normalise=True, clip=3.0)
    estimator.advantages([0.5, 0.7, 0.6, 0.8], [False] * 4)
    for _ in range(200):
        estimator.advantages([0.7, 0.7 + 1e-12], [False] * 2)
    assert np.abs(estimator.advantages([0.7, 0.7 + 1e-12], [False] * 2)).max() < 1e-3
