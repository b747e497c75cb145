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
    return PPOConfig(hidden_size=8, batch_size=4, learning_rate=0.03, **constants)  # type: ignore[arg-type]


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


def test_an_ask_and_an_update_are_fast_enough_for_a_mnasnet_space() -> None:
    controller = PPOController([Choice(f"d{t}", (0, 1, 2, 3)) for t in range(42)], seed=0, config=PRESETS["fast"])
    started = time.process_time()
    for i in range(16):
        controller.tell(controller.ask(), Outcome(reward=float(i)))
    # 16 x 2.3 ms of asks and 2 x 35 ms of updates on one core; process time, as the machine may be busy
    assert time.process_time() - started < 1.0
