"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")

# Limit, use, and the line of memory.stat with the part of the use that is dropped first where memory is short. Version 2
# (kernel documentation, admin-guide/cgroup-v2) and version 1 (admin-guide/cgroup-v1/memory).
_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def free_memory_bytes(cgroup: Path = _CGROUP) -> int:
    """What the machine has left, or the container, if that is less: psutil knows the machine alone.

    Args:
        cgroup: where the system says what a container may take.
    """
    free_bytes: int = psutil.virtual_memory().available
    for limit, use, statistics, line in _FILES:
        left_bytes = _left_bytes(cgroup / limit, cgroup / use, cgroup / statistics, line)
        if left_bytes is not None:
            free_bytes = min(free_bytes, left_bytes)
    return free_bytes


def _left_bytes(limit: Path, use: Path, statistics: Path, line: str) -> int | None:
    """None where nothing limits it."""
    try:
        allowed = limit.read_text().strip()
        if allowed == "max":
            return None
        lines = dict(entry.split() for entry in statistics.read_text().splitlines())
        return max(0, int(allowed) - int(use.read_text()) + int(lines[line]))
    except (FileNotFoundError, PermissionError):  # another version, another system
        return None
