"""The meter of a device that one program has to itself: of this machine, or of a pool behind a device server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from latency.cores import measuring_core
from latency.deployment import Deployment
from latency.meter_process import MeterProcess
from latency.metered import Meter
from nas.devices.meter import RemoteMeter
from nas.errors import UserError
from nas.latency_check import read_device_token
from nas.latency_section import DeviceSection, LatencySection


def opened_meter(section: LatencySection, deployment: Deployment | None = None) -> AbstractContextManager[Meter]:
    """A context whose value measures on the one device that `section` names, see `nas.latency_check.check_one_device`.

    Args:
        section: what to measure where.
        deployment: how; by default as `section` says.

    Raises:
        UserError: the device's token cannot be read, or its server has no usable address.
        MeasuringError: on entering: the machine cannot measure.
    """
    [device] = section.all_devices
    deployment = deployment or section.deployment
    if device.server is not None:
        return remote_meter(device, deployment)
    return MeterProcess(measuring_core(), deployment)


def remote_meter(device: DeviceSection, deployment: Deployment) -> RemoteMeter:
    """The meter of a device behind a server; errors as of `opened_meter`."""
    if device.server is None or device.pool is None:
        raise UserError(f"device {device.name!r}: no server, or no pool")
    ca_file = None if device.ca_file is None else Path(device.ca_file)
    return RemoteMeter(device.server, read_device_token(device), device.pool, deployment, ca_file=ca_file)
