"""Ray, started or joined: the dashboard, and the actor that measures on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from latency.cores import measuring_core, other_cores, pin
from latency.estimator import Goal
from latency.meter import MeterSettings
from latency.metered import MeteredLatency
from nas.config import LatencySection
from nas.errors import UserError
from nas.network import resolve_network
from search_spaces.arch_string import parse_arch

NAMESPACE = "nas"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster in use.

    Attributes:
        dashboard_url: where people watch it; None without a dashboard.
        started_here: this program started it, on this machine only, and will stop it.
    """

    dashboard_url: str | None
    started_here: bool

    @property
    def dashboard(self) -> str:
        """Where to look, and how to get in, in words."""
        if self.dashboard_url is None:
            return "none"
        token = " (it asks for a token: ray get-auth-token)" if os.environ.get("RAY_AUTH_MODE") == "token" else ""
        return f"{self.dashboard_url}{token}"


def check_address(address: str) -> None:
    """Raise UserError where nobody listens at HOST:PORT; Ray itself would end the process, minutes later.

    Other forms (``auto``, ``ray://...``) are left to Ray.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or "/" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--ray-address {address}: no Ray cluster there ({error}); start one with: ray start --head"
        ) from None


@contextlib.contextmanager
def ray_cluster(address: str | None, num_cpus: int) -> Iterator[Cluster]:
    """Start Ray on this machine with `num_cpus`, or join the cluster at `address`; leave it in the end.

    Everything that is started stays off the measuring core until a trial needs it (see `nas.ray_tune`).

    Raises:
        UserError: no cluster at `address`.
    """
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"num_cpus": num_cpus, "include_dashboard": True}
    try:
        # "local", not None: that would join whatever cluster `ray start` has left on this machine
        context = ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError) as error:
        raise UserError(f"--ray-address {address}: no Ray cluster there ({str(error).splitlines()[0]})") from None
    try:
        url = context.dashboard_url
        yield Cluster(f"http://{url}" if url else None, started_here=address is None)
    finally:
        ray.shutdown()


def here() -> NodeAffinitySchedulingStrategy:
    """Schedules on the driver's machine and nowhere else."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@ray.remote(num_cpus=0, max_restarts=0)
class MeasuringActor:
    """The local device: one measurement at a time, in a process of its own on a core of its own.

    Args:
        section: what to measure.
        reference_ms: frozen time of the reference; None calibrates.
    """

    def __init__(self, section: LatencySection, reference_ms: float | None) -> None:
        core = measuring_core()
        self._repr = f"latency meter on core {core}"
        self._meter = MeteredLatency(
            resolve_network(section.reference),
            resolution=section.resolution,
            num_classes=section.num_outputs,
            core=core,
            settings=MeterSettings(goal=Goal(half_width=section.half_width), budget_s=section.budget_s),
            reference_ms=reference_ms,
        )
        self._meter.__enter__()
        pin(other_cores())  # this process only waits

    def __repr__(self) -> str:
        return self._repr

    def reference_ms(self) -> float:
        """Frozen time of the reference."""
        return self._meter.reference.reference_ms

    def device(self) -> dict[str, Any]:
        """`DeviceInfo` as a dict."""
        return self._meter.process.device.to_dict()

    def measure(self, arch: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """`Latency` and `Measurement` of an architecture string, as dicts."""
        latency, measurement = self._meter.measure(parse_arch(arch))
        return latency.to_dict(), measurement.to_dict()

    def kernel_times_us(self, arch: str) -> dict[str, float]:
        """Operation name -> microseconds of the kernels that stem from it, under profiling."""
        times: dict[str, float] = {}
        for kernel in self._meter.profile(parse_arch(arch)):
            operation = (kernel.origin or "other").split("/")[0]
            times[operation] = times.get(operation, 0.0) + kernel.median_us
        return times

    def close(self) -> None:
        """End the measuring process."""
        self._meter.close()


@contextlib.contextmanager
def measuring_actor(section: LatencySection, reference_ms: float | None) -> Iterator[Any]:
    """The local device as an actor handle; ended in the end."""
    actor = MeasuringActor.options(name=f"latency:local:{os.getpid()}", scheduling_strategy=here()).remote(  # type: ignore[attr-defined]
        section, reference_ms
    )
    try:
        yield actor
    finally:
        with contextlib.suppress(ray.exceptions.RayError):  # it is gone already when the cluster went first
            ray.get(actor.close.remote(), timeout=10)
        ray.kill(actor)
