"""One measurement at a time on a machine, whichever process asks for it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = "nas-measuring.lock"


def _open(path: Path) -> int:
    # Without O_CREAT first: sticky directories refuse O_CREAT on a file that another user made (fs.protected_regular).
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


@contextlib.contextmanager
def measuring_lock(path: Path | None = None) -> Iterator[None]:
    """Hold the machine's measuring lock; waits for as long as others hold it.

    A process that dies lets go of it. On systems without flock (Windows) nothing is locked.

    Args:
        path: lock file; by default one in the system's temporary directory.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = _open(path or Path(tempfile.gettempdir()) / LOCK_NAME)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Explicitly: a child forked meanwhile shares the descriptor and would keep the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_measuring(path: Path | None = None) -> bool:
    """Whether somebody on this machine holds the measuring lock now; always False on systems without flock.

    Args:
        path: as of `measuring_lock`.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    descriptor = _open(path or Path(tempfile.gettempdir()) / LOCK_NAME)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
