"""Optimizers of the trainer: SGD with Nesterov momentum, and RMSProp as TensorFlow has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import nn
from torch.optim import Optimizer

from nas.training_recipe import TrainingRecipe


def parameter_groups(module: nn.Module, weight_decay: float, decays_depthwise: bool = True) -> list[dict[str, object]]:
    """Weights of convolutions and linear layers, which decay, and the rest, which does not.

    Args:
        module: whose parameters.
        weight_decay: of the first group.
        decays_depthwise: whether depthwise weights are of the first group.
    """
    spared = () if decays_depthwise else tuple(id(m.weight) for m in module.modules() if _is_depthwise(m))
    weights = [p for p in module.parameters() if p.ndim > 1 and id(p) not in spared]
    others = [p for p in module.parameters() if p.ndim <= 1 or id(p) in spared]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def make_optimizer(module: nn.Module, recipe: TrainingRecipe) -> Optimizer:
    """The optimizer that `recipe` names, on the parameters of `module`."""
    groups = parameter_groups(module, recipe.weight_decay, recipe.decays_depthwise)
    if recipe.optimizer == "rmsprop":
        return TensorFlowRMSprop(
            groups, recipe.learning_rate, recipe.rmsprop_decay, recipe.momentum, recipe.rmsprop_epsilon
        )
    sgd = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True, fused=True)
    for parameter in module.parameters():
        # The fused kernel wants momentum for all parameters or for none, and not every step of a supernet reaches all
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


class TensorFlowRMSprop(Optimizer):
    """RMSProp as the papers' code ran it (TensorFlow 1 `training_ops.cc: ApplyRMSProp`).

    For a gradient g, weight decay included: ``s = decay s + (1 - decay) g^2``; ``m = momentum m + lr g / sqrt(s + epsilon)``;
    ``w = w - m``. `torch.optim.RMSprop` differs in three ways: epsilon stands outside the root, which at the papers' 1.0
    shortens steps by up to 29 % (where s is 1); s begins at 0 and not at 1, which makes the first steps longer; and the
    learning rate multiplies m rather than g, so that a fall of the rate acts on the momentum at once.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        decay: of the moving average of squares.
        momentum: of the steps.
        epsilon: added to the average of squares.
        weight_decay: of groups that do not name their own.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        decay: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "decay": decay,
            "momentum": momentum,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradients that the parameters hold; `closure` is not supported."""
        assert closure is None
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._step_group(group, params)
        return None

    def _step_group(self, group: dict[str, Any], params: list[torch.Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {"square_average": torch.ones_like(p), "step_average": torch.zeros_like(p)}
        squares = [self.state[p]["square_average"] for p in params]
        steps = [self.state[p]["step_average"] for p in params]
        gradients = [p.grad for p in params if p.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, params, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
        roots = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(steps, group["momentum"])
        torch._foreach_addcdiv_(steps, gradients, roots, group["lr"])
        torch._foreach_sub_(params, steps)
