"""What can be said against the latencies of a recipe before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from latency.agent import read_token
from latency.agent_client import AgentError, check_server, tls_context
from nas.dataset import reason
from nas.errors import UserError
from nas.latency_section import LOCAL, DeviceSection, LatencySection
from nas.latency_table import read_table
from nas.network import resolve_network
from nas.run import read_config
from nas.strict_yaml import read_mapping, validated
from nas.table_trust import check_setting


def check_latency(section: LatencySection) -> None:
    """Raise UserError for what cannot work, as far as can be told without starting anything."""
    resolve_network(section.reference)
    names = [device.name for device in section.all_devices]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"latency.devices: the name {repeated[0]!r} stands twice; names must differ")
    for device in section.devices:
        _check_device(device)
    _check_file("run", section.run, section.name == "recorded", "recorded")
    _check_file("table", section.table, section.name in ("table", "hybrid"), "table and hybrid")
    if section.run is not None:
        from nas.evaluator import check_recorded_run  # with torch, which the process of a device does without

        check_recorded_run(Path(section.run))
    if section.table is not None:
        if len(names) != 1:
            raise UserError(
                f"latency.name = {section.name!r} takes one device, for a table belongs to one; "
                f"latency.devices names {len(names)}: {', '.join(names)}"
            )
        check_table(section)


def check_one_device(section: LatencySection) -> None:
    """Raise UserError unless there is one device, and it is this machine or behind a device server."""
    devices = section.all_devices
    if len(devices) > 1:
        names = ", ".join(device.name for device in devices)
        raise UserError(
            f"latency.devices names {len(devices)}: {names}; widths are adapted to one: --device FILE, or local"
        )
    if devices[0].ray is not None:
        raise UserError(
            f"latency.devices, {devices[0].name!r}: of the Ray cluster; NetAdapt measures on this machine or on a device "
            "behind a server: --device FILE, or local"
        )


def read_device(spec: str) -> list[DeviceSection]:
    """The devices that an option ``--device`` names: this machine for ``local``, else the one that a file describes.

    Raises:
        UserError: no such file, or it is not what ``latency.devices`` of a recipe lists.
    """
    if spec == LOCAL:
        return []
    try:
        text = Path(spec).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--device {spec}: {reason(error)}; local, or a YAML file with name, server, pool and token_file"
        ) from None
    device = validated(DeviceSection, read_mapping(text, spec), spec)
    section = LatencySection(devices=[device])
    check_latency(section)
    check_one_device(section)
    return resolved_latency(section).devices


def check_table(section: LatencySection) -> None:
    """Raise UserError where the table of a recipe is of networks deployed otherwise, as far as the recipe says."""
    if section.table is not None:
        check_setting(
            read_table(Path(section.table)),
            section.table,
            deployment=section.deployment,
            num_classes=section.num_classes,
            reference=resolve_network(section.reference),
        )


def resolved_latency(section: LatencySection) -> LatencySection:
    """`section` with paths that hold in any folder; a record's devices are those of the recorded run."""
    devices = [
        device.model_copy(update={key: absolute(getattr(device, key)) for key in ("token_file", "ca_file")})
        for device in section.devices
    ]
    if section.name == "recorded" and not devices:
        assert section.run is not None
        of_run = read_config(Path(section.run)).latency.devices
        devices = [DeviceSection(name=device.name, target=device.target) for device in of_run]
    paths = {key: absolute(getattr(section, key)) for key in ("table", "run")}
    return section.model_copy(update={"devices": devices, **paths})


def absolute(path: str | None) -> str | None:
    """`path` from the root, a leading ``~`` spelled out; None stays None."""
    return None if path is None else os.path.abspath(os.path.expanduser(path))


def _check_file(key: str, value: str | None, wanted: bool, kinds: str) -> None:
    if wanted and value is None:
        wants = {"run": "the run that recorded them", "table": "a file of nas latency table build"}[key]
        raise UserError(f"latency.name: {kinds} latencies need {wants}: set latency.{key}")
    if not wanted and value is not None:
        raise UserError(f"latency.{key} = {value!r}: belongs to latency.name = {kinds} only; leave it out")


def _check_device(device: DeviceSection) -> None:
    where = f"latency.devices, {device.name!r}"
    of_server = {"pool": device.pool, "token_file": device.token_file}
    if device.ray is not None and device.server is not None:
        raise UserError(f"{where}: a device is on the Ray cluster or behind a server; leave out ray or server")
    if device.server is None:
        given = [key for key, value in {**of_server, "ca_file": device.ca_file}.items() if value is not None]
        if given:
            raise UserError(f"{where}: {given[0]} belongs to a device with `server: URL`")
        return
    if missing := [key for key, value in of_server.items() if value is None]:
        raise UserError(f"{where}: a device behind a server needs {' and '.join(missing)}")
    read_device_token(device)
    try:
        check_server(device.server, insecure=False)
        tls_context(device.server, None if device.ca_file is None else Path(device.ca_file))
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def read_device_token(device: DeviceSection) -> str:
    """The client token of a device with a server.

    Raises:
        UserError: its file cannot be read, or holds none.
    """
    assert device.token_file is not None
    try:
        return read_token(Path(device.token_file))
    except AgentError as error:
        reason = str(error).removeprefix("--token-file ")
        raise UserError(f"latency.devices, {device.name!r}: token_file {reason}") from None
