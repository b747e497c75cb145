"""Where a search stands after some trials, in figures that dashboards show."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nas.trial import Trial, best_trial, pareto_front

READINGS = {
    "reward": "Reward of the latest trial, failed ones included",
    "accuracy": "Held-out accuracy of the latest trial, in [0, 1]; none where it failed",
    "latency_ms": "Latency of the latest trial, in milliseconds; none where it failed",
    "best_reward": "Highest reward so far",
    "best_accuracy": "Held-out accuracy of the trial of highest reward, in [0, 1]",
    "best_latency_ms": "Latency of the trial of highest reward, in milliseconds",
    "front_networks": "Networks on the front of accuracy and latency",
    "trials_done": "Networks tried; repeats and rejected ones not counted",
    "trials_failed": "Of these, failed",
}
"""Name of a reading -> what it is."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Trials folded into what is shown of them.

    Attributes:
        latest: the last trial; None before the first.
        best: the one of highest reward.
        front: networks that no other beats in accuracy and latency both, fastest first.
        num_done: networks tried.
        num_failed: of these, failed.
    """

    latest: Trial | None = None
    best: Trial | None = None
    front: tuple[Trial, ...] = ()
    num_done: int = 0
    num_failed: int = 0

    def after(self, trial: Trial) -> Standing:
        """One trial further."""
        is_new = trial.repeat_of is None and trial.status != "rejected"
        found = replace(
            self,
            latest=trial,
            num_done=self.num_done + is_new,
            num_failed=self.num_failed + (is_new and trial.status == "failed"),
        )
        if trial.status != "ok":
            return found
        best = best_trial([trial, self.best] if self.best else [trial])
        return replace(found, best=best, front=tuple(pareto_front([*self.front, trial])))

    @property
    def readings(self) -> dict[str, float]:
        """Values of `READINGS`, as far as there are any."""
        found: dict[str, float | None] = {
            "front_networks": len(self.front),
            "trials_done": self.num_done,
            "trials_failed": self.num_failed,
        }
        if self.latest:
            found |= {
                "reward": self.latest.reward,
                "accuracy": self.latest.accuracy,
                "latency_ms": self.latest.latency_ms if self.latest.status == "ok" else None,
            }
        if self.best:
            found |= {
                "best_reward": self.best.reward,
                "best_accuracy": self.best.accuracy,
                "best_latency_ms": self.best.latency_ms,
            }
        return {name: value for name, value in found.items() if value is not None}
