"""Gradients recorded once as a CUDA graph: small networks keep a GPU waiting for Python, a replay is one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.distillation import Distillation
from nas.gradients import Gradients, LossGradients, mixed_precision, training_loss
from search_spaces.torch_module import GraphModule

NUM_EAGER = 3
"""Steps on a side stream before a recording, so that what libraries choose or allocate once is chosen and allocated."""


@dataclass(frozen=True, slots=True)
class _Recording:
    """A recorded step: the tensors that it reads, those that it writes."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    labels: Tensor
    loss: Tensor
    gradients: list[Tensor | None]


class CapturedGradients:
    """As `LossGradients` without a teacher, on a CUDA device; batches of each size are recorded once.

    Replays do what was recorded: the running statistics of BN move, dropout draws anew (torch advances its generator).
    A recording keeps its activations' memory; after one that found too little, steps are taken without.

    Args:
        module: on the device whose gradients are wanted.
        label_smoothing: in [0, 1).
    """

    def __init__(self, module: GraphModule, label_smoothing: float = 0.0) -> None:
        self._module = module
        self._label_smoothing = label_smoothing
        self._parameters = list(module.parameters())
        self._recordings: dict[torch.Size, _Recording] = {}
        self._short_of_memory = False

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """As `Gradients`; draws nothing from `generator`."""
        if self._short_of_memory:
            return self._step(images, labels)
        there = [None if parameter.grad is None else parameter.grad.clone() for parameter in self._parameters]
        recording = self._recordings.get(images.shape)
        if recording is None:
            try:
                recording = self._recordings[images.shape] = self._recorded(images, labels)
            except torch.OutOfMemoryError:
                self._short_of_memory = True
                self._recordings.clear()
                raise
        recording.images.copy_(images)
        recording.labels.copy_(labels)
        recording.graph.replay()
        for parameter, gradient, earlier in zip(self._parameters, recording.gradients, there, strict=True):
            parameter.grad = gradient if gradient is None or earlier is None else gradient + earlier
        return recording.loss.clone()

    def _recorded(self, images: Tensor, labels: Tensor) -> _Recording:
        images, labels = images.clone(memory_format=torch.channels_last), labels.clone()
        before = [buffer.clone() for buffer in self._module.buffers()]
        try:
            self._take_eager_steps(images, labels)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = self._step(images, labels)
            return _Recording(graph, images, labels, loss, [parameter.grad for parameter in self._parameters])
        finally:
            for buffer, value in zip(self._module.buffers(), before, strict=True):
                buffer.copy_(value)

    def _take_eager_steps(self, images: Tensor, labels: Tensor) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.random.fork_rng([torch.cuda.current_device()]):
            for _ in range(NUM_EAGER):
                self._clear()
                self._step(images, labels)
        torch.cuda.current_stream().wait_stream(stream)
        self._clear()

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        with mixed_precision(images.device):
            loss = training_loss(self._module, images, labels, self._label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _clear(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def network_gradients(
    module: GraphModule, device: torch.device, label_smoothing: float = 0.0, distillation: Distillation | None = None
) -> Gradients:
    """Those of one network's loss, in the way that is fastest on `device`."""
    if device.type == "cuda" and distillation is None:
        return CapturedGradients(module, label_smoothing)
    return LossGradients(module, label_smoothing, distillation)
