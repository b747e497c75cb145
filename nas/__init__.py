"""The composition root: the only package that knows all the others.

What notebooks and scripts import from here is read when it is first asked for, so that the command line starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.errors import UserError
    from nas.latency_frames import LatencyFrames, load_latency_table
    from nas.loaded_run import load_run
    from nas.netadapt.adapt_frames import AdaptFrames
    from nas.network_picture import NetworkPicture, draw
    from nas.pareto_frames import hypervolume, pareto_front
    from nas.reproduction.reproduce_frames import ReproduceFrames
    from nas.search_frames import SearchFrames

__version__ = "0.1.0"

__all__ = [
    "AdaptFrames",
    "LatencyFrames",
    "NetworkPicture",
    "ReproduceFrames",
    "SearchFrames",
    "UserError",
    "draw",
    "hypervolume",
    "load_latency_table",
    "load_run",
    "pareto_front",
]

_HOMES = {
    "AdaptFrames": "nas.netadapt.adapt_frames",
    "LatencyFrames": "nas.latency_frames",
    "NetworkPicture": "nas.network_picture",
    "ReproduceFrames": "nas.reproduction.reproduce_frames",
    "SearchFrames": "nas.search_frames",
    "UserError": "nas.errors",
    "draw": "nas.network_picture",
    "hypervolume": "nas.pareto_frames",
    "load_latency_table": "nas.latency_frames",
    "load_run": "nas.loaded_run",
    "pareto_front": "nas.pareto_frames",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
