"""The torch interpreter: a graph becomes a trainable module whose parameters bear the operations' names."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.arch import Activation
from search_spaces.graph import INPUT, Add, AveragePool, Conv, GlobalPool, Graph, Linear, Op, Scale

BN_EPSILON = 1e-3  # MnasNet and MobileNetV3 code
BN_MOMENTUM = 0.1  # torch's sense: weight of the newest batch. The papers' 0.01 needs thousands of steps to warm up.

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "hsigmoid": nn.Hardsigmoid,
}


class _Conv(nn.Sequential):
    """Convolution, BN, activation."""

    def __init__(self, op: Conv, bn_momentum: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            op.in_channels, op.shape[0], op.kernel, op.stride, op.kernel // 2, groups=op.groups, bias=op.bias
        )
        if op.norm:
            self.norm = nn.BatchNorm2d(op.shape[0], BN_EPSILON, bn_momentum)
        if op.activation != "none":
            self.act = _ACTIVATIONS[op.activation]()


class _GlobalPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class _Scale(nn.Module):
    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate


class _Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _Linear(nn.Sequential):
    def __init__(self, op: Linear) -> None:
        super().__init__()
        self.dropout = nn.Dropout(op.dropout)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(op.in_features, op.shape[0])


def _module(op: Op, bn_momentum: float) -> nn.Module:
    match op:
        case Conv():
            return _Conv(op, bn_momentum)
        case AveragePool():
            return nn.AvgPool2d(op.kernel, op.stride, op.kernel // 2, count_include_pad=False)
        case GlobalPool():
            return _GlobalPool()
        case Scale():
            return _Scale()
        case Add():
            return _Add()
        case Linear():
            return _Linear(op)
    raise TypeError(f"no torch module for operation {op}")


class GraphModule(nn.Module):
    """A graph as a module: N x 3 x H x W floats in, N x num_classes logits out.

    Submodules are nested along the operations' names, so that ``state_dict`` has keys like ``b3.l2.expand.conv.weight``.
    The module works at any resolution; the graph's is the one that counts and exports refer to.
    """

    def __init__(self, graph: Graph, bn_momentum: float = BN_MOMENTUM) -> None:
        super().__init__()
        self.graph = graph
        last_use = {name: op.name for op in graph.ops for name in op.inputs}
        self._steps: list[tuple[nn.Module, tuple[str, ...], str, tuple[str, ...]]] = []
        for op in graph.ops:
            module = _module(op, bn_momentum)
            *path, leaf = op.name.split(".")
            parent: nn.Module = self
            for part in path:
                if part not in parent._modules:
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(leaf, module)
            done_with = tuple(name for name in set(op.inputs) if last_use[name] == op.name)
            self._steps.append((module, op.inputs, op.name, done_with))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        values = {INPUT: x}
        for module, inputs, output, done_with in self._steps:
            values[output] = module(*[values[name] for name in inputs])
            for name in done_with:
                del values[name]
        return values[output]


def build_module(graph: Graph, seed: int, bn_momentum: float = BN_MOMENTUM) -> GraphModule:
    """A freshly initialised module of `graph`, a function of `seed` alone (torch's global generator is left as it was).

    Convolutions: normal, variance 2 / fan_out (tensorflow/tpu `mnasnet_model.py: conv_kernel_initializer`); classifier:
    normal, standard deviation 0.01 (torchvision's mobile networks; MnasNet's own 1/sqrt(classes) drowns the first epochs
    of a data set with few classes); biases 0; BN 1 and 0, but gamma 0 at the linear end of a skipped branch, so that a
    deep network starts as a shallow one (arXiv 1706.02677, section 5.1): short trainings rank better for it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):  # allocates nothing and draws nothing
        module = GraphModule(graph, bn_momentum)
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, nn.Conv2d):
            fan_out = part.kernel_size[0] * part.kernel_size[1] * part.out_channels // part.groups
            nn.init.normal_(part.weight, std=math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01, generator=generator)
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    skipped = {op.inputs[0] for op in graph.ops if isinstance(op, Add)}
    for op in graph.ops:
        # Linear ends only: a ReLU passes no gradient on at 0, so gamma 0 before it would be for ever.
        if op.name in skipped and isinstance(op, Conv) and op.activation == "none":
            nn.init.zeros_(module.get_parameter(f"{op.name}.norm.weight"))
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 3 to 4 times faster on CPUs
    return module


def folded_weights(module: GraphModule) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Operation name -> (weight, bias) in float32 with BN folded into the convolution, as inference uses them.

    Folding is done in float64, so that the deployed network differs from the module by rounding only.
    """
    folded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for op in module.graph.ops:
        part = module.get_submodule(op.name)
        if isinstance(part, _Conv):
            weight = part.conv.weight.detach().double()
            bias = part.conv.bias.detach().double() if part.conv.bias is not None else torch.zeros(len(weight)).double()
            if isinstance(op, Conv) and op.norm:
                norm = part.norm
                assert norm.running_mean is not None
                assert norm.running_var is not None
                scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
                bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * scale
                weight = weight * scale[:, None, None, None]
        elif isinstance(part, _Linear):
            weight, bias = part.linear.weight.detach().double(), part.linear.bias.detach().double()
        else:
            continue
        folded[op.name] = (weight.float().contiguous().cpu().numpy(), bias.float().cpu().numpy())
    return folded
