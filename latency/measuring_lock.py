"""One measurement at a time on a machine, whichever process asks for it, and no training meanwhile.

Two files: who measures holds the gate and the room alone; a training step passes through the gate and shares the room. The
gate is what keeps steps, of which there is always one, from locking the measurement out for good. Locks of a process end
with it, so that nothing stays stopped when a process is killed.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = "nas-measuring.lock"

LONGEST_STEP_S = 10.0
LONGEST_REST_S = 300.0
_POLL_S = 0.001


def _open(path: Path) -> int:
    # Without O_CREAT first: sticky directories refuse O_CREAT on a file that another user made (fs.protected_regular).
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


def _gate(path: Path | None) -> Path:
    return path or Path(tempfile.gettempdir()) / LOCK_NAME


def _room(path: Path | None) -> Path:
    gate = _gate(path)
    return gate.with_name(f"{gate.name}.room")


@contextlib.contextmanager
def _held(path: Path, *, alone: bool, longest_wait_s: float = math.inf) -> Iterator[None]:
    """Hold the lock file at `path`, alone or with others, or go on without it after the longest wait.

    On systems without flock (Windows) nothing is locked.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = _open(path)
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        if math.isinf(longest_wait_s):
            fcntl.flock(descriptor, kind)
        else:
            _try_for(descriptor, kind, longest_wait_s)
        yield
    finally:
        # Explicitly: a child forked meanwhile shares the descriptor and would keep the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _try_for(descriptor: int, kind: int, longest_wait_s: float) -> bool:
    import fcntl

    until = time.monotonic() + longest_wait_s
    while time.monotonic() < until:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        else:
            return True
    return False


@contextlib.contextmanager
def measuring_lock(path: Path | None = None, *, longest_step_s: float = LONGEST_STEP_S) -> Iterator[None]:
    """Hold the machine's measuring lock; waits for as long as others hold it, and for training steps under way.

    Args:
        path: lock file; by default one in the system's temporary directory.
        longest_step_s: measure beside a training step that takes longer than this, such as one of a suspended process:
            the measurement will show it, by its status and its interval.
    """
    with _held(_gate(path), alone=True), _held(_room(path), alone=True, longest_wait_s=longest_step_s):
        yield


@contextlib.contextmanager
def training_step(path: Path | None = None, *, longest_rest_s: float = LONGEST_REST_S) -> Iterator[None]:
    """Hold up measurements for one step of a training, some milliseconds; waits while somebody measures.

    Args:
        path: as of `measuring_lock`.
        longest_rest_s: go on after this long, for who measures may be a suspended process.
    """
    with contextlib.ExitStack() as stack:
        with _held(_gate(path), alone=False, longest_wait_s=longest_rest_s):
            stack.enter_context(_held(_room(path), alone=False, longest_wait_s=longest_rest_s))
        yield


def is_measuring(path: Path | None = None) -> bool:
    """Whether somebody on this machine holds the measuring lock now; always False on systems without flock.

    Args:
        path: as of `measuring_lock`.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    descriptor = _open(_gate(path))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
