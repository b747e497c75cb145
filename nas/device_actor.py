"""A device as a Ray actor: calibrated, asked one network at a time, wherever it is."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from latency.cores import measuring_core, other_cores, pin
from latency.device_info import DeviceInfo
from latency.estimator import Spread
from latency.meter_process import MeasuringError, MeterProcess
from latency.metered import Meter, MeteredLatency
from latency.reference import Reference
from nas.device_records import known_reference
from nas.errors import UserError
from nas.latency_section import DeviceSection, GradeName, LatencySection
from nas.network import resolve_network
from nas.opened_meter import remote_meter
from search_spaces.arch_string import parse_arch

_RESOURCE = "latency:"


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The frozen time of the reference network on a device.

    Attributes:
        reference_ms: positive.
        spread: noise of the device; None: what its last check says, or the usual one.
    """

    reference_ms: float
    spread: Spread | None = None


class DeviceMeter:
    """What the actor of a device does; one caller at a time.

    Args:
        device: where it is.
        section: what to measure.
        yardstick: frozen earlier; None calibrates, some seconds.
        images: calibrate int8 networks; None for noise.
    """

    def __init__(
        self,
        device: DeviceSection,
        section: LatencySection,
        yardstick: Yardstick | None,
        images: Sequence[np.ndarray] | None,
    ) -> None:
        self._device, self._section = device, section
        self._yardstick, self._images = yardstick, images
        self._core = None if device.server else measuring_core()
        self._meter: Meter | None = None
        self._source: MeteredLatency | None = None

    def __repr__(self) -> str:
        where = f"at {self._device.server}" if self._device.server else f"on core {self._core}"
        return f"latency meter {self._device.name} {where}"

    def calibration(self) -> dict[str, Any]:
        """``reference_ms``, and ``spread`` and ``device`` as dicts.

        Raises:
            MeasuringError: the device cannot be reached, or cannot run the reference.
            ValueError: it has too few cores.
        """
        meter, reference = self._opened(), self._metered().reference
        return {
            "reference_ms": reference.reference_ms,
            "spread": asdict(reference.spread),
            "device": meter.device.to_dict(),
        }

    def measure(self, arch: str, grade: GradeName = "search") -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """`Latency` and `Measurement`s of an architecture string, as dicts."""
        latency, measurements = self._metered().measure(parse_arch(arch), self._section.grade(grade))
        return latency.to_dict(), [measurement.to_dict() for measurement in measurements]

    def kernel_times_us(self, arch: str) -> dict[str, float]:
        """Operation name -> microseconds of the kernels that stem from it, under profiling."""
        times: dict[str, float] = {}
        for kernel in self._metered().profile(parse_arch(arch)):
            operation = (kernel.origin or "other").split("/")[0]
            times[operation] = times.get(operation, 0.0) + kernel.median_us
        return times

    def close(self) -> None:
        """Let go of the device."""
        if self._meter is not None:
            self._meter.close()

    def _opened(self) -> Meter:
        if self._meter is None:
            deployment = self._section.deployment
            if self._device.server is None:
                self._meter = MeterProcess(self._core, deployment).__enter__()
                pin(other_cores(deployment.num_threads))  # this process only waits
            else:
                self._meter = remote_meter(self._device, deployment)
        return self._meter

    def _metered(self) -> MeteredLatency:
        if self._source is None:
            meter, section = self._opened(), self._section
            network, num_classes = resolve_network(section.reference), section.num_outputs
            model = MeteredLatency(meter, network, num_classes=num_classes, images=self._images).model(network)
            self._source = MeteredLatency(
                meter, network, num_classes=num_classes, images=self._images, frozen=self._frozen(meter.device, model)
            )
        return self._source

    def _frozen(self, device: DeviceInfo, model: bytes) -> Reference | None:
        known = known_reference(device, model)
        if self._yardstick is None:
            return known
        spread = self._yardstick.spread or (known.spread if known else Spread())
        return Reference(model, self._yardstick.reference_ms, spread)


DeviceActor = ray.remote(num_cpus=0, max_restarts=0)(DeviceMeter)


def device_actor(
    device: DeviceSection,
    section: LatencySection,
    yardstick: Yardstick | None,
    images: Sequence[np.ndarray] | None,
) -> Any:
    """The handle of a new actor for `device`; arguments as of `DeviceMeter`. Waits for nothing: see `check_pools`."""
    options: dict[str, Any] = {"name": f"latency:{device.name}:{os.getpid()}"}
    if device.ray is None:
        options["scheduling_strategy"] = here()
    else:
        options["resources"] = {f"{_RESOURCE}{device.ray}": 1}
    return DeviceActor.options(**options).remote(device, section, yardstick, images)


def here() -> NodeAffinitySchedulingStrategy:
    """Schedules on the driver's machine and nowhere else."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def check_pools(devices: Sequence[DeviceSection]) -> list[str]:
    """Whether the cluster has the machines that `devices` name.

    Returns:
        Pools of which too few machines are free now; whoever measures there has to be waited for.

    Raises:
        UserError: a pool that nobody belongs to, or that has fewer machines than devices are to be there.
    """
    offered: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    taken = []
    for pool, wanted in Counter(device.ray for device in devices if device.ray is not None).items():
        there = int(offered.get(_RESOURCE + pool, 0))
        names = ", ".join(repr(device.name) for device in devices if device.ray == pool)
        if there == 0:
            raise UserError(f"latency.devices, {names}: {_no_pool(pool, offered)}")
        if there < wanted:
            raise UserError(f"latency.devices, {names}: pool {pool!r} is offered {there} times, {wanted} are needed")
        if free.get(_RESOURCE + pool, 0) < wanted:
            taken.append(pool)
    return taken


def _no_pool(pool: str, offered: Mapping[str, float]) -> str:
    pools = sorted(name.removeprefix(_RESOURCE) for name in offered if name.startswith(_RESOURCE))
    wanted = f'{{"{_RESOURCE}{pool}": 1}}'
    return (
        f"no machine of the Ray cluster offers pool {pool!r}; pools there: {', '.join(pools) or 'none'}; "
        f"on the machine that is to measure: ray start --address HOST:PORT --resources '{wanted}'"
    )


def answer(device: str, reply: Any) -> Any:
    """What an actor answers.

    Raises:
        UserError: what the device, or whoever set it up, is at fault of.
    """
    try:
        return ray.get(reply)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MeasuringError | UserError | ValueError):
            raise UserError(f"device {device}: {' '.join(str(cause).split())}") from None
        raise
    except ray.exceptions.RayActorError as error:
        raise UserError(f"device {device}: its process died ({str(error).splitlines()[0]})") from None


def end(actor: Any) -> None:
    """Let go of the actor's device, and end it."""
    with contextlib.suppress(ray.exceptions.RayError):  # it is gone already when the cluster went first
        ray.get(actor.close.remote(), timeout=10)
    ray.kill(actor)
