"""The torch interpreter: a graph becomes a trainable module whose parameters bear the operations' names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.arch import Activation
from search_spaces.convolution import convolve
from search_spaces.graph import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalPool,
    Graph,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Op,
    Scale,
)

BN_MOMENTUM = 0.1  # torch's sense: weight of the newest batch. The papers' 0.01 needs thousands of steps to warm up.

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "swish": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "hsigmoid": nn.Hardsigmoid,
}


class _Conv2d(nn.Conv2d):
    """`nn.Conv2d` by `convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.padding, tuple)
        return convolve(x, self.weight, self.bias, self.stride, self.padding, self.groups)


class ConvModule(nn.Sequential):
    """Convolution, BN, activation."""

    def __init__(self, op: Conv, bn_momentum: float) -> None:
        super().__init__()
        padding = (op.kernel[0] // 2, op.kernel[1] // 2) if op.padding == "same" else 0
        self.conv = _Conv2d(op.in_channels, op.shape[0], op.kernel, op.stride, padding, groups=op.groups, bias=op.bias)
        if op.norm:
            self.norm = nn.BatchNorm2d(op.shape[0], op.norm.epsilon, bn_momentum)
        if op.activation != "none":
            self.act = ACTIVATIONS[op.activation]()


class _GlobalPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class _Scale(nn.Module):
    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate


class _Add(nn.Module):
    def __init__(self, op: Add) -> None:
        super().__init__()
        self.act = ACTIVATIONS[op.activation]()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        out: Tensor = self.act(x + y)
        return out


class _Concat(nn.Module):
    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, dim=1)


class LinearModule(nn.Sequential):
    """Dropout, fully connected layer, activation."""

    def __init__(self, op: Linear) -> None:
        super().__init__()
        self.dropout = nn.Dropout(op.dropout)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(op.in_features, op.shape[0])
        if op.activation != "none":
            self.act = ACTIVATIONS[op.activation]()


def op_module(op: Op, bn_momentum: float = BN_MOMENTUM) -> nn.Module:
    """One operation as a module of its inputs; its parameters are not initialised by the rules of `build_module`."""
    match op:
        case Conv():
            return ConvModule(op, bn_momentum)
        case AveragePool():
            padding = op.kernel // 2 if op.padding == "same" else 0
            return nn.AvgPool2d(op.kernel, op.stride, padding, op.padding == "ceil", op.counts_padding)
        case MaxPool():
            padding = op.kernel // 2 if op.padding == "same" else 0
            return nn.MaxPool2d(op.kernel, op.stride, padding, ceil_mode=op.padding == "ceil")
        case GlobalPool():
            return _GlobalPool()
        case Scale():
            return _Scale()
        case Add():
            return _Add(op)
        case Concat():
            return _Concat()
        case LocalResponseNorm():
            return nn.LocalResponseNorm(op.size, op.alpha, op.beta)
        case Linear():
            return LinearModule(op)
    raise TypeError(f"no torch module for operation {op}")


class GraphModule(nn.Module):
    """A graph as a module: N x 3 x H x W floats in, N x num_classes logits out.

    Submodules are nested along the operations' names, so that ``state_dict`` has keys like ``b3.l2.expand.conv.weight``.
    The module works at any resolution; the graph's is the one that counts and exports refer to. Auxiliary heads, in a
    graph lowered for training, are run by `outputs` alone.
    """

    def __init__(self, graph: Graph, bn_momentum: float = BN_MOMENTUM) -> None:
        super().__init__()
        self.graph = graph
        modules = {op.name: op_module(op, bn_momentum) for op in graph.ops}
        for name, module in modules.items():
            nest(self, name, module)
        main = (graph.ops[-1].name,)
        every = (*main, *(output.name for output in graph.auxiliary))
        self._main = program(graph, modules, main)
        self._every = program(graph, modules, every) if graph.auxiliary else self._main

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        return self._main.run(x)[0]

    def outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of a batch, then those of the auxiliary heads, in the order of ``graph.auxiliary``."""
        return self._every.run(x)

    @property
    def program(self) -> Program:
        """What is run for the logits."""
        return self._main


def nest(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` below `root` at a dotted name, making the modules on the way."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(leaf, module)


Alive = Mapping[str, Tensor]
"""Tensors between two operations, by the names of those that made them; the images are `INPUT`."""


@dataclass(frozen=True, slots=True)
class _Step:
    run: Callable[..., Tensor]
    inputs: tuple[str, ...]
    output: str
    done_with: tuple[str, ...]  # tensors that nobody needs after it


@dataclass(frozen=True, slots=True)
class Program:
    """What must be run for some outputs, in order."""

    steps: tuple[_Step, ...]
    outputs: tuple[str, ...]

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs for a batch of images."""
        values = self.advance({INPUT: x}, 0, len(self.steps))
        return tuple(values[name] for name in self.outputs)

    def advance(self, alive: Alive, start: int, stop: int) -> Alive:
        """The tensors that are alive before operation `stop`, from those before `start`; positions count from 0."""
        values = dict(alive)
        for step in self.steps[start:stop]:
            values[step.output] = step.run(*[values[name] for name in step.inputs])
            for name in step.done_with:
                del values[name]
        return values

    def alive(self, position: int) -> tuple[str, ...]:
        """Names of the tensors that are alive before the operation at `position`: outputs, and what is still needed."""
        names = {INPUT: None}
        for step in self.steps[:position]:
            names[step.output] = None
            for name in step.done_with:
                del names[name]
        return tuple(names)


def program(graph: Graph, run: Mapping[str, Callable[..., Tensor]], outputs: tuple[str, ...]) -> Program:
    """The operations on which `outputs` depend, each tensor freed after its last use.

    Args:
        graph: of the operations.
        run: operation name -> what makes its output of its inputs.
        outputs: names of operations.
    """
    needed, steps = set(outputs), []
    kept = set(outputs)
    for op in reversed(graph.ops):
        if op.name in needed:
            done_with = tuple(name for name in dict.fromkeys(op.inputs) if name not in kept)
            kept.update(op.inputs)
            needed.update(op.inputs)
            steps.append(_Step(run[op.name], op.inputs, op.name, done_with))
    return Program(tuple(reversed(steps)), outputs)


def build_module(graph: Graph, seed: int, bn_momentum: float = BN_MOMENTUM) -> GraphModule:
    """A freshly initialised module of `graph`, a function of `seed` alone (torch's global generator is left as it was).

    Convolutions: normal, variance 2 / fan_out (tensorflow/tpu `mnasnet_model.py: conv_kernel_initializer`), 2 / fan_in in
    a network without BN, where nothing else keeps activations of one size (arXiv 1502.01852, equation 10); classifier:
    normal, standard deviation 0.01 (torchvision's mobile networks; MnasNet's own 1/sqrt(classes) drowns the first epochs
    of a data set with few classes); biases 0; BN 1 and 0, but gamma 0 at the linear end of a skipped branch, so that a
    deep network starts as a shallow one (arXiv 1706.02677, section 5.1): short trainings rank better for it.
    """
    generator = torch.Generator().manual_seed(seed)
    module = _empty_module(graph, bn_momentum)
    normalised = any(isinstance(op, Conv) and op.norm for op in graph.ops)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, nn.Conv2d):
            channels = part.out_channels if normalised else part.in_channels
            fan = part.kernel_size[0] * part.kernel_size[1] * channels // part.groups
            nn.init.normal_(part.weight, std=math.sqrt(2.0 / fan), generator=generator)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01, generator=generator)
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    skipped = {op.inputs[0] for op in graph.ops if isinstance(op, Add)}
    for op in graph.ops:
        # Linear ends only: a ReLU passes no gradient on at 0, so gamma 0 before it would be for ever.
        if op.name in skipped and isinstance(op, Conv) and op.norm and op.activation == "none":
            nn.init.zeros_(module.get_parameter(f"{op.name}.norm.weight"))
    return _channels_last(module)


def loaded_module(graph: Graph, state: Mapping[str, Tensor]) -> GraphModule:
    """A module of `graph` with copies of the tensors of `state`, in evaluation mode; nothing is drawn for it.

    Raises:
        RuntimeError: the tensors differ from the module's in name or shape.
    """
    module = _empty_module(graph)
    module.load_state_dict(state)
    return _channels_last(module).eval()


def _empty_module(graph: Graph, bn_momentum: float = BN_MOMENTUM) -> GraphModule:
    """A module on the CPU whose tensors hold anything."""
    with torch.device("meta"):  # allocates nothing and draws nothing
        module = GraphModule(graph, bn_momentum)
    return module.to_empty(device="cpu")


def _channels_last(module: GraphModule) -> GraphModule:
    """`module` itself, its tensors laid out as CPUs like them: 3 to 4 times faster."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def folded_weights(module: GraphModule) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Operation name -> (weight, bias) in float32 with BN folded into the convolution, as inference uses them.

    Folding is done in float64, so that the deployed network differs from the module by rounding only.
    """
    folded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for op in module.graph.ops:
        part = module.get_submodule(op.name)
        if isinstance(part, ConvModule):
            weight = part.conv.weight.detach().double()
            bias = part.conv.bias.detach().double() if part.conv.bias is not None else torch.zeros(len(weight)).double()
            if isinstance(op, Conv) and op.norm:
                norm = part.norm
                assert norm.running_mean is not None
                assert norm.running_var is not None
                scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
                bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * scale
                weight = weight * scale[:, None, None, None]
        elif isinstance(part, LinearModule):
            weight, bias = part.linear.weight.detach().double(), part.linear.bias.detach().double()
        else:
            continue
        folded[op.name] = (weight.float().contiguous().cpu().numpy(), bias.float().cpu().numpy())
    return folded
