"""Which device has which job for how long: deadlines in memory, by a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

AttemptKey = tuple[str, int]
"""Id of a job and number of the attempt at it."""


@dataclass(slots=True)
class _Lease:
    """One attempt under way; None where it began before this server did."""

    deadline: float
    armed_at: float | None


class Leases:
    """Deadlines of the attempts under way.

    They are not stored: after a restart every attempt that the database calls leased is armed again for a full term. Where
    the clock leaps between two looks, forwards (the machine slept, or was paused by its host) or backwards, no agent is to
    blame: all terms begin anew.

    Args:
        term_s: how long a lease lasts without a heartbeat; positive.
        clock: seconds, monotonic as far as the machine can.
    """

    def __init__(self, term_s: float, clock: Callable[[], float]) -> None:
        self.term_s = term_s
        self._clock = clock
        self._leases: dict[AttemptKey, _Lease] = {}
        self._looked_at = clock()

    def arm(self, key: AttemptKey, *, anew: bool = True) -> None:
        """Begin a lease; `anew` False for one that an earlier server began."""
        now = self._clock()
        self._leases[key] = _Lease(now + self.term_s, now if anew else None)

    def renew(self, key: AttemptKey) -> None:
        """A heartbeat; ignored for a lease that is over."""
        if key in self._leases:
            self._leases[key].deadline = self._clock() + self.term_s

    def drop(self, key: AttemptKey) -> None:
        """The attempt has ended; nothing happens where it had before."""
        self._leases.pop(key, None)

    def elapsed_s(self, key: AttemptKey) -> float | None:
        """Seconds since the lease began; None for an earlier server's, one that is over, and after a leap backwards."""
        lease = self._leases.get(key)
        if lease is None or lease.armed_at is None:
            return None
        elapsed = self._clock() - lease.armed_at
        return elapsed if elapsed >= 0 else None

    def expired(self) -> list[AttemptKey]:
        """Leases past their deadline; to be called more often than twice a term."""
        now = self._clock()
        leapt = not 0 <= now - self._looked_at <= self.term_s / 2
        self._looked_at = now
        if leapt:
            for lease in self._leases.values():
                lease.deadline = now + self.term_s
                lease.armed_at = None
        return [key for key, lease in self._leases.items() if lease.deadline <= now]
