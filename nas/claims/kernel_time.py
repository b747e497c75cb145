"""Where the time of networks goes, under profiling: shares, not latencies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from nas.claims.claim import Verdict
from nas.claims.figures import percent
from nas.claims.lab import Lab, Subject
from search_spaces.count import op_macs
from search_spaces.graph import Conv, Graph

if TYPE_CHECKING:
    from latency.kernel_profile import Kernel


def op_times_us(kernels: Iterable[Kernel]) -> dict[str, float]:
    """Name of an operation -> time of its kernels, changes of layout included; the empty name stands for none."""
    times_us: dict[str, float] = defaultdict(float)
    for kernel in kernels:
        times_us[(kernel.origin or "").partition("/")[0]] += kernel.median_us
    return dict(times_us)


def time_share(part: str, times_us: Mapping[str, float]) -> float:
    """Share of the operations whose name holds `part`, in [0, 1]."""
    return sum(time for name, time in times_us.items() if part in name) / sum(times_us.values())


def pace(lab: Lab, subject: Subject | Graph) -> str:
    """How many MACs a network does in a nanosecond, and the shares of what does few for the memory that it moves."""
    graph = subject if isinstance(subject, Graph) else lab.graph(subject)
    times_us = op_times_us(lab.kernels(subject))
    total_us = sum(times_us.values())
    depthwise = [op.name for op in graph.ops if isinstance(op, Conv) and op.groups > 1]
    shares = {
        "depthwise": sum(times_us.get(name, 0.0) for name in depthwise) / total_us,
        "SE": time_share(".se.", times_us),
    }
    told = ", ".join(f"{kind} {percent(share, 0)}" for kind, share in shares.items() if share > 0)
    return f"{sum(map(op_macs, graph.ops)) / 1000 / total_us:.1f}{f' ({told} of its time)' if told else ''}"


def unless_it_holds(verdict: Verdict, lab: Lab, networks: Mapping[str, Subject | Graph]) -> str:
    """The pace of each network as the reason of `verdict`; nothing if the claim holds.

    Args:
        verdict: on their ratios.
        lab: profiles them.
        networks: what to call them -> they.
    """
    if verdict == "holds":
        return ""
    paces = ", ".join(f"{name} {pace(lab, network)}" for name, network in networks.items())
    return f"Times do not go as MACs. MACs per nanosecond under profiling: {paces}."
