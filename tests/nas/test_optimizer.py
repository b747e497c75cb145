import numpy as np
import pytest
import torch
from torch import nn

from nas.optimizer import TensorFlowRMSprop, make_optimizer, parameter_groups
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

ARCH = parse_arch("stem_k3_s22_o16 r2_k3_s22_e2_i16_o32_se0.25 head_o64_d0")


def parameters(*values):
    return [nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in values]


def test_rmsprop_is_tensorflow_s():
    """Against `ApplyRMSProp` written out, with changing learning rate, weight decay in one group, and two tensors."""
    rng = np.random.default_rng(0)
    decayed, plain = parameters(rng.normal(size=(3, 2)).tolist(), rng.normal(size=4).tolist())
    groups = [{"params": [decayed], "weight_decay": 0.1}, {"params": [plain], "weight_decay": 0.0}]
    optimizer = TensorFlowRMSprop(groups, lr=1.0, decay=0.8, momentum=0.7, epsilon=0.3)
    expected = [(p.detach().numpy().copy(), np.ones(p.shape), np.zeros(p.shape)) for p in (decayed, plain)]
    for rate in (0.5, 0.5, 0.1, 0.02):
        gradients = [rng.normal(size=tuple(p.shape)) for p in (decayed, plain)]
        for group in optimizer.param_groups:
            group["lr"] = rate
        for p, g in zip((decayed, plain), gradients, strict=True):
            p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        for (w, s, m), g, weight_decay in zip(expected, gradients, (0.1, 0.0), strict=True):
            g = g + weight_decay * w
            s[:] = 0.8 * s + 0.2 * g * g
            m[:] = 0.7 * m + rate * g / np.sqrt(s + 0.3)
            w[:] = w - m
        for p, (w, _, _) in zip((decayed, plain), expected, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-12)


def first_step(optimizer_class, gradient, **options):
    (p,) = parameters([0.0])
    optimizer = optimizer_class([p], lr=1.0, **options)
    p.grad = torch.tensor([gradient], dtype=torch.float64)
    optimizer.step()
    return -p.item()


def test_how_torch_s_rmsprop_differs():
    ours = first_step(TensorFlowRMSprop, 1.0, decay=0.9, momentum=0.9, epsilon=1.0)
    assert ours == pytest.approx(1 / 2**0.5)  # s = 1 at once, epsilon under the root
    torch_s = first_step(torch.optim.RMSprop, 1.0, alpha=0.9, momentum=0.9, eps=1.0)
    assert torch_s == pytest.approx(1 / (0.1**0.5 + 1))  # s = 0.1, epsilon beside the root


def test_parameters_without_gradient_stay():
    moved, kept = parameters([1.0], [1.0])
    moved.grad = torch.ones_like(moved)
    optimizer = TensorFlowRMSprop([moved, kept], lr=0.1, weight_decay=1.0)
    optimizer.step()
    assert kept.item() == 1.0
    assert moved.item() < 1.0


def test_depthwise_weights_are_spared_where_the_network_says_so():
    module = build_module(lower(ARCH, 16, 4), seed=0)
    names = {id(p): name for name, p in module.named_parameters()}

    def decayed(spared):
        weights, others = parameter_groups(module, 0.01, decays_depthwise=not spared)
        assert (weights["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
        assert len(weights["params"]) + len(others["params"]) == len(names)
        return {names[id(p)] for p in weights["params"]}

    depthwise = {name for name in names.values() if name.endswith("depthwise.conv.weight")}
    assert len(depthwise) == 2
    assert decayed(spared=False) - decayed(spared=True) == depthwise
    assert not any("norm" in name or name.endswith("bias") for name in decayed(spared=False))


def test_the_recipe_s_optimizer():
    module = build_module(lower(ARCH, 16, 4), seed=0)
    sgd = make_optimizer(module, TrainingRecipe(learning_rate=0.3, momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert {(g["lr"], g["momentum"], g["nesterov"]) for g in sgd.param_groups} == {(0.3, 0.8, True)}
    recipe = TrainingRecipe(optimizer="rmsprop", rmsprop_decay=0.7, rmsprop_epsilon=0.2, momentum=0.6, weight_decay=0.5)
    rmsprop = make_optimizer(module, recipe)
    assert isinstance(rmsprop, TensorFlowRMSprop)
    assert {(g["decay"], g["epsilon"], g["momentum"]) for g in rmsprop.param_groups} == {(0.7, 0.2, 0.6)}
    assert [g["weight_decay"] for g in rmsprop.param_groups] == [0.5, 0.0]
