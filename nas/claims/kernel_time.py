"""Where the time of a network goes, under profiling: shares, not latencies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

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
