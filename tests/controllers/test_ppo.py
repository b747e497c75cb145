from __future__ import annotations

import math
import time

import pytest
import torch

from controllers.controller import Outcome, Suggestion
from controllers.ppo import PRESETS, PPOConfig, PPOController, clipped_gain
from search_spaces.choice import Choice

BANDIT = (Choice("arm", ("a", "b", "c")), Choice("other", (0, 1)))


def small(**constants: float) -> PPOConfig:
    constants = {
        "init_range": 0.1,
        "hidden_size": 8,
        "learning_rate": 0.03,
        "num_epochs": 4,
        "entropy_weight": 0.05,
        **constants,
    }
    return PPOConfig(**constants)  # type: ignore[arg-type]


def pull(suggestion: Suggestion) -> Outcome:
    return Outcome(reward={"a": 0.0, "b": 1.0, "c": 0.2}[str(suggestion.choices["arm"])])


def test_clipped_gain_by_hand() -> None:
    ratio = torch.tensor([0.5, 1.0, 1.5, 0.5, 1.0, 1.5])
    advantage = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, -2.0])
    # a gain stops at 1.2 x advantage, a loss at 0.8 x advantage, and the worse side is never cut off
    assert clipped_gain(ratio.log(), advantage, 0.2).tolist() == pytest.approx([1.0, 2.0, 2.4, -1.6, -2.0, -3.0])


def test_paper_preset_has_the_constants_of_nasnet() -> None:
    paper = PRESETS["paper"]
    assert (paper.hidden_size, paper.init_range, paper.learning_rate, paper.clip_range) == (100, 0.1, 3.5e-4, 0.2)
    assert (paper.entropy_weight, paper.baseline_decay, paper.batch_size) == (1e-5, 0.95, 20)
    assert (paper.num_draws, paper.num_elites) == (1, 0)


@pytest.mark.parametrize("init_range", [0.1, 0.0])  # 0: independent decisions, without the RNN
def test_bandit(init_range: float) -> None:
    controller = PPOController(BANDIT, seed=0, config=small(init_range=init_range))
    arms = []
    for _ in range(200):
        suggestion = controller.ask()
        arms.append(suggestion.choices["arm"])
        controller.tell(suggestion, pull(suggestion))
    assert arms[:8].count("b") < 6
    assert arms[-40:].count("b") > 35


@pytest.mark.parametrize("failure_reward", [-1e12, -1.0, 0.0])
def test_learns_to_avoid_failures_and_still_tells_the_rest_apart(failure_reward: float) -> None:
    controller = PPOController(BANDIT, seed=0, config=small())
    arms = []
    for _ in range(200):
        suggestion = controller.ask()
        arms.append(suggestion.choices["arm"])
        failed = suggestion.choices["arm"] == "a"
        controller.tell(suggestion, Outcome(failure_reward, failed=True) if failed else pull(suggestion))
    assert "a" in arms[:20]
    assert arms[-40:].count("b") > 35


def test_batches_are_learnt_in_the_order_of_the_asks() -> None:
    forwards, backwards = (PPOController(BANDIT, seed=0, config=small()) for _ in range(2))
    first, second = ([c.ask() for _ in range(12)] for c in (forwards, backwards))
    for suggestion in first:
        forwards.tell(suggestion, pull(suggestion))
    for suggestion in reversed(second):  # the third batch is complete long before the first
        backwards.tell(suggestion, pull(suggestion))
    assert [forwards.ask() for _ in range(20)] == [backwards.ask() for _ in range(20)]


def test_nothing_is_learnt_from_a_batch_with_a_gap() -> None:
    told, untold = (PPOController(BANDIT, seed=0, config=small()) for _ in range(2))
    asked = [told.ask() for _ in range(12)]
    for suggestion in asked[1:]:
        told.tell(suggestion, pull(suggestion))
    assert [untold.ask() for _ in range(12)] == asked
    assert [told.ask() for _ in range(20)] == [untold.ask() for _ in range(20)]


def test_entropy_weight_alone_flattens_a_policy() -> None:
    def entropy(config: PPOConfig) -> float:
        controller = PPOController(BANDIT, seed=0, config=config)
        for i in range(120):
            controller.tell(controller.ask(), Outcome(reward=1.0 if i == 0 else 0.0))
        arms = [str(controller.ask().choices["arm"]) for _ in range(600)]
        return -sum(arms.count(arm) / 600 * math.log(arms.count(arm) / 600) for arm in set(arms))

    assert entropy(small(init_range=2.0, entropy_weight=5.0)) > 1.05  # log 3 = 1.0986
    assert entropy(small(init_range=2.0, entropy_weight=0.0)) < 1.05


def test_a_candidate_is_not_suggested_again_while_there_are_others() -> None:
    for num_draws, repeats in ((2, False), (1, True)):
        controller = PPOController(BANDIT, seed=0, config=small(num_draws=num_draws, init_range=0.0))
        first = [tuple(controller.ask().choices.values()) for _ in range(6)]
        assert (len(set(first)) < 6) == repeats
        controller.ask()  # everything is known, and nothing hangs


def test_elites_are_the_best_of_the_latest_successes_and_pull_the_policy_towards_them() -> None:
    def share_of_b(num_elites: int, elite_window: int) -> float:
        config = small(num_elites=num_elites, elite_window=elite_window, init_range=0.0, num_draws=1)
        controller = PPOController(BANDIT, seed=0, config=config)
        seen_b = False
        for _ in range(120):  # one success with "b" is all that is told of it; every other draw is average, or failed
            suggestion = controller.ask()
            good = suggestion.choices["arm"] == "b" and not seen_b
            seen_b = seen_b or good
            average = 0.1 * (suggestion.id % 2)
            controller.tell(suggestion, Outcome(reward=1.0 if good else average))
        return sum(controller.ask().choices["arm"] == "b" for _ in range(200)) / 200

    assert share_of_b(1, 1000) > 0.9
    assert share_of_b(0, 1000) < 0.8
    assert share_of_b(1, 1) < 0.8  # forgotten with the next success


def test_ask_and_tell_take_little_for_a_mnasnet_space() -> None:
    controller = PPOController([Choice(f"d{t}", (0, 1, 2, 3)) for t in range(42)], seed=0, config=PRESETS["rnn"])
    started = time.process_time()
    for i in range(16):
        controller.tell(controller.ask(), Outcome(reward=float(i)))
    # 16 x 4 ms of asks and 4 x 20 ms of updates on one core; process time, as the machine may be busy
    assert time.process_time() - started < 1.5
