"""What a process frees it keeps: the next tensors are then laid where the memory is known already."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_KEPT_BYTES = 32 * 2**20  # as much as glibc allows on 64 bits


@cache
def keep_freed_memory() -> None:
    """Have this process keep freed memory for its next tensors instead of returning it to the system.

    glibc returns large pieces and what lies at the end of its heap, and the system clears each page before it hands it out
    again. Where networks take turns, as candidates of a supernet do, that is a fifth of their time
    (`experiments/benchmarks/supernet_scoring.py --return-memory`). The process stays as large as it ever was. Nothing happens
    where the C library is another one.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every Linux has glibc
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
