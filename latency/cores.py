"""Which core measures, and which are left for everything else."""

from __future__ import annotations

import os
import sys


def available_cores() -> list[int]:
    """Numbers of the cores that this process may use, ascending; empty where the system cannot tell (not Linux)."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return []


def measuring_core() -> int | None:
    """The last core this process may use; None where processes cannot be pinned.

    The first core serves most interrupts, so that the last is the quietest. Ask before restricting this process to
    `other_cores`, not after.
    """
    return max(available_cores(), default=None)


def other_cores() -> list[int]:
    """All cores but `measuring_core`, for training; the measuring core too when it is the only one."""
    cores = available_cores()
    return cores[:-1] or cores


def pin(cores: list[int]) -> bool:
    """Restrict the calling thread, and threads it starts later, to `cores`; whether the system agreed."""
    if sys.platform != "linux":
        return False
    try:
        os.sched_setaffinity(0, cores)
    except OSError:  # a core that does not exist, or one outside the container's set
        return False
    return True
