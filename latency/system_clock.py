"""Clocks and counters of one core: what a block of inferences is timed and judged by."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What the meter reads; a test gives its own."""

    def wall_ns(self) -> int:
        """Nanoseconds of a monotonic clock."""
        ...

    def cpu_ns(self) -> int | None:
        """Nanoseconds that the calling thread has run; None where unknown, or where they tell nothing."""
        ...

    def interruptions(self) -> tuple[int, int]:
        """Involuntary context switches of the calling thread, and ticks stolen from its cores; both count up."""
        ...


class SystemClock:
    """The machine's own clock. Counters that a system lacks stay at 0.

    Args:
        cores: numbers of the cores that the threads are pinned to, or of the only one; None or empty means unpinned, and
            steal counts all cores.
        thread_does_all: whether the calling thread does all the work. Where others help it, on cores or accelerators, it
            may sleep until they are done: then its CPU time is below wall time on a quiet machine too, and unknown here.
    """

    def __init__(self, cores: int | Sequence[int] | None, *, thread_does_all: bool = True) -> None:
        numbers = [cores] if isinstance(cores, int) else cores or []
        self._labels = [b"cpu%d " % number for number in numbers] or [b"cpu "]
        self._thread_does_all = thread_does_all
        # Kept open: a read costs about 50 microseconds, and one follows every block.
        self._stat = os.open("/proc/stat", os.O_RDONLY) if Path("/proc/stat").exists() else None

    def wall_ns(self) -> int:
        """See `Clock`."""
        return time.perf_counter_ns()

    def cpu_ns(self) -> int | None:
        """See `Clock`. Windows counts in 15 ms steps, too coarse for a block."""
        return time.thread_time_ns() if self._thread_does_all and sys.platform != "win32" else None

    def interruptions(self) -> tuple[int, int]:
        """See `Clock`."""
        if sys.platform != "linux":
            return 0, 0
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw, self._steal_ticks()

    def _steal_ticks(self) -> int:
        if self._stat is None:
            return 0
        text = os.pread(self._stat, 1 << 14, 0)
        return sum(_steal_ticks(text, label) for label in self._labels)


def _steal_ticks(text: bytes, label: bytes) -> int:
    start = text.find(label)
    if start < 0:
        return 0
    fields = text[start : text.find(b"\n", start)].split()
    return int(fields[8]) if len(fields) > 8 else 0  # label, user, nice, system, idle, iowait, irq, softirq, steal
