"""Ray, started or joined, and its dashboard."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from nas.errors import UserError

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


def check_room(nodes: Sequence[Mapping[str, float]], task_cpus: int, task_gpus: float) -> None:
    """Raise UserError where no machine could ever run a task of this size: Ray would wait for one without end.

    Args:
        nodes: resources of the cluster's machines, as Ray calls them.
        task_cpus: of the task.
        task_gpus: of the task.
    """
    if any(node.get("CPU", 0) >= task_cpus and node.get("GPU", 0) >= task_gpus for node in nodes):
        return
    gpus = f" and {task_gpus:g} GPUs" if task_gpus else ""
    largest = "; ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
    raise UserError(
        f"a task wants {task_cpus} CPUs{gpus}, and no machine of the cluster has them (CPUs and GPUs there: {largest}); "
        "give it less (--threads, cpus_per_trial, gpus_per_trial), or the cluster more"
    )


@contextlib.contextmanager
def ray_cluster(address: str | None, num_cpus: int, task_cpus: int = 1, task_gpus: float = 0.0) -> Iterator[Cluster]:
    """Start Ray on this machine with `num_cpus`, or join the cluster at `address`; leave it in the end.

    Everything that is started stays off the measuring core until a trial needs it (see `nas.ray_tune`).

    Args:
        address: of the cluster; None starts Ray here.
        num_cpus: of a Ray that is started here.
        task_cpus: of the largest task that will be asked of it.
        task_gpus: likewise.

    Raises:
        UserError: no cluster at `address`, none of its machines has room for such a task, or Ray does not start.
    """
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"num_cpus": num_cpus, "include_dashboard": True}
    try:
        # "local", not None: that would join whatever cluster `ray start` has left on this machine
        context = ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"--ray-address {address}: no Ray cluster there, or one that asks for a token "
            f"({str(error).splitlines()[0]}); for the latter set RAY_AUTH_MODE=token"
        ) from None
    except Exception as error:
        if type(error) is not Exception:  # Ray raises just that where its processes do not answer in time
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"Ray did not start ({reason}): the machine is too busy; try again, or go on with --resume"
        ) from None
    try:
        url = context.dashboard_url
        check_room([node["Resources"] for node in ray.nodes() if node["Alive"]], task_cpus, task_gpus)  # type: ignore[no-untyped-call]
        yield Cluster(f"http://{url}" if url else None, started_here=address is None)
    finally:
        ray.shutdown()
