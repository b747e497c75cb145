"""Several devices, one reward: what a network's latencies on all of them come to."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latency.latency import Latency, Status
from nas.latency_section import OverDevices
from nas.objective import Objective
from nas.trial import Trial

_TRUST: tuple[Status, ...] = ("ok", "wide", "unstable", "failed")


@dataclass(frozen=True, slots=True)
class DeviceObjectives:
    """The objective on each device, and how they are one.

    With LAT_i and T_i the latency and the target of device i, and one device or more: ``worst`` rewards the largest
    LAT_i / T_i, ``mean`` the mean of them, as the objective rewards LAT / T of one device; ``each`` takes the mean of the
    devices' own rewards. With one device the three are the same.

    Attributes:
        by_device: name -> objective at the device's own target, all of one form; the first device comes first.
        how: see above.

    Raises:
        ValueError: no device.
    """

    by_device: Mapping[str, Objective]
    how: OverDevices = "worst"

    def __post_init__(self) -> None:
        if not self.by_device:
            raise ValueError("no device: at least one is needed")

    @property
    def first(self) -> Objective:
        """Of the first device."""
        return next(iter(self.by_device.values()))

    @property
    def failure_reward(self) -> float:
        """What a failed trial is told; the same on all devices."""
        return self.first.failure_reward

    def latency(self, latencies: Mapping[str, Latency]) -> Latency:
        """The one latency that stands for `latencies`, in milliseconds of the first device.

        With one device it is that device's. ``worst`` and ``mean``: the first device's target times the combined
        LAT / T, its interval combined from the ends of the others' in the same way; ``each``: the first device's own.
        Its status is the least trusted one, and it is ``measured`` only where all are. Failed where one of them failed.

        Args:
            latencies: device name -> latency, one for each of `by_device`.
        """
        found = [latencies[name] for name in self.by_device]
        for name, latency in zip(self.by_device, found, strict=True):
            if latency.status == "failed":
                reason = latency.reason or "failed"
                return Latency.failure(reason if len(found) == 1 else f"{name}: {reason}", latency.source)
        if len(found) == 1 or self.how == "each":
            return found[0]
        return self._combined(found)

    def reward(self, accuracy: float, latencies: Mapping[str, Latency]) -> float:
        """The reward of a network of `accuracy` in [0, 1]; `latencies` as of `latency`, none of them failed."""
        if self.how == "each":
            rewards = [
                objective.reward(accuracy, latencies[name].latency_ms) for name, objective in self.by_device.items()
            ]
            return statistics.fmean(rewards)
        return self.first.reward(accuracy, self.latency(latencies).latency_ms)

    def spread(self, accuracies: Sequence[float], latencies: Sequence[Mapping[str, Latency]]) -> float:
        """Share of accuracy in the variance of the rewards of some networks; see `Objective.spread`."""
        if self.how != "each" or len(self.by_device) == 1:
            equivalents_ms = [self.latency(found).latency_ms for found in latencies]
            return self.first.spread(list(accuracies), equivalents_ms)[0]
        # Rewards are accuracy times (or plus) the mean of the devices' latency terms: the objective of one device with
        # target 1 and slope 1 whose latency is 1 / term (or 1 - term).
        terms = [
            statistics.fmean(o.latency_term(found[n].latency_ms) for n, o in self.by_device.items())
            for found in latencies
        ]
        power = self.first.form == "power"
        plain = Objective(target_ms=1.0, form=self.first.form, alpha=-1.0, beta=-1.0)
        return plain.spread(list(accuracies), [1 / term if power else 1 - term for term in terms])[0]

    def _combined(self, found: Sequence[Latency]) -> Latency:
        targets_ms = [objective.target_ms for objective in self.by_device.values()]
        target_ms = targets_ms[0]
        latency_ms = target_ms * self._over([x.latency_ms / t for x, t in zip(found, targets_ms, strict=True)])
        low_ms, high_ms = (
            target_ms * self._over([x.interval_ms[end] / t for x, t in zip(found, targets_ms, strict=True)])
            for end in (0, 1)
        )
        low_ms, high_ms = min(low_ms, latency_ms), max(high_ms, latency_ms)  # rounding: an interval may be a point
        reference_ms = found[0].latency_ms / found[0].ratio
        status = max((x.status for x in found), key=_TRUST.index)
        reasons = [f"{name}: {x.reason}" for name, x in zip(self.by_device, found, strict=True) if x.reason]
        return Latency(
            latency_ms=latency_ms,
            interval_ms=(low_ms, high_ms),
            ratio=latency_ms / reference_ms,
            ratio_interval=(low_ms / reference_ms, high_ms / reference_ms),
            status=status,
            source="measured" if all(x.source == "measured" for x in found) else "table",
            num_pairs=sum(x.num_pairs for x in found),
            num_rejected=sum(x.num_rejected for x in found),
            reason="; ".join(reasons) or None,
        )

    def _over(self, ratios: Sequence[float]) -> float:
        return max(ratios) if self.how == "worst" else statistics.fmean(ratios)


def objectives_told(how: OverDevices, trial: Trial) -> tuple[float, ...]:
    """What a controller with several objectives is told of a successful trial, each to be small.

    1 - accuracy and the latency that the reward used, in milliseconds; with ``each`` and several devices, one latency for
    each device instead.
    """
    if how == "each" and trial.device_latencies:
        latencies_ms = [latency.latency_ms for latency in trial.device_latencies.values()]
    else:
        assert trial.latency_ms is not None, "a successful trial has a latency"
        latencies_ms = [trial.latency_ms]
    return (1 - (trial.accuracy or 0.0), *latencies_ms)
