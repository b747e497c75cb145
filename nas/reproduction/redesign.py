"""The edits by which MobileNetV3's authors went from the network that was found to the one that they published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.arch import ArchSpec, BlockSpec
from search_spaces.edits import (
    Edit,
    with_activation,
    with_efficient_last_stage,
    with_squeeze_rule,
    with_stem_channels,
)

STEM_CHANNELS = 16
SQUEEZE_RATIO = 0.25
HSWISH_STRIDE = 16
"""h-swish from the first block at a sixteenth of the input's resolution on: 80 channels in MobileNetV3-Large, 40 in Small
(arXiv 1905.02244, tables 1 and 2)."""


def hswish_in_the_second_half(arch: ArchSpec) -> ArchSpec:
    """h-swish in stem, head and from `HSWISH_STRIDE` on (arXiv 1905.02244, section 5.2).

    Raises:
        ValueError: no block is at that stride.
    """
    stride = arch.stem.stride
    for block in arch.blocks:
        if isinstance(block, BlockSpec):
            stride *= block.stride
            if stride >= HSWISH_STRIDE:
                return with_activation(arch, "hswish", block.out_channels)
    raise ValueError(f"no block is at a stride of {HSWISH_STRIDE}")


EDITS: dict[str, Edit] = {
    "last_stage": with_efficient_last_stage,
    "stem": lambda arch: with_stem_channels(arch, STEM_CHANNELS),
    "hswish": hswish_in_the_second_half,
    "squeeze": lambda arch: with_squeeze_rule(arch, SQUEEZE_RATIO, "expansion"),
}
"""Name in recipes -> edit; figures 5 and sections 5.1 to 5.3 of arXiv 1905.02244."""


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit makes of a network.

    Attributes:
        arch: the network; None where the edit does not fit it, or leaves it as it is.
        reason: why not.
    """

    arch: ArchSpec | None
    reason: str | None = None


def edited(arch: ArchSpec, name: str) -> Edited:
    """`arch` after the edit called `name`."""
    try:
        found = EDITS[name](arch)
    except ValueError as error:
        return Edited(None, str(error))
    return Edited(None, "changes nothing") if found == arch else Edited(found)


def all_edits(arch: ArchSpec, names: Sequence[str]) -> ArchSpec:
    """`arch` after those of the edits that fit it, in order."""
    for name in names:
        arch = edited(arch, name).arch or arch
    return arch
