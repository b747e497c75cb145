"""Latencies of the networks of a reproduction, all against one reference of one frozen time, each measured once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from latency.deployed_model import deployed_model
from latency.device_info import DeviceInfo
from latency.estimator import Spread
from latency.latency import Latency
from latency.meter import GRADES
from latency.meter_process import MeasuringError
from latency.metered import MeteredLatency
from latency.reference import Reference
from nas.calibration import DeviceState
from nas.errors import UserError
from nas.netadapt.measured_cost import trusted_latency
from nas.network import resolve_network
from nas.objective import Target
from nas.opened_meter import opened_meter
from nas.reproduction.reproduce_config import ReproduceConfig
from nas.reproduction.reproduce_run import ReproduceRun
from search_spaces.arch import ArchSpec

DEVICE, LATENCIES = "device", "latencies"


@dataclass(frozen=True)
class Yardstick:
    """Measures networks as they are deployed; what was measured is remembered in the run.

    Attributes:
        run: remembers.
        metered: measures.
    """

    run: ReproduceRun
    metered: MeteredLatency

    def latency(self, arch: ArchSpec) -> Latency:
        """Of `arch`, in several processes.

        Raises:
            UserError: it cannot be measured.
        """
        known = (self.run.read(LATENCIES) or {}).get("networks", {})
        if arch.key not in known:
            latency = trusted_latency(self.metered, arch, GRADES["final"])
            known = known | {arch.key: {"arch": str(arch), "latency": latency.to_dict()}}
            self.run.write(LATENCIES, {"networks": known})
        return Latency.from_dict(known[arch.key]["latency"])

    def target_ms(self) -> float:
        """The latency that the result must come down to."""
        return resolved_ms(self.run.config.target, self.latency)

    @property
    def reference_ms(self) -> float:
        """Time of the reference network."""
        return self.metered.reference.reference_ms


def seed_range_ms(config: ReproduceConfig, latency: Callable[[ArchSpec], Latency]) -> tuple[float, float]:
    """The latency that the seed must not fall short of, and the one that it should not exceed."""
    return resolved_ms(config.target, latency), config.slowest_seed * resolved_ms(
        config.search.objective.target, latency
    )


def resolved_ms(text: str, latency: Callable[[ArchSpec], Latency]) -> float:
    """A target as recipes write it, in milliseconds."""
    target = Target.parse(text)
    if target.network is None:
        return target.value
    return target.value * latency(resolve_network(target.network)).latency_ms


@contextlib.contextmanager
def opened_yardstick(run: ReproduceRun) -> Iterator[Yardstick]:
    """The device, ready to measure; calibrated when the run is new.

    Raises:
        UserError: the run began on another device, or it cannot measure.
    """
    section = run.config.search.latency
    reference = resolve_network(section.reference)
    try:
        with opened_meter(section) as meter:
            found = run.read(DEVICE)
            frozen = None
            if found is not None:
                state = DeviceState.from_dict(found["state"])
                _check_same(run, state.device, meter.device)
                model = deployed_model(reference, section.deployment, section.num_outputs)
                frozen = Reference(model, state.reference_ms, state.spread)
            metered = MeteredLatency(meter, reference, num_classes=section.num_outputs, frozen=frozen)
            if found is None:
                run.write(DEVICE, {"state": _state(metered, meter.device).to_dict()})
            yield Yardstick(run, metered)
    except MeasuringError as error:
        raise UserError(f"measuring failed: {error}; go on with nas reproduce --resume {run.folder}") from None


def _state(metered: MeteredLatency, device: DeviceInfo) -> DeviceState:
    reference = metered.reference
    return DeviceState(reference.reference_ms, reference.spread or Spread(), device)


def _check_same(run: ReproduceRun, begun: DeviceInfo, now: DeviceInfo) -> None:
    if difference := now.difference(begun):
        raise UserError(
            f"{run.folder}: begun on another device ({difference}); latencies of the two cannot be mixed: resume it there, or "
            "begin a new run"
        )
