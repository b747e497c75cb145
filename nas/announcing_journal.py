"""A run's journal whose trials others hear of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nas.study import Journal
from nas.trial import Trial

Listener = Callable[[Trial], None]
"""Told of each trial, in the order in which they are written down."""


class AnnouncingJournal:
    """A journal that tells listeners of each trial as soon as it is durable, also of repeats and of rejected candidates.

    Args:
        journal: where trials go.
        finished: trials that it holds already; listeners hear of these at once.
        listeners: who is told.
    """

    def __init__(self, journal: Journal, finished: Sequence[Trial], listeners: Sequence[Listener]) -> None:
        self._journal = journal
        self._listeners = listeners
        for trial in finished:
            self._tell(trial)

    def append(self, trial: Trial) -> None:
        """Keep `trial`, then tell of it."""
        self._journal.append(trial)
        self._tell(trial)

    def _tell(self, trial: Trial) -> None:
        for listener in self._listeners:
            listener(trial)
