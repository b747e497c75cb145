"""Which core measures, and which are left for everything else."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_FOREMOST = -20


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


def other_cores(num_measuring: int = 1) -> list[int]:
    """All cores but the last `num_measuring`, for training; all of them where none would be left."""
    cores = available_cores()
    return cores[:-num_measuring] or cores


def pin(cores: list[int]) -> bool:
    """Restrict the calling thread, and threads it starts later, to `cores`; whether the system agreed."""
    if sys.platform != "linux":
        return False
    try:
        os.sched_setaffinity(0, cores)
    except OSError:  # a core that does not exist, or one outside the container's set
        return False
    return True


def raise_priority() -> int:
    """Put the calling process before ordinary ones where the system allows it (root on Linux); its niceness from now on.

    Against neighbours that are not kept off the measuring core, and against parents that lower their children's priority,
    as Ray does. Linux desktops and servers share the processor by session first (autogroups), so that the process gets a
    session of its own; without privileges that alone gives it a share equal to that of all threads of a training run.
    No real-time class: the kernel stops those for 5 % of every second.
    """
    if sys.platform == "win32":
        return 0
    with contextlib.suppress(PermissionError):
        os.setsid()  # refused to the leader of a process group: it has a session already
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _FOREMOST)
        Path("/proc/self/autogroup").write_text(str(_FOREMOST))
    return os.getpriority(os.PRIO_PROCESS, 0)
