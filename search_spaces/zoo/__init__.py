"""Published networks by name. Each module of this package but `network` holds a family: its `NETWORKS` are found here."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from search_spaces.arch import ArchSpec
from search_spaces.zoo.network import Network, Published, PublishedTraining

__all__ = ["ZOO", "Network", "Published", "PublishedTraining", "Variant", "find", "get"]


def _networks() -> dict[str, Network]:
    found: dict[str, Network] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        family = importlib.import_module(f"{__name__}.{module}")
        found.update(getattr(family, "NETWORKS", {}))
    return found


ZOO: Mapping[str, Network] = MappingProxyType(_networks())
"""Name -> network."""

_NAME = re.compile(r"(?P<name>\w+)(?:@(?P<alpha>\d+(?:\.\d+)?))?(?:/(?P<resolution>[1-9]\d*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variant:
    """A network of the zoo at a width and a resolution.

    Attributes:
        name: as `find` reads it, in its shortest form.
        arch: at that width.
        resolution: side of its input in pixels.
        network: the entry that it is a variant of.
    """

    name: str
    arch: ArchSpec
    resolution: int
    network: Network

    @property
    def published(self) -> Published | None:
        """Printed figures of exactly this variant."""
        suffix = self.name[re.match(r"\w+", self.name).end() :]  # type: ignore[union-attr]
        return self.network.published.get(suffix)


def find(text: str) -> Variant | None:
    """The variant ``NAME[@ALPHA][/RESOLUTION]``, such as ``mobilenet_v1@0.5/160``; None where NAME is not in the zoo.

    Raises:
        ValueError: the network has no width multiplier, or the multiplier is out of range.
    """
    match = _NAME.fullmatch(text)
    if match is None or match["name"] not in ZOO:
        return None
    name, network = match["name"], ZOO[match["name"]]
    alpha, resolution = float(match["alpha"] or 1), int(match["resolution"] or network.resolution)
    short = (
        name + (f"@{alpha:g}" if alpha != 1 else "") + (f"/{resolution}" if resolution != network.resolution else "")
    )
    return Variant(short, _scaled(name, network, alpha), resolution, network)


def _scaled(name: str, network: Network, alpha: float) -> ArchSpec:
    if alpha == 1:
        return network.arch
    if network.scale is None:
        having = ", ".join(other for other, entry in ZOO.items() if entry.scale)
        raise ValueError(f"{name} has no width multiplier; those with one: {having}")
    if not 0.05 <= alpha <= 4:
        raise ValueError(f"width multiplier {alpha:g}: must lie in 0.05 to 4")
    return network.scale(alpha)


def get(name: str) -> ArchSpec:
    """The architecture of the network or variant called `name`.

    Raises:
        ValueError: no such network; the message lists those there are.
    """
    variant = find(name)
    if variant is None:
        raise ValueError(f"no network named {name!r}; known: {', '.join(ZOO)}")
    return variant.arch
