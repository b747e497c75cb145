"""When devices were last heard of and last checked: in memory, by a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Callable

from nas.devices.records import Device
from nas.devices.trust import Trust

OFFLINE_AFTER_S = 60.0
"""Silence after which a device counts as gone; an idle agent asks every 25 s, a busy one's heart beats every 10 s."""


class Presence:
    """What this server has seen of the devices since it began.

    Args:
        trust: how often devices are checked.
        clock: seconds, monotonic.
    """

    def __init__(self, trust: Trust, clock: Callable[[], float]) -> None:
        self._trust = trust
        self._clock = clock
        self._heard_at: dict[tuple[str, str], float] = {}
        self._checked_at: dict[tuple[str, str], float] = {}

    def heard(self, pool: str, name: str) -> None:
        """A device said something."""
        self._heard_at[pool, name] = self._clock()

    def joined(self, pool: str, name: str) -> None:
        """A device began: when it was checked before means nothing any more."""
        self.heard(pool, name)
        self._checked_at.pop((pool, name), None)

    def checked(self, pool: str, name: str) -> None:
        """A device's check has ended, well or badly."""
        self._checked_at[pool, name] = self._clock()

    def online(self, device: Device) -> bool:
        """Whether a device was heard of lately."""
        heard_at = self._heard_at.get((device.pool, device.name))
        return heard_at is not None and self._clock() - heard_at <= OFFLINE_AFTER_S

    def check_due(self, device: Device) -> bool:
        """Whether the next thing that a device does must be a check."""
        checked_at = self._checked_at.get((device.pool, device.name))
        since_s = None if checked_at is None else self._clock() - checked_at
        if device.standing == "quarantined":
            return since_s is None or since_s >= self._trust.recheck_s
        return (
            device.standing == "new"
            or device.check_due
            or device.jobs_since_check >= self._trust.check_every_jobs
            or since_s is None
            or since_s >= self._trust.check_every_s
        )
