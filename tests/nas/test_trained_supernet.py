"""A supernet is trained once, resumed where it was left, and refused where it does not belong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from nas.errors import UserError
from nas.path_gradients import PathGradients
from nas.path_sampling import fair_paths
from nas.supernet_evaluator import SupernetEvaluator
from nas.trained_supernet import trained_supernet
from nas.training import Training
from search_spaces.arch import Stem
from search_spaces.stages import stage_space
from search_spaces.supernet import Supernet
from tests.nas.tiny_supernet import IMAGES, LAYOUT, SPACE, TASK, bright_or_dark, quiet, weights


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supernet")
    return folder, *trained_supernet(TASK, IMAGES, quiet(), folder)


def test_it_learns_and_every_candidate_with_it(known):
    _, supernet, seconds = known
    evaluator = SupernetEvaluator(supernet, bright_or_dark(64, 1))

    scores = [next(evaluator.evaluate(SPACE.decode(choices), 0)) for choices in SPACE.neighbours(SPACE.encode(FIRST))]

    assert seconds > 0
    assert all(score.accuracy > 0.7 for score in scores)  # a guess has 0.5
    assert len({score.accuracy for score in scores}) == len(scores)


FIRST = SPACE.to_arch({"b1.expand": 1, "b1.kernel": 3, "b1.filters": 4})


def test_what_was_trained_is_not_trained_again(known):
    folder, supernet, seconds = known
    console = quiet()

    again, before = trained_supernet(TASK, IMAGES, console, folder)

    assert torch.equal(weights(again), weights(supernet))
    assert before == pytest.approx(seconds, abs=0.01)
    assert "trained before" in console.file.getvalue()


def test_an_interrupted_training_ends_with_the_same_weights(known, tmp_path, monkeypatch):
    class PowerError(Exception):
        pass

    next_epoch = Training.next_epoch

    def fail_in_the_third(training):
        if training.num_epochs == 2:
            raise PowerError
        return next_epoch(training)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "next_epoch", fail_in_the_third)
        with pytest.raises(PowerError):
            trained_supernet(TASK, IMAGES, quiet(), tmp_path)
    assert json.loads((tmp_path / "supernet.json").read_text())["epochs"] == 2

    resumed, _ = trained_supernet(TASK, IMAGES, quiet(), tmp_path)

    assert torch.equal(weights(resumed), weights(known[1]))
    assert len(json.loads((tmp_path / "supernet.json").read_text())["losses"]) == 4
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "d1"}, "its data is d0, this one's d1"),
        ({"resolution": 16}, "its resolution is 8, this one's 16"),
        ({"num_classes": 3}, "its num_classes is 2, this one's 3"),
        ({"space": stage_space("tiny", replace(LAYOUT, activation="hswish"))}, "its space is tiny "),
        ({"space": stage_space("tiny", replace(LAYOUT, stem=Stem(8)))}, "its space is tiny "),
        ({"recipe": replace(TASK.recipe, sharing="op")}, "its recipe is "),
    ],
)
def test_a_supernet_of_another_search_is_refused(known, change, message):
    with pytest.raises(UserError, match=message) as caught:
        trained_supernet(replace(TASK, **change), IMAGES, quiet(), known[0])

    assert "leave evaluator.supernet.folder out" in str(caught.value)
    assert replace(TASK, **change).key != TASK.key


def test_damaged_files_say_what_to_do(known, tmp_path):
    (tmp_path / "supernet.json").write_text((known[0] / "supernet.json").read_text())
    (tmp_path / "weights.safetensors").write_bytes(b"not weights")

    with pytest.raises(UserError, match=r"weights\.safetensors"):
        trained_supernet(TASK, IMAGES, quiet(), tmp_path)
    (tmp_path / "supernet.json").write_text("{")
    with pytest.raises(UserError, match="delete the folder to train the supernet again"):
        trained_supernet(TASK, IMAGES, quiet(), tmp_path)


def test_a_step_follows_the_mean_loss_of_its_candidates():
    supernet = Supernet(SPACE, 8, 2)
    batch = IMAGES.normalised(IMAGES.images[:16])

    loss = PathGradients(supernet, fair_paths)(batch, IMAGES.labels[:16], torch.Generator().manual_seed(0))

    gradient = supernet.get_parameter("stem.window3x3.conv.weight").grad.clone()
    supernet.zero_grad()
    paths = fair_paths(SPACE, torch.Generator().manual_seed(0))
    losses = [
        torch.nn.functional.cross_entropy(supernet.path(choices)(part), labels)
        for choices, part, labels in zip(paths, batch.chunk(2), IMAGES.labels[:16].chunk(2), strict=True)
    ]
    (sum(losses) / 2).backward()
    torch.testing.assert_close(loss, sum(losses).detach() / 2)
    torch.testing.assert_close(gradient, supernet.get_parameter("stem.window3x3.conv.weight").grad)


def test_a_network_inherits_its_weights_with_statistics_of_its_own(known):
    _, supernet, _ = known
    evaluator = SupernetEvaluator(supernet, bright_or_dark(64, 1))

    module = evaluator.inherited(FIRST, IMAGES)

    path = supernet.path(SPACE.encode(FIRST))
    assert torch.equal(module.get_parameter("stem.conv.weight"), path.state()["stem.conv.weight"])
    batch = IMAGES.normalised(IMAGES.images)
    with torch.no_grad():
        torch.testing.assert_close(module(batch), path(batch), rtol=0.05, atol=0.05)  # biased and unbiased variances
