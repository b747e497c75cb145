from pathlib import Path

import pytest
import torch

from nas.errors import UserError
from nas.evaluator import Evaluation, ProxyTrainer, RecordedEvaluator, check_recorded_run
from nas.jsonl import JsonLines
from nas.training import DivergedError, ImageSet
from nas.training_recipe import TrainingRecipe
from nas.trial import FORMAT, VERSION, Trial
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import get

ARCH = parse_arch("stem_k3_s22_o8 r1_k3_s22_e1_i8_o8 head_o16_d0.5")  # draws from torch's generator: dropout
RECIPE = TrainingRecipe(epochs=3, batch_size=8, learning_rate=0.05)


def noise(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return ImageSet(images.to(memory_format=torch.channels_last), labels, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))


def evaluator(recipe=RECIPE):
    return ProxyTrainer(noise(20, 0), noise(10, 1), recipe, num_classes=3)


def accuracies(evaluations):
    return [evaluation.accuracy for evaluation in evaluations]


def test_one_estimate_an_epoch():
    found = list(evaluator().evaluate(ARCH, seed=0))
    assert [e.epoch for e in found] == [1, 2, 3]
    assert [e.samples for e in found] == [16, 32, 48]
    assert all(0 <= e.accuracy <= 1 and (e.accuracy * 10) % 1 == pytest.approx(0) for e in found)
    seconds = [e.seconds for e in found]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_same_seed_same_estimates_and_torch_s_own_generator_is_left_alone():
    # accuracies that depend on every weight: of noise, half memorised
    trainer = ProxyTrainer(noise(64, 0), noise(64, 0), TrainingRecipe(epochs=4, batch_size=16, learning_rate=0.2), 3)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = accuracies(trainer.evaluate(ARCH, seed=3))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert accuracies(trainer.evaluate(ARCH, seed=3)) == first
    assert len(set(first)) > 1
    assert accuracies(trainer.evaluate(ARCH, seed=4)) != first


def test_what_is_not_taken_is_not_trained():
    estimates = evaluator().evaluate(ARCH, seed=0)
    before = torch.random.get_rng_state()
    next(estimates)
    estimates.close()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_learns():
    half = noise(16, 0)
    easy = ImageSet(
        half.images // 4 + 60 * half.labels.view(-1, 1, 1, 1).to(torch.uint8), half.labels, half.mean, half.std
    )
    steady = parse_arch("stem_k3_s22_o16 r1_k3_s22_e1_i16_o16 head_o32_d0")
    recipe = TrainingRecipe(epochs=25, batch_size=8, learning_rate=0.05)
    assert accuracies(ProxyTrainer(easy, easy, recipe, num_classes=3).evaluate(steady, seed=0))[-1] > 0.9


def test_divergence_is_raised():
    with pytest.raises(DivergedError):
        list(evaluator(TrainingRecipe(epochs=3, batch_size=8, learning_rate=1e30)).evaluate(ARCH, seed=0))


def test_accuracies_of_an_earlier_run(tmp_path):
    rejected = Trial(number=1, choices={}, arch=get("mnasnet_a1"), status="rejected", reward=0.0, macs=1, params=1)
    good = Trial(number=0, choices={}, arch=ARCH, status="ok", reward=0.5, macs=1, params=1, accuracy=0.625)
    with JsonLines(tmp_path / "trials.jsonl", FORMAT, VERSION) as journal:
        for trial in (rejected, good):
            journal.append(trial.to_dict())
    recorded = RecordedEvaluator.of_run(tmp_path)
    assert list(recorded.evaluate(ARCH, seed=5)) == [Evaluation(0.625, epoch=0, samples=0, seconds=0.0)]
    for name in ("mnasnet_a1", "mobilenet_v2"):
        with pytest.raises(LookupError, match=f"^{tmp_path} has no accuracy of stem|^{tmp_path} has no accuracy of r1"):
            list(recorded.evaluate(get(name), seed=0))


def test_a_recorded_run_is_a_run(tmp_path):
    with pytest.raises(UserError, match=r"^nowhere: not a run folder \(no trials.jsonl\)$"):
        check_recorded_run(Path("nowhere"))
    (tmp_path / "trials.jsonl").touch()
    check_recorded_run(tmp_path)
