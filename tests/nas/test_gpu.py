"""What a CUDA device computes is what the CPU computes, up to the rounding of bf16; skipped where there is none."""

import copy

import pytest
import torch

from nas.bn_recalibration import recalibrate
from nas.captured_gradients import CapturedGradients
from nas.evaluator import ProxyTrainer
from nas.gradients import LossGradients
from nas.supernet_evaluator import SupernetEvaluator, geometric_mean_probability, path_logits
from nas.trained_supernet import SupernetRecipe, SupernetTask, trained_supernet
from nas.training import Training, num_correct
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.nas.tiny_supernet import SPACE, TASK, bright_or_dark, quiet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU, CPU = torch.device("cuda"), torch.device("cpu")
NETWORK = parse_arch("stem_k3_s22_o16_hswish r1_k3_s11_e2_i16_o16_se0.25 r1_k5_s22_e3_i16_o24_hswish head_o64_d0")
RECIPE = TrainingRecipe(epochs=3, batch_size=32, learning_rate=0.05, max_shift=1, flip=True, ema_decay=0.9)


def network():
    return build_module(lower(NETWORK, 8, 2), 0)


def trained_on(device, images, recipe=RECIPE):
    module = network().to(device)
    training = Training(module, images.to(device), recipe, 5)
    return module, [training.next_epoch().loss for _ in range(recipe.epochs)]


def test_a_training_is_that_of_the_cpu_up_to_rounding():
    images = bright_or_dark(256, 0)
    there, losses_there = trained_on(GPU, images)
    here, losses_here = trained_on(CPU, images)
    assert losses_there == pytest.approx(losses_here, rel=0.05)
    right_there, right_here = num_correct(there, images.to(GPU)), num_correct(here, images)
    assert abs(right_there - right_here) <= 0.05 * len(images)


def test_the_data_is_on_the_device():
    images = bright_or_dark(64, 0).to(GPU)
    assert images.images.device.type == images.labels.device.type == "cuda"
    assert images.images.is_contiguous(memory_format=torch.channels_last)


def test_the_proxy_trainer_takes_the_device_by_itself():
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    trainer = ProxyTrainer(bright_or_dark(256, 0), bright_or_dark(64, 1), RECIPE, 2)
    *_, last = trainer.evaluate(NETWORK, 0)
    assert last.accuracy > 0.9
    assert torch.cuda.max_memory_allocated() > before


def test_statistics_of_bn_taken_anew_are_those_of_the_cpu():
    images = bright_or_dark(128, 2)
    here = network()
    there = copy.deepcopy(here).to(GPU)
    recalibrate(here, images)
    recalibrate(there, images.to(GPU))
    statistics = {name: tensor for name, tensor in here.named_buffers() if "running" in name}
    for name, tensor in there.named_buffers():
        if name in statistics:
            assert torch.allclose(tensor.cpu(), statistics[name], rtol=0.05, atol=0.02), name


def test_a_supernet_scores_as_on_the_cpu(tmp_path):
    supernet, _ = trained_supernet(TASK, bright_or_dark(64, 0).to(GPU), quiet(), tmp_path / "s")
    assert next(supernet.parameters()).device.type == "cuda"
    holdout = bright_or_dark(64, 1)
    candidates = [dict(zip([c.name for c in SPACE.choices], options, strict=True)) for options in all_options()]
    there = [score(supernet, choices, holdout.to(GPU)) for choices in candidates]
    supernet.cpu()
    here = [score(supernet, choices, holdout) for choices in candidates]
    assert there == pytest.approx(here, abs=0.02)


def all_options():
    options = [[]]
    for choice in SPACE.choices:
        options = [[*before, option] for before in options for option in choice.options]
    return options[:16]


def score(supernet, choices, images):
    return float(geometric_mean_probability(path_logits(supernet, choices, images), images.labels))


def test_a_supernet_trained_there_is_as_good_as_one_trained_here(tmp_path):
    recipe = SupernetRecipe(training=TrainingRecipe(epochs=20, batch_size=16, learning_rate=0.1))
    task = SupernetTask(space=SPACE, data="d1", num_images=64, resolution=8, num_classes=2, seed=3, recipe=recipe)
    images, holdout = bright_or_dark(64, 0), bright_or_dark(64, 1)
    candidates = [dict(zip([c.name for c in SPACE.choices], options, strict=True)) for options in all_options()]
    found = {}
    for device in (GPU, CPU):
        supernet, _ = trained_supernet(task, images.to(device), quiet(), tmp_path / device.type)
        evaluator = SupernetEvaluator(supernet, holdout)
        archs = [SPACE.to_arch(choices) for choices in candidates]
        found[device.type] = torch.tensor([[*evaluator.evaluate(arch, 0)][-1].accuracy for arch in archs]).numpy()
    assert found["cuda"] == pytest.approx(found["cpu"], abs=0.25)  # other roundings lead to other weights


def test_a_real_shortage_of_memory_is_survived(caplog):
    images = bright_or_dark(4096, 0)
    recipe = TrainingRecipe(epochs=1, batch_size=4096, learning_rate=0.05)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    used = torch.cuda.memory_reserved()
    try:
        torch.cuda.set_per_process_memory_fraction((used + 90 * 2**20) / total)
        _, losses = trained_on(GPU, images, recipe)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "micro-batches" in caplog.text
    assert losses[0] < 1.0


def stepped(gradients, module, images, labels, optimizer, num_steps):
    generator = torch.Generator().manual_seed(0)
    losses = []
    for step in range(num_steps):
        module.zero_grad(set_to_none=True)
        part = slice(16 * (step % 4), 16 * (step % 4) + 16)
        losses.append(float(gradients(images[part], labels[part], generator)))
        optimizer.step()
    return losses


def test_a_recorded_step_is_the_step():
    data = bright_or_dark(64, 0).to(GPU)
    images = data.normalised(data.images)
    found = {}
    for kind in (LossGradients, CapturedGradients):
        module = network().to(GPU).train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
        losses = stepped(kind(module, 0.1), module, images, data.labels, optimizer, 12)
        found[kind] = losses, {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert found[CapturedGradients][0] == pytest.approx(found[LossGradients][0], rel=0.02)
    for name, tensor in found[LossGradients][1].items():
        if "num_batches" in name:
            assert torch.equal(tensor, found[CapturedGradients][1][name])
        else:
            assert torch.allclose(tensor, found[CapturedGradients][1][name], rtol=0.1, atol=0.02), name


def test_a_recorded_step_draws_its_dropout_anew():
    arch = parse_arch("stem_k3_s22_o16 r1_k3_s11_e1_i16_o16 head_o64_d0.5")
    module = build_module(lower(arch, 8, 2), 0).to(GPU).train()
    gradients = CapturedGradients(module)
    data = bright_or_dark(16, 0).to(GPU)
    images, generator = data.normalised(data.images), torch.Generator()
    losses = {float(gradients(images, data.labels, generator)) for _ in range(8)}
    assert len(losses) > 4


def test_a_recorded_step_adds_to_gradients_that_are_there():
    data = bright_or_dark(32, 0).to(GPU)
    images, generator = data.normalised(data.images), torch.Generator()
    module = network().to(GPU).train()
    gradients = CapturedGradients(module)
    once, twice = [], []
    for kept in (once, twice):
        gradients(images, data.labels, generator)
        kept.extend(p.grad.clone() for p in module.parameters())
    assert all(torch.allclose(two, 2 * one, rtol=0.05, atol=1e-3) for one, two in zip(once, twice, strict=True))
