"""A training stopped between epochs and restored, and the losses of networks with auxiliary heads."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from nas.checkpoint import read_checkpoint, write_checkpoint
from nas.errors import UserError
from nas.training import ImageSet, Training, own_randomness, train, training_loss
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from search_spaces.zoo import ZOO

ARCH = parse_arch(
    "stem_k3_s22_o8 r2_k3_s22_e2_i8_o16_se0.25 r1_k3_s11_e1_i16_o16 head_o16_d0.5 "
    "aux_b1_w0.3_o8_d0.5 aux_b2_w0.25_o8_f12"
)
"""Dropout, which draws from torch's generator, and auxiliary heads."""


def noise(count, size=16, num_classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    return ImageSet(images.to(memory_format=torch.channels_last), labels, (0.5,) * 3, (0.3,) * 3)


def build(arch=ARCH, seed=0):
    return build_module(lower(arch, 16, 4, training=True), seed)


RECIPES = {
    "sgd": TrainingRecipe(epochs=4, batch_size=8, max_shift=1, flip=True),
    "rmsprop": TrainingRecipe(
        epochs=4, batch_size=8, optimizer="rmsprop", schedule="exponential", learning_rate=0.01, clip_norm=1.0
    ),
    "averaged": TrainingRecipe(epochs=4, batch_size=8, ema_decay=0.9, label_smoothing=0.1),
}


def run_to(training, num_epochs):
    while training.num_epochs < num_epochs:
        with own_randomness(training.num_samples):
            epoch = training.next_epoch()
    return epoch


def same(one, other):
    tensors, others = one.tensors(), other.tensors()
    return set(tensors) == set(others) and all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.parametrize("name", RECIPES)
def test_a_restored_training_goes_on_as_if_nothing_had_happened(name, tmp_path):
    data, recipe, path = noise(33), RECIPES[name], tmp_path / "checkpoint.safetensors"
    undisturbed, first = (Training(build(), data, recipe, seed=3) for _ in range(2))
    run_to(undisturbed, 2)
    run_to(first, 2)
    write_checkpoint(path, first)
    second = Training(build(seed=9), data, recipe, seed=8)  # nothing of it may survive
    read_checkpoint(path, second)
    assert (second.num_epochs, second.num_samples) == (2, 64)
    assert same(first, second)
    assert run_to(second, 4).loss == run_to(undisturbed, 4).loss
    assert same(second, undisturbed)
    assert not same(second, first)
    assert not path.with_suffix(".tmp").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_holds_everything(name):
    recipe = RECIPES[name]
    training = Training(build(), noise(33), recipe, seed=3)
    run_to(training, 1)
    state = training.tensors()
    kinds = {key.partition(".")[0] for key in state}
    assert kinds == {"module", "generator", "optimizer"} | ({"average"} if recipe.ema_decay else set())
    per_parameter = 2 if recipe.optimizer == "rmsprop" else 1
    num_parameters = len(list(build().parameters()))
    assert sum(key.startswith("optimizer.") for key in state) == per_parameter * num_parameters


def test_checkpoints_that_are_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    recipe = RECIPES["averaged"]
    training = Training(build(), noise(16), recipe, seed=0)
    run_to(training, 1)
    write_checkpoint(path, training)
    other = parse_arch("stem_k3_s22_o8 r1_k3_s22_e2_i8_o16 head_o16_d0")
    with pytest.raises(UserError, match="of another training") as error:
        read_checkpoint(path, Training(build(other), noise(16), recipe, seed=0))
    assert "\n" not in str(error.value)

    tensors = load_file(path)
    save_file({name: t for name, t in tensors.items() if name != "generator"}, path, {"format": "nas-checkpoint"})
    with pytest.raises(UserError, match="not a checkpoint of version 1"):
        read_checkpoint(path, training)
    metadata = {"format": "nas-checkpoint", "version": "1", "epochs": "1"}
    save_file({name: t for name, t in tensors.items() if name != "generator"}, path, metadata)
    with pytest.raises(UserError, match="of another training \\('generator'\\)"):
        read_checkpoint(path, training)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot be read .*; delete it to begin the training again"):
        read_checkpoint(path, training)


def test_auxiliary_losses_count_with_their_weights():
    """main + 0.3 a1 + 0.25 a2 (arXiv 1409.4842, section 5), dropout drawn alike."""
    module, data = build(), noise(8)
    images = data.normalised(data.images)
    with own_randomness(1):
        loss = training_loss(module, images, data.labels, label_smoothing=0.1)
    with own_randomness(1):
        logits = module.outputs(images)
    main, first, second = (F.cross_entropy(x, data.labels, label_smoothing=0.1) for x in logits)
    assert loss.item() == pytest.approx((main + 0.3 * first + 0.25 * second).item(), rel=1e-6)
    assert loss.item() > 1.4 * main.item()


def test_googlenet_s_loss():
    """main + 0.3 (a1 + a2)."""
    arch = ZOO["googlenet"].arch
    module = build_module(lower(arch, 32, 4, training=True), 0)
    data = noise(4, size=32)
    images = data.normalised(data.images)
    with own_randomness(1):
        loss = training_loss(module, images, data.labels)
    with own_randomness(1):
        main, first, second = (F.cross_entropy(x, data.labels) for x in module.outputs(images))
    assert loss.item() == pytest.approx((main + 0.3 * (first + second)).item(), rel=1e-6)


def test_auxiliary_heads_are_trained_and_move_what_they_read():
    with_heads, without = build(), build_module(lower(ARCH, 16, 4), 0)
    without.load_state_dict({name: with_heads.state_dict()[name] for name in without.state_dict()})
    before = copy.deepcopy(with_heads.state_dict())
    recipe = TrainingRecipe(epochs=1, batch_size=8)
    for module in (with_heads, without):
        with own_randomness(0):
            next(train(module, noise(8), recipe, 0))
    changed = {name for name, tensor in with_heads.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name for name in before if name.startswith("aux") and name.endswith("weight")} <= changed
    assert not torch.equal(with_heads.state_dict()["stem.conv.weight"], without.state_dict()["stem.conv.weight"])


def test_gradients_are_clipped():
    """One plain step (momentum counts twice with Nesterov) is as long as the longest gradient allows."""
    arch = parse_arch("stem_k3_s22_o8 r1_k3_s22_e2_i8_o16 head_o16_d0")
    lengths = {}
    for clip_norm in (0.0, 0.01):
        module = build(arch)
        before = copy.deepcopy(module.state_dict())
        recipe = TrainingRecipe(
            epochs=1, batch_size=8, learning_rate=1.0, warmup_epochs=0, weight_decay=0.0, clip_norm=clip_norm
        )
        next(train(module, noise(8), recipe, 0))
        moved = [(p - before[name]).detach().square().sum() for name, p in module.named_parameters()]
        lengths[clip_norm] = sum(moved).sqrt().item()
    assert lengths[0.01] == pytest.approx(0.01 * 1.9, rel=1e-3)  # g + 0.9 g
    assert lengths[0.0] > 10 * lengths[0.01]


@pytest.mark.parametrize("name", ZOO)
def test_every_network_trains(name):
    """One step at a low resolution: a finite loss, and no weight is left without a gradient or becomes NaN."""
    network = ZOO[name]
    size = 96 if name == "inception_v3" else 64
    module = build_module(lower(network.arch, size, 4, training=True), seed=0)
    recipe = TrainingRecipe(epochs=1, batch_size=4, learning_rate=0.001)
    with own_randomness(0):
        (epoch,) = train(module, noise(4, size=size), recipe, 0)
    assert 0 < epoch.loss < 10
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert all(tensor.isfinite().all() for tensor in module.state_dict().values())
