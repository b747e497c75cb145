from __future__ import annotations

import json

import pytest

from latency.deployment import Deployment
from latency.device_info import DeviceInfo

DEPLOYMENTS = [
    Deployment(),
    Deployment(resolution=96),
    Deployment(batch=2),
    Deployment(num_threads=2),
    Deployment(dtype="int8"),
    Deployment(provider="CUDAExecutionProvider"),
]


def test_deployments_that_differ_are_not_comparable() -> None:
    devices = [DeviceInfo.collect(deployment) for deployment in DEPLOYMENTS]
    assert len({device.key for device in devices}) == len(devices)
    assert [device.deployment for device in devices] == DEPLOYMENTS


def test_the_same_deployment_here_is_comparable() -> None:
    assert DeviceInfo.collect() == DeviceInfo.collect(Deployment())
    assert DeviceInfo.collect().key == DeviceInfo.collect(Deployment()).key
    assert DeviceInfo.collect().difference(DeviceInfo.collect()) == ""


def test_difference_names_the_fields_and_both_values() -> None:
    here = DeviceInfo.collect()
    there = DeviceInfo.from_dict({**here.to_dict(), "cpu": "Cortex-A76", "options": "spinning=1", "batch": 8})
    assert here.difference(there) == (
        f"cpu: {here.cpu} here, Cortex-A76 there; options: {here.options} here, spinning=1 there; batch: 1 here, 8 there"
    )


def test_survives_json() -> None:
    here = DeviceInfo.collect(Deployment(resolution=96, dtype="int8"))
    assert DeviceInfo.from_dict(json.loads(json.dumps(here.to_dict()))) == here


def test_unknown_and_missing_fields_are_refused() -> None:
    fields = DeviceInfo.collect().to_dict()
    with pytest.raises(TypeError):
        DeviceInfo.from_dict({**fields, "colour": "red"})
    del fields["options"]  # a record from before options were told says nothing about them
    with pytest.raises(TypeError):
        DeviceInfo.from_dict(fields)
