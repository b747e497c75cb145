from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch

from controllers.policy import AutoregressivePolicy, IndependentPolicy

NUM_OPTIONS = (3, 1, 2, 5)


def policy(init_range: float, num_options: tuple[int, ...] = NUM_OPTIONS) -> AutoregressivePolicy:
    return AutoregressivePolicy(num_options, hidden_size=6, init_range=init_range, rng=np.random.default_rng(0))


def test_entropy_of_a_policy_with_zero_weights_is_log_k() -> None:
    log_probs, entropy = policy(0.0)(torch.tensor([[2, 0, 1, 4]]))
    expected = [math.log(k) for k in NUM_OPTIONS]
    assert entropy[0].tolist() == pytest.approx(expected)
    assert log_probs[0].tolist() == pytest.approx([-x for x in expected])


def test_independent_decisions_are_an_rnn_without_weights() -> None:
    taken = torch.tensor([[2, 0, 1, 4], [0, 0, 0, 0]])
    zero, independent = policy(0.0), IndependentPolicy(NUM_OPTIONS)
    for _ in range(3):
        for p in (zero, independent):
            log_probs, _ = p(taken)
            p.zero_grad()
            (log_probs * torch.tensor([[1.0], [-0.5]])).sum().backward()
            with torch.no_grad():
                for weight in p.parameters():
                    weight += 0.3 * weight.grad
        assert torch.allclose(zero.bias, independent.bias, atol=1e-12)
        assert all(float(w.detach().abs().max()) == 0 for name, w in zero.named_parameters() if name != "bias")
        assert torch.allclose(zero(taken)[0], independent(taken)[0], atol=1e-12)
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    assert torch.equal(zero.sample(one, 50), independent.sample(other, 50))
    assert float(independent(taken)[0].detach().exp()[0, 0]) > 0.5  # that is, something was learnt


@pytest.mark.parametrize("p", [policy(2.0), IndependentPolicy(NUM_OPTIONS)])
def test_draws_consume_the_same_numbers_alone_and_together(p: AutoregressivePolicy | IndependentPolicy) -> None:
    together, alone = np.random.default_rng(1), np.random.default_rng(1)
    drawn = p.sample(together, 20)
    assert (drawn.shape, drawn.dtype) == ((20, 4), torch.int64)
    assert torch.equal(drawn, torch.cat([p.sample(alone, 1) for _ in range(20)]))
    assert together.random() == alone.random()


def test_probabilities_of_all_candidates_sum_to_one() -> None:
    everything = torch.tensor(list(itertools.product(*(range(k) for k in NUM_OPTIONS))))
    log_probs, entropy = policy(2.0)(everything)
    probability = log_probs.detach().sum(dim=1).exp()
    assert float(probability.sum()) == pytest.approx(1.0)
    # Chain rule: the entropy of the joint distribution is the expected sum of those of the steps.
    assert float((probability * entropy.detach().sum(dim=1)).sum()) == pytest.approx(
        -float((probability * probability.log()).sum())
    )


def test_a_decision_depends_on_those_before_it_and_not_on_those_after() -> None:
    _, entropy = policy(2.0)(torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]))
    assert entropy[0, :3].tolist() == entropy[1, :3].tolist()
    assert entropy[0, 3] != entropy[1, 3]
    assert entropy[0, 0] == entropy[2, 0]
    assert (entropy[0, 2:] != entropy[2, 2:]).all()


def test_draws_follow_the_probabilities() -> None:
    p, rng = policy(3.0, (2, 3)), np.random.default_rng(2)
    everything = list(itertools.product(range(2), range(3)))
    expected = p(torch.tensor(everything))[0].sum(dim=1).exp().tolist()
    drawn = [tuple(draw) for draw in p.sample(rng, 2000).tolist()]
    for candidate, probability in zip(everything, expected, strict=True):
        five_sigma = 5 * math.sqrt(2000 * probability * (1 - probability))  # fails falsely with odds of about 3e-6
        assert drawn.count(candidate) == pytest.approx(2000 * probability, abs=five_sigma)


def test_global_random_state_is_neither_read_nor_set() -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002

    before = states()
    p = policy(0.1)
    p.sample(np.random.default_rng(0), 1)
    assert states() == before
    torch.manual_seed(99)
    assert torch.equal(policy(0.1).lstm.weight_hh_l0, p.lstm.weight_hh_l0)


def test_every_weight_starts_within_the_range() -> None:
    for name, weight in policy(0.1).named_parameters():
        assert 0 < float(weight.detach().abs().max()) <= 0.1, name
        assert weight.dtype == torch.float64, name
