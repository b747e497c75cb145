"""The average of a network's weights over its training."""

from __future__ import annotations

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of a module's floating-point state, BN statistics included.

    Args:
        module: whose state.
        decay: weight of the old average, in (0, 1).

    Attributes:
        tensors: the average so far.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._state = [t for t in module.state_dict(keep_vars=True).values() if t.is_floating_point()]
        self.tensors = [t.detach().clone() for t in self._state]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights in; young averages forget faster, so that the start is not kept."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self.tensors, [t.detach() for t in self._state], 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the module."""
        torch._foreach_copy_([t.detach() for t in self._state], self.tensors)

    def restore(self, tensors: list[torch.Tensor], num_updates: int) -> None:
        """Go on from an earlier average after `num_updates` updates."""
        self._updates = num_updates
        torch._foreach_copy_(self.tensors, tensors)
