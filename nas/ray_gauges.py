"""What Ray's Prometheus endpoint says of a search: gauges of the driver, whatever becomes of its trials' processes."""

from __future__ import annotations

import threading
from types import TracebackType

from ray.util.metrics import Gauge

from nas.standing import READINGS, Standing
from nas.trial import Trial

GAUGES = {
    **{f"nas_{name}": text for name, text in READINGS.items()},
    "nas_target_ms": "Latency target, in milliseconds",
    "nas_trials_planned": "Networks that the recipe asks for",
}
"""Name -> what it is. Prometheus knows them as ``ray_NAME``, each with the label ``run``."""
RUNNING_GAUGE = "nas_trial_accuracy"
"""Held-out accuracy of each running trial so far; labels ``run`` and ``trial``."""
REFRESH_S = 4.0
"""Ray exports a gauge once for each time that it is set, every 10 s, and forgets it 20 s later."""


class SearchGauges:
    """The gauges of a search; a context manager within which Ray is there. They are set again and again while it lasts.

    Args:
        run: name of the run.
        num_trials: networks that it will try.
        target_ms: latency target.
    """

    def __init__(self, run: str, num_trials: int, target_ms: float) -> None:
        self._tags = {"run": run}
        self._planned = {"target_ms": target_ms, "trials_planned": float(num_trials)}
        self._gauges = {name: Gauge(name, text, ("run",)) for name, text in GAUGES.items()}
        self._running_gauge = Gauge(RUNNING_GAUGE, "Held-out accuracy of a running trial, in [0, 1]", ("run", "trial"))
        self._standing = Standing()
        self._running: dict[int, float] = {}
        self._ended = threading.Event()
        self._refreshing = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> SearchGauges:
        self._refreshing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._refreshing.join()

    def estimate(self, number: int, accuracy: float) -> None:
        """A running trial has reached `accuracy`."""
        self._running[number] = accuracy

    def finished(self, trial: Trial) -> None:
        """A trial is in the journal."""
        self._running.pop(trial.number, None)
        self._standing = self._standing.after(trial)

    def _refresh(self) -> None:
        while True:
            self._set()
            if self._ended.wait(REFRESH_S):
                return

    def _set(self) -> None:
        for name, value in (self._planned | self._standing.readings).items():
            self._gauges[f"nas_{name}"].set(value, self._tags)
        for number, accuracy in dict(self._running).items():
            self._running_gauge.set(accuracy, self._tags | {"trial": str(number)})
