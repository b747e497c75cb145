"""A narrower network that inherits the wider one's weights: the same channels of every tied tensor are kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.graph import Conv, Graph, Linear, Scale
from search_spaces.naming import parts, skeleton
from search_spaces.width_groups import Channels, Ids, WidthGroup, width_groups

State = Mapping[str, Tensor]
"""As `GraphModule.state_dict`."""

Kept = NDArray[np.bool_]
"""Whether each channel of a tensor is kept."""


def filter_norms(graph: Graph, channels: Channels, state: State) -> dict[str, Tensor]:
    """Name of a group -> importance of its channels, shape (width,).

    It is the L2 norm of a channel's filter (arXiv 1804.03230, section 3.3), summed over all members of the group that make
    its values; a gate only scales them.
    """
    gates = {op.inputs[1] for op in graph.ops if isinstance(op, Scale)}
    norms = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in channels.groups}
    for op in graph.ops:
        if not isinstance(op, Conv | Linear) or op.name in gates:
            continue
        weight = state[f"{op.name}.{'conv' if isinstance(op, Conv) else 'linear'}.weight"]
        filters = weight.detach().cpu().double().flatten(1).norm(dim=1)
        for group in channels.groups:
            if op.name in group.members:
                rows, places = _places(channels.of[op.name], group)
                norms[group.name].index_add_(0, places, filters[rows])
    return norms


def strongest(norms: Tensor, width: int) -> Ids:
    """Positions of the `width` largest of `norms`, ascending; of equal ones the first."""
    order = torch.argsort(norms, descending=True, stable=True)[:width]
    return np.sort(order.cpu().numpy())


def kept_channels(wide: Graph, state: State, narrow: Graph) -> dict[str, Ids]:
    """Name of a group of `wide` -> positions in it of the channels that `narrow` keeps, the strongest ones.

    Raises:
        ValueError: `narrow` is not `wide` with narrower widths.
    """
    check_narrower(wide, narrow)
    channels = width_groups(wide)
    norms = filter_norms(wide, channels, state)
    pairs = zip(channels.groups, width_groups(narrow).groups, strict=True)
    return {group.name: strongest(norms[group.name], narrower.width) for group, narrower in pairs}


def sliced_state(wide: Graph, state: State, narrow: Graph, kept: Mapping[str, Ids]) -> dict[str, Tensor]:
    """The state of `narrow`'s module, cut from that of `wide`'s.

    Where the channels that are cut off are zero in `wide`, both compute the same. Statistics of batch normalisation are
    cut as well: of the rest they stay true only as far as the lost channels did not matter, so that they want recalibration.

    Args:
        wide: the wider network, lowered like `narrow` (auxiliary heads in both or in neither).
        state: of its module.
        narrow: the same operations, each with as many channels as are kept; their names may number blocks in another way.
        kept: name of a group of `wide` -> positions of its channels, ascending; groups that are left out keep all.

    Raises:
        ValueError: `narrow` has other operations, or other widths than what is kept makes.
    """
    check_narrower(wide, narrow)
    keeps = _keeps(width_groups(wide), kept)
    sliced: dict[str, Tensor] = {}
    for part, narrower in zip(parts(wide), parts(narrow), strict=True):
        op, target = part.op, narrower.op
        if (num := int(keeps[op.name].sum())) != target.shape[0]:
            raise ValueError(f"{op.name}: {num} channels are kept, {target.name} has {target.shape[0]}")
        for leaf in _leaves(op):
            sliced[f"{target.name}.{leaf}"] = _cut(op, state[f"{op.name}.{leaf}"], keeps[op.name], keeps[op.inputs[0]])
    return sliced


def _leaves(op: Conv | Linear) -> list[str]:
    """What follows the name of `op` in the keys of its tensors."""
    if isinstance(op, Linear):
        return ["linear.weight", "linear.bias"]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return ["conv.weight", *(["conv.bias"] if op.bias else []), *(f"norm.{leaf}" for leaf in norm if op.norm)]


def _cut(op: Conv | Linear, tensor: Tensor, outputs: Kept, inputs: Kept) -> Tensor:
    """What is kept of one of the tensors of `op`: rows are its output channels, columns its input channels."""
    if tensor.ndim == 0:
        return tensor.clone()
    cut = tensor[_positions(outputs, tensor)]
    if tensor.ndim == 1 or (isinstance(op, Conv) and op.groups > 1):
        return cut
    positions = tensor.shape[1] // len(inputs)  # of a flattened map, those of a channel together
    return cut[:, _positions(np.repeat(inputs, positions), tensor)].contiguous()


def _positions(kept: Kept, like: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(kept)).to(like.device)


def check_narrower(wide: Graph, narrow: Graph) -> None:
    """Raise ValueError unless `narrow` has the operations of `wide`, none of them wider."""
    if skeleton(wide) != skeleton(narrow) or len(parts(wide)) != len(parts(narrow)):
        raise ValueError("the narrower network has other operations than the wider one")
    for part, narrower in zip(parts(wide), parts(narrow), strict=True):
        if narrower.op.shape[0] > part.op.shape[0]:
            raise ValueError(f"{part.op.name}: {part.op.shape[0]} channels become {narrower.op.shape[0]}")


def _places(of: Ids, group: WidthGroup) -> tuple[Tensor, Tensor]:
    """Positions of channels of `group` in a tensor, and for each the position in the group."""
    rows = np.flatnonzero(np.isin(of, group.channels))
    place = {channel: position for position, channel in enumerate(group.channels)}
    return torch.from_numpy(rows), torch.tensor([place[channel] for channel in of[rows].tolist()])


def _keeps(channels: Channels, kept: Mapping[str, Ids]) -> dict[str, Kept]:
    """Name of a tensor -> whether each of its channels is kept."""
    keeps = np.ones(1 + max(int(ids.max()) for ids in channels.of.values()), dtype=bool)
    for group in channels.groups:
        if group.name in kept:
            own = np.array(group.channels)
            keeps[own] = np.isin(np.arange(group.width), kept[group.name])
    return {name: keeps[ids] for name, ids in channels.of.items()}
