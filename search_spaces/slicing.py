"""A narrower network that inherits the wider one's weights: the same channels of every tied tensor are kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from search_spaces.graph import Conv, Graph, Linear, Scale
from search_spaces.naming import parts, skeleton
from search_spaces.width_groups import Channels, Ids, WidthGroup, width_groups

State = Mapping[str, Tensor]
"""As `GraphModule.state_dict`."""

_PER_CHANNEL = ("conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "linear.bias")


def filter_norms(graph: Graph, channels: Channels, state: State) -> dict[str, Tensor]:
    """Name of a group -> importance of its channels, shape (width,).

    It is the L2 norm of a channel's filter (arXiv 1804.03230, section 3.3), summed over all members of the group that make
    its values; a gate only scales them.
    """
    gates = {op.inputs[1] for op in graph.ops if isinstance(op, Scale)}
    weights = {
        op.name: state[f"{op.name}.{'conv' if isinstance(op, Conv) else 'linear'}.weight"].detach().double()
        for op in graph.ops
        if isinstance(op, Conv | Linear)
    }
    norms: dict[str, Tensor] = {}
    for group in channels.groups:
        makers = [name for name in group.members if name not in gates]
        filters = [weights[name][_rows(channels.of[name], group)].flatten(1) for name in makers]
        norms[group.name] = torch.stack([part.norm(dim=1) for part in filters]).sum(0)
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
    keeps = _mask(width_groups(wide), kept)
    sliced: dict[str, Tensor] = {}
    for part, narrower in zip(parts(wide), parts(narrow), strict=True):
        op, target = part.op, narrower.op
        rows = torch.from_numpy(np.flatnonzero(keeps[op.name]))
        if len(rows) != target.shape[0]:
            raise ValueError(f"{op.name}: {len(rows)} channels are kept, {target.name} has {target.shape[0]}")
        kind = "conv" if isinstance(op, Conv) else "linear"
        weight = state[f"{op.name}.{kind}.weight"]
        of_input = keeps[op.inputs[0]]
        if isinstance(op, Linear):
            of_input = np.repeat(of_input, op.in_features // len(of_input))  # flattened, a channel's positions together
        weight = weight[rows.to(weight.device)]
        if isinstance(op, Linear) or op.groups == 1:
            weight = weight[:, torch.from_numpy(np.flatnonzero(of_input)).to(weight.device)]
        sliced[f"{target.name}.{kind}.weight"] = weight.contiguous()
        for leaf in _PER_CHANNEL:
            if (vector := state.get(f"{op.name}.{leaf}")) is not None:
                sliced[f"{target.name}.{leaf}"] = vector[rows.to(vector.device)]
        if (tracked := state.get(f"{op.name}.norm.num_batches_tracked")) is not None:
            sliced[f"{target.name}.norm.num_batches_tracked"] = tracked.clone()
    return sliced


def check_narrower(wide: Graph, narrow: Graph) -> None:
    """Raise ValueError unless `narrow` has the operations of `wide`, none of them wider."""
    if skeleton(wide) != skeleton(narrow) or len(parts(wide)) != len(parts(narrow)):
        raise ValueError("the narrower network has other operations than the wider one")
    for part, narrower in zip(parts(wide), parts(narrow), strict=True):
        if narrower.op.shape[0] > part.op.shape[0]:
            raise ValueError(f"{part.op.name}: {part.op.shape[0]} channels become {narrower.op.shape[0]}")


def _rows(of: Ids, group: WidthGroup) -> Tensor:
    """Where the channels of `group` stand in a tensor."""
    return torch.from_numpy(np.flatnonzero(np.isin(of, group.channels)))


def _mask(channels: Channels, kept: Mapping[str, Ids]) -> dict[str, np.ndarray]:
    """Name of a tensor -> whether each of its channels is kept."""
    keeps = np.ones(1 + max(int(ids.max()) for ids in channels.of.values()), dtype=bool)
    for group in channels.groups:
        if group.name in kept:
            keeps[list(group.channels)] = False
            keeps[np.array(group.channels)[kept[group.name]]] = True
    return {name: keeps[ids] for name, ids in channels.of.items()}
