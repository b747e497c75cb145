"""Weights and policy trained together: what they learn, that they are resumed together, and whose they are."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from controllers.reinforce import ReinforceConfig
from nas.errors import UserError
from nas.objective import Objective
from nas.policy_sampler import JOURNAL
from nas.policy_training import HeldOutRewards, PolicyTask, PolicyTraining
from nas.study import Constraints
from nas.supernet_evaluator import SupernetEvaluator
from nas.train_progress import TrainProgress
from nas.trained_supernet import trained_supernet
from search_spaces.supernet import Supernet
from tests.nas.tiny_supernet import IMAGES, SPACE, TASK, bright_or_dark, quiet, weights

HOLDOUT = bright_or_dark(40, 1)
POLICY = PolicyTask(
    reinforce=ReinforceConfig(learning_rate=0.2, batch_size=4, entropy_weight=0.0, hierarchical=True, num_draws=1),
    objective=Objective(target_ms=1.0, form="absolute", beta=-0.5),
    latency="filters",
    constraints=Constraints(),
    num_images=32,
)
TOGETHER = replace(TASK, policy=POLICY, recipe=replace(TASK.recipe, training=replace(TASK.recipe.training, epochs=10)))
NUM_STEPS, NUM_WARM_UP = 40, 10  # 4 an epoch


def latency_ms(arch):
    """Wide networks are four times over the target."""
    return arch.blocks[0].out_channels - 3.0


def training(policy=POLICY, latency=latency_ms):
    return PolicyTraining(policy, SPACE, TASK.seed, HOLDOUT, latency)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder, policy = tmp_path_factory.mktemp("supernet"), training()
    supernet, _ = trained_supernet(TOGETHER, IMAGES, quiet(), folder, policy)
    return folder, supernet, policy


def test_the_policy_finds_the_target_while_the_weights_learn(known):
    folder, supernet, policy = known
    best = policy.controller.most_likely()
    assert best["b1.filters"] == 4
    assert next(SupernetEvaluator(supernet, HOLDOUT).evaluate(SPACE.decode(best), 0)).accuracy > 0.7  # a guess: 0.5
    records = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()[1:]]
    assert [record["step"] for record in records] == list(range(NUM_WARM_UP, NUM_STEPS))
    for entry in (entry for record in records for entry in record["candidates"]):
        price = entry["choices"]["b1.filters"] - 3
        assert entry["latency_ms"] == price
        assert entry["reward"] == pytest.approx(entry["score"] - 0.5 * (price - 1))


def test_a_training_that_died_within_an_epoch_ends_with_the_same_weights_and_policy(known, tmp_path, monkeypatch):
    class PowerError(Exception):
        pass

    stepped, num_stepped = TrainProgress.stepped, 0

    def fail_in_the_sixth_epoch(progress):
        nonlocal num_stepped
        num_stepped += 1
        if num_stepped == 23:
            raise PowerError
        stepped(progress)

    with monkeypatch.context() as patch:
        patch.setattr(TrainProgress, "stepped", fail_in_the_sixth_epoch)
        with pytest.raises(PowerError):
            trained_supernet(TOGETHER, IMAGES, quiet(), tmp_path, training())
    assert json.loads((tmp_path / "supernet.json").read_text())["epochs"] == 5
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 1 + 23 - NUM_WARM_UP  # 3 of them are lost

    policy = training()
    supernet, _ = trained_supernet(TOGETHER, IMAGES, quiet(), tmp_path, policy)

    assert torch.equal(weights(supernet), weights(known[1]))
    assert (policy.controller.logits == known[2].controller.logits).all()
    assert (tmp_path / JOURNAL).read_bytes() == (known[0] / JOURNAL).read_bytes()


def test_a_policy_that_was_trained_before_is_remembered(known, tmp_path):
    folder, _, policy = known
    again, console = training(), quiet()

    trained_supernet(TOGETHER, IMAGES, console, folder, again)

    assert "trained before" in console.file.getvalue()
    assert again.controller.logits.any()
    assert (again.controller.logits == policy.controller.logits).all()
    for name in ("supernet.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match=r"policy\.jsonl: no such file; delete its folder"):
        trained_supernet(TOGETHER, IMAGES, quiet(), tmp_path, training())


@pytest.mark.parametrize(
    "policy",
    [
        None,
        replace(POLICY, latency="another table"),
        replace(POLICY, objective=replace(POLICY.objective, target_ms=1.01)),
        replace(POLICY, reinforce=replace(POLICY.reinforce, tenfold_after=9)),
        replace(POLICY, constraints=Constraints(params=9)),
        replace(POLICY, warm_up=0.5),
        replace(POLICY, num_candidates=3),
    ],
)
def test_a_supernet_of_another_policy_is_another_one(known, policy):
    other = replace(TOGETHER, policy=policy)
    assert other.key != TOGETHER.key
    with pytest.raises(UserError, match="a supernet of another search: its policy is "):
        trained_supernet(other, IMAGES, quiet(), known[0], training(policy) if policy else None)


def test_supernets_without_a_policy_are_known_as_before():
    assert set(TASK.identity()) == {"space", "data", "num_images", "resolution", "num_classes", "seed", "recipe"}


def test_candidates_are_scored_alike_and_what_cannot_be_used_is_a_failure():
    supernet = Supernet(SPACE, 8, 2)
    before = weights(supernet)
    task = replace(POLICY, num_images=len(HOLDOUT))  # all of them: the score is the evaluator's

    def some_ms(arch):
        return None if arch.blocks[0].kernel == 5 else 2.0

    choices = [{"b1.expand": 1, "b1.kernel": kernel, "b1.filters": 4} for kernel in (3, 5, 3)]
    usable, unusable, again = HeldOutRewards(supernet, HOLDOUT, some_ms, task)(choices, torch.Generator())

    assert usable == again
    score = next(SupernetEvaluator(supernet, HOLDOUT).evaluate(SPACE.decode(choices[0]), 0)).accuracy
    assert usable.score == pytest.approx(score, rel=1e-5)
    assert (usable.latency_ms, usable.reward, usable.failed) == (2.0, usable.score - 0.5, False)
    assert (unusable.latency_ms, unusable.reward, unusable.failed) == (None, -1.0, True)
    assert torch.equal(weights(supernet), before)
    assert all(parameter.grad is None for parameter in supernet.parameters())

    with torch.no_grad():
        supernet.get_parameter("stem.window3x3.conv.weight").fill_(math.nan)
    (diverged,) = HeldOutRewards(supernet, HOLDOUT, some_ms, task)(choices[:1], torch.Generator())
    assert (diverged.score, diverged.reward, diverged.failed) == (None, -1.0, True)
