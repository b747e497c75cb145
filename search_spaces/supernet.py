"""A supernet: every candidate of a space as an interpretation of its graph over weights that all of them share.

Operations of one name (block, layer, part) share one kernel as large as the largest candidate needs; a candidate takes the
first channels of it (slimmable networks, arXiv 1812.08928; TuNAS's channel masks without the masked work). What is shared
besides is the `Sharing`. Batch normalisation always uses the statistics of the batch, for a candidate has none of its own
(arXiv 2008.06120, section 3.2); there is no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.arch import ArchSpec
from search_spaces.block import BlockSpec
from search_spaces.choice import Choices, Option
from search_spaces.convolution import convolve
from search_spaces.count import count
from search_spaces.graph import Conv, Graph, Linear, Op
from search_spaces.lower import lower
from search_spaces.sharing import Sharing, sharing_label
from search_spaces.space import SearchSpace
from search_spaces.torch_module import ACTIVATIONS, ConvModule, LinearModule, Program, nest, op_module, program

_NUM_UNEVENTFUL = 400  # candidates without a new operation, one after the other, until no more are expected


@dataclass(frozen=True, slots=True)
class Path:
    """One candidate in a supernet.

    Attributes:
        graph: of the candidate alone.
        program: gives its logits, with the supernet's weights and the batch's statistics.
        weights: operation -> the shared module of which it is a part.
    """

    graph: Graph
    program: Program
    weights: dict[str, nn.Module]

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.program.run(images)[0]

    def state(self) -> dict[str, Tensor]:
        """Weights of the candidate alone, as `GraphModule.state_dict` names them; BN statistics are not among them."""
        state: dict[str, Tensor] = {}
        for op in self.graph.ops:
            match op:
                case Conv():
                    module = self.weights[op.name]
                    assert isinstance(module, ConvModule)
                    state |= {f"{op.name}.{name}": tensor for name, tensor in _conv_tensors(op, module).items()}
                case Linear():
                    module = self.weights[op.name]
                    assert isinstance(module, LinearModule)
                    state |= {f"{op.name}.{name}": tensor for name, tensor in _linear_tensors(op, module).items()}
        return {name: tensor.detach().clone() for name, tensor in state.items()}


class Supernet(nn.Module):
    """The shared weights of a space, freshly initialised from a seed.

    Args:
        space: whose candidates.
        resolution: at which graphs are made; weights do not depend on it.
        num_classes: outputs of every candidate.
        sharing: what candidates have in common beside names and channels.
        seed: of the initial weights; torch's global generator is left as it was.

    Raises:
        ValueError: candidates have grouped convolutions other than depthwise ones, or several BN epsilons.
    """

    def __init__(
        self, space: SearchSpace, resolution: int, num_classes: int, sharing: Sharing = "sliced", seed: int = 0
    ) -> None:
        super().__init__()
        self.space = space
        self.sharing = sharing
        self._resolution = resolution
        self._num_classes = num_classes
        self._largest = self._largest_ops()
        with torch.device("meta"):
            for name, op in self._largest.items():
                nest(self, name, op_module(op))
        self.to_empty(device="cpu")
        _initialise(self, torch.Generator().manual_seed(seed))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 3 to 4 times faster on CPUs

    def path(self, choices: Choices) -> Path:
        """The candidate of `choices`.

        Raises:
            ValueError: `choices` are not of the space.
        """
        self.space.check(choices)
        graph = self._graph(self.space.to_arch(choices))
        run: dict[str, Callable[..., Tensor]] = {}
        weights: dict[str, nn.Module] = {}
        for op, name in self._named(choices, graph):
            if name is None:
                run[op.name] = _without_weights(op)
                continue
            weights[op.name] = module = self.get_submodule(name)
            run[op.name] = partial(_weighted, op, module)
        return Path(graph, program(graph, run, (graph.ops[-1].name,)), weights)

    def _graph(self, arch: ArchSpec) -> Graph:
        return lower(arch, self._resolution, self._num_classes)

    def _named(self, choices: Choices, graph: Graph) -> Iterator[tuple[Op, str | None]]:
        """Operations of a candidate, each with the name of its shared weights, if it has weights."""
        arch, slots = self.space.to_arch(choices), self.space.slots(choices)
        labels = {
            f"b{number}.l{place}": f"{slot}.l{place}.{sharing_label(layer, self.sharing)}"
            for number, (slot, block) in enumerate(zip(slots, arch.blocks, strict=True), start=1)
            if isinstance(block, BlockSpec)
            for place, layer in enumerate(block.layers(), start=1)
        }
        for op in graph.ops:
            if not isinstance(op, Conv | Linear):
                yield op, None
                continue
            block_layer, _, part = op.name.partition(".")
            layer, _, part = part.partition(".")
            name = f"{labels[f'{block_layer}.{layer}']}.{part}" if f"{block_layer}.{layer}" in labels else op.name
            if isinstance(op, Conv) and op.kernel != (1, 1) and self.sharing != "nested":
                name = f"{name}.window{op.kernel[0]}x{op.kernel[1]}"
            yield op, name

    def _largest_ops(self) -> dict[str, Conv | Linear]:
        """Name of shared weights -> an operation with the most channels that any candidate needs there."""
        ops: dict[str, Conv | Linear] = {}

        def look_at(choices: Choices) -> bool:
            """Take the operations of a candidate in; whether there was a new one."""
            num_known = len(ops)
            for op, name in self._named(choices, self._graph(self.space.to_arch(choices))):
                if name is not None:
                    assert isinstance(op, Conv | Linear)
                    ops[name] = _joined(ops[name], op) if name in ops else op
            return len(ops) > num_known

        # Widths grow with the options that they depend on: the largest candidate, and those that differ from it in one
        # decision, need the widest of everything. What they lack are combinations of kinds, which the others meet.
        largest = self._largest_candidate()
        for choices in (largest, *self.space.neighbours(largest)):
            look_at(choices)
        rng, uneventful = np.random.default_rng(0), 0
        while uneventful < _NUM_UNEVENTFUL:
            drawn, kept = self.space.sample(rng), rng.random(len(largest)) < rng.random()
            mixed = {name: largest[name] if keep else drawn[name] for name, keep in zip(largest, kept, strict=True)}
            uneventful = 0 if look_at(mixed) else uneventful + 1
        return ops

    def _largest_candidate(self) -> dict[str, Option]:
        """With the most parameters, one decision after the other."""
        largest = {choice.name: choice.options[0] for choice in self.space.choices}
        for choice in (*self.space.choices, *self.space.choices):
            candidates = ({**largest, choice.name: option} for option in choice.options)
            largest = max(candidates, key=lambda choices: count(self._graph(self.space.to_arch(choices))).params)
        return largest


def _joined(one: Conv | Linear, other: Conv | Linear) -> Conv | Linear:
    """As many channels as either needs."""
    if isinstance(one, Linear) or isinstance(other, Linear):
        assert isinstance(one, Linear)
        assert isinstance(other, Linear)
        return replace(one, in_features=max(one.in_features, other.in_features))
    if one.norm != other.norm or one.bias != other.bias or _is_depthwise(one) != _is_depthwise(other):
        raise ValueError(f"{one.name}: candidates of one space differ in more than widths there: {one}, {other}")
    channels = max(one.shape[0], other.shape[0])
    taken = max(one.in_channels, other.in_channels)
    groups = taken if _is_depthwise(one) else 1
    kernel = max(one.kernel[0], other.kernel[0]), max(one.kernel[1], other.kernel[1])
    return replace(one, shape=(channels, *one.shape[1:]), in_channels=taken, groups=groups, kernel=kernel)


def _is_depthwise(op: Conv) -> bool:
    if op.groups not in (1, op.in_channels):
        raise ValueError(f"{op.name}: a supernet has no weights for a convolution in {op.groups} groups")
    return op.groups > 1


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """As `build_module`, but gamma 1 everywhere: other candidates may not skip the same branch."""
    for part in module.modules():
        match part:
            case nn.Conv2d():
                fan = part.kernel_size[0] * part.kernel_size[1] * part.out_channels // part.groups
                nn.init.normal_(part.weight, std=math.sqrt(2.0 / fan), generator=generator)
            case nn.Linear():
                nn.init.normal_(part.weight, std=0.01, generator=generator)
            case nn.BatchNorm2d():
                part.reset_parameters()
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def _conv_tensors(op: Conv, module: ConvModule) -> dict[str, Tensor]:
    """The part of shared weights that `op` takes: the first channels, the middle of the window."""
    channels, taken = op.shape[0], op.in_channels // op.groups
    rows, columns = (_middle(large, small) for large, small in zip(module.conv.kernel_size, op.kernel, strict=True))
    tensors = {"conv.weight": module.conv.weight[:channels, :taken, rows, columns]}
    if module.conv.bias is not None:
        tensors["conv.bias"] = module.conv.bias[:channels]
    if op.norm:
        tensors |= {"norm.weight": module.norm.weight[:channels], "norm.bias": module.norm.bias[:channels]}
    return tensors


def _middle(large: int, small: int) -> slice:
    start = (large - small) // 2
    return slice(start, start + small)


def _linear_tensors(op: Linear, module: LinearModule) -> dict[str, Tensor]:
    return {"linear.weight": module.linear.weight[:, : op.in_features], "linear.bias": module.linear.bias}


def _weighted(op: Op, module: nn.Module, x: Tensor) -> Tensor:
    match op, module:
        case Conv(), ConvModule():
            return _conv(op, module, x)
        case Linear(), LinearModule():
            return _linear(op, module, x)
    raise TypeError(f"operation {op} has no weights")


def _conv(op: Conv, module: ConvModule, x: Tensor) -> Tensor:
    tensors = _conv_tensors(op, module)
    padding = (op.kernel[0] // 2, op.kernel[1] // 2) if op.padding == "same" else (0, 0)
    y = convolve(x, tensors["conv.weight"], tensors.get("conv.bias"), (op.stride, op.stride), padding, op.groups)
    if op.norm:
        y = F.batch_norm(y, None, None, tensors["norm.weight"], tensors["norm.bias"], True, eps=op.norm.epsilon)
    activated: Tensor = _activation(op.activation)(y)
    return activated


def _linear(op: Linear, module: LinearModule, x: Tensor) -> Tensor:
    tensors = _linear_tensors(op, module)
    y = F.linear(x.flatten(1), tensors["linear.weight"], tensors["linear.bias"])
    activated: Tensor = _activation(op.activation)(y)
    return activated


@cache
def _activation(name: str) -> nn.Module:
    return ACTIVATIONS[name]()  # type: ignore[index]


@lru_cache(maxsize=4096)
def _without_weights(op: Op) -> nn.Module:
    return op_module(op)
