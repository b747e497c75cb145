"""A picture of a network for notebooks."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from nas.graph_drawing import dot
from nas.network import resolve
from search_spaces.lower import lower

_NUM_CLASSES = 1000
_OPS_A_COLUMN = 16
"""Half of what a page takes: screens are wide."""


@dataclass(frozen=True, slots=True)
class NetworkPicture:
    """A network that a notebook draws, by Graphviz; where its program is missing, the blocks as text.

    Attributes:
        title: stands above it.
        arch: the network's string.
        source: the drawing in Graphviz's language.
    """

    title: str
    arch: str
    source: str

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {block}" for block in self.arch.split())])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What notebooks show: they take the best that they can draw."""
        bundle = {"text/plain": str(self)}
        if shutil.which("dot"):
            drawn = subprocess.run(["dot", "-Tsvg"], input=self.source, capture_output=True, text=True, check=True)
            bundle["image/svg+xml"] = drawn.stdout
        return bundle


def draw(arch: str, title: str | None = None, *, num_classes: int = _NUM_CLASSES) -> NetworkPicture:
    """A picture of a network.

    Args:
        arch: an architecture string, a name of the zoo with width and resolution, or a JSON file.
        title: stands above it; by default its name.
        num_classes: outputs of its classifier.

    Raises:
        UserError: `arch` names no network.
    """
    network = resolve(arch)
    title = network.name if title is None else title
    graph = lower(network.arch, network.resolution, num_classes)
    num_columns = -(-len(graph.ops) // _OPS_A_COLUMN)
    return NetworkPicture(title, str(network.arch), dot(graph, title, num_columns))
