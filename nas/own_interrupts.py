"""Ctrl-C while others run things for us."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def own_interrupts() -> Iterator[None]:
    """Ctrl-C is ours again afterwards: Ray Tune and Ray Train leave handlers of their own, which swallow the next one."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
