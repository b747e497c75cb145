from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from controllers.controller import Outcome
from controllers.reinforce import PRESETS, ReinforceConfig, ReinforceController, policy_gradient
from search_spaces.choice import Choice

NUM_OPTIONS = (3, 1, 2, 5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.7])
def test_gradient_against_autograd(entropy_weight: float, masked: bool) -> None:
    rng = np.random.default_rng(0)
    taken = np.stack([rng.integers(NUM_OPTIONS) for _ in range(6)])
    advantages = rng.normal(size=6)
    logits = np.full((4, 5), -np.inf)
    separate = [torch.from_numpy(rng.normal(size=k)).requires_grad_() for k in NUM_OPTIONS]
    for row, logit in zip(logits, separate, strict=True):
        row[: len(logit)] = logit.detach().numpy()
    log_p = [torch.log_softmax(logit, dim=0) for logit in separate]
    active = rng.random((6, 4)) < 0.5 if masked else np.ones((6, 4), dtype=bool)
    counted = torch.from_numpy(active)
    log_probs = torch.stack([log_p[t][torch.from_numpy(taken[:, t])] for t in range(4)], dim=1)
    entropy = torch.stack([-(p.exp() * p).sum() for p in log_p]).expand(6, 4)
    rewarded = torch.from_numpy(advantages) * (log_probs * counted).sum(dim=1)
    objective = rewarded.mean() + entropy_weight * (entropy * counted).mean(dim=1).mean()
    torch.autograd.backward(objective)
    gradient = policy_gradient(logits, taken, advantages, entropy_weight, active if masked else None)
    for row, logit, k in zip(gradient, separate, NUM_OPTIONS, strict=True):
        assert logit.grad is not None
        assert row[:k].tolist() == pytest.approx(logit.grad.tolist(), abs=1e-12)
        assert row[k:].tolist() == [0.0] * (5 - k)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.999), (0.9, 0.99)])
def test_steps_against_the_adam_of_torch(beta1: float, beta2: float) -> None:
    config = ReinforceConfig(learning_rate=0.1, beta1=beta1, beta2=beta2)
    controller = ReinforceController([Choice("a", (0, 1, 2)), Choice("b", (0, 1, 2))], 0, config)
    weight = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weight], lr=0.1, betas=(beta1, beta2), eps=1e-8, maximize=True)
    rng = np.random.default_rng(0)
    for _ in range(5):
        gradient = rng.normal(size=(2, 3))
        weight.grad = torch.from_numpy(gradient)
        adam.step()
        controller._climb(gradient)
    assert controller._logits.ravel().tolist() == pytest.approx(weight.detach().ravel().tolist(), abs=1e-9)


def test_the_learning_rate_grows_tenfold_and_then_stays() -> None:
    config = ReinforceConfig(learning_rate=0.1, batch_size=2, tenfold_after=8)
    controller = ReinforceController([Choice("a", (0, 1))], 0, config)
    steps = []
    for _ in range(6):
        before = controller._logits[0, 0]
        controller._climb(np.array([[1.0, 0.0]]))  # a constant gradient: a step of Adam is the learning rate
        steps.append(controller._logits[0, 0] - before)
    assert steps == pytest.approx([0.1 * 10 ** (i / 4) for i in (1, 2, 3, 4, 4, 4)], rel=1e-6)


def test_paper_preset_has_the_constants_of_tunas() -> None:
    paper = PRESETS["paper"]
    assert (paper.beta1, paper.beta2, paper.baseline_decay, paper.entropy_weight) == (0.0, 0.999, 0.95, 0.0)
    assert paper.learning_rate == pytest.approx(3e-4 * 4096 / 256)
    assert paper.hierarchical


def test_draws_start_uniform_and_settle_on_the_best() -> None:
    config = ReinforceConfig(learning_rate=0.1, batch_size=4, entropy_weight=0.0, num_draws=1)
    controller = ReinforceController([Choice("arm", ("a", "b", "c")), Choice("other", (0, 1))], 0, config)
    started = [controller.ask() for _ in range(400)]
    # binomial(400, 1/3) has a deviation of 9.4; five of them: odds of a false failure below 1e-6
    assert all(sum(s.choices["arm"] == arm for s in started) == pytest.approx(400 / 3, abs=47) for arm in "abc")
    for suggestion in started:
        controller.tell(suggestion, Outcome({"a": 0.0, "b": 1.0, "c": 0.2}[str(suggestion.choices["arm"])]))
    assert sum(controller.ask().choices["arm"] == "b" for _ in range(100)) > 90


def test_the_entropy_term_holds_the_policy_open() -> None:
    logits = np.array([[2.0, 0.0]])
    gradient = policy_gradient(logits, np.array([[0]]), np.array([0.0]), 1.0)
    p = 1 / (1 + math.exp(-2))
    slope = -p * (1 - p) * 2.0  # dH/dlogit = -p (log p + H) = -p (1 - p) (difference of logits)
    assert gradient[0].tolist() == pytest.approx([slope, -slope])


@pytest.mark.parametrize("hierarchical", [True, False])
def test_what_is_inactive_is_not_learnt(hierarchical: bool) -> None:
    choices = [Choice("on", (0, 1)), Choice("off", (0, 1)), Choice("sometimes", (0, 1))]
    config = ReinforceConfig(batch_size=8, entropy_weight=0.3, hierarchical=hierarchical, num_draws=1)
    controller = ReinforceController(choices, 0, config)
    for number in range(32):
        suggestion = controller.ask()
        active = frozenset({"on", "sometimes"} if number % 2 else {"on"})
        controller.tell(suggestion, Outcome(float(sum(map(int, suggestion.choices.values()))), active=active))
    on, off, sometimes = controller.logits
    assert on[1] > on[0]
    assert (off.tolist() == [0.0, 0.0]) is hierarchical
    assert sometimes[1] > sometimes[0]
    assert controller.most_likely() == {"on": 1, "off": int(off[1] > off[0]), "sometimes": 1}


def test_active_decisions_have_names_of_the_space() -> None:
    controller = ReinforceController([Choice("a", (0, 1))], 0, ReinforceConfig())
    suggestion = controller.ask()
    with pytest.raises(ValueError, match=r"active decisions \['b'\]: the space has none"):
        controller.tell(suggestion, Outcome(1.0, active=frozenset({"a", "b"})))
    controller.tell(suggestion, Outcome(1.0, active=frozenset({"a"})))  # it is still open
