"""The one device of `nas adapt` and `nas reproduce`: this machine, or a real agent behind a real server."""

from __future__ import annotations

import pytest

from latency.meter_process import MeterProcess
from latency.metered import MeteredLatency
from nas.errors import UserError
from nas.latency_check import read_device
from nas.latency_section import LatencySection
from nas.opened_meter import opened_meter
from search_spaces.zoo import get


@pytest.fixture
def board(processes):
    """A file that describes the device server to a client."""
    token, file = processes.folder / "laptop.token", processes.folder / "board.yaml"
    token.write_text(processes.client_token)
    token.chmod(0o600)
    file.write_text(f"name: board\nserver: {processes.url}\npool: boards\ntoken_file: {token}\n")
    return file


def test_a_board_measures(processes, board, quick):
    processes.serve()
    processes.agent("one")
    section = LatencySection(resolution=32, num_classes=10, devices=read_device(str(board)))
    with opened_meter(section) as meter:
        assert meter.device.deployment == section.deployment
        metered = MeteredLatency(meter, get("mobilenet_v2"), num_classes=10)
        model = metered.model(get("mobilenet_v2"))
        found = meter.measure(metered.model(get("mobilenet_v3_small")), model, quick)
        assert found.status != "failed"
        assert found.device == meter.device.key
    assert "one" in processes.devices()


def test_this_machine_is_what_is_named_local():
    assert read_device("local") == []
    section = LatencySection(resolution=32)
    meter = opened_meter(section)
    assert isinstance(meter, MeterProcess)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"--device .*board.yaml: FileNotFoundError.*; local, or a YAML file with name, server, pool"),
        ("name: b\nserver: 'http://127.0.0.1:1'\n", "'b': a device behind a server needs pool and token_file"),
        ("name: b\nray: lab\n", "'b': of the Ray cluster; NetAdapt measures on this machine or on a device behind"),
        ("name: b\nservr: x\n", "unknown key 'servr'; did you mean 'server'"),
    ],
)
def test_a_device_that_cannot_be_used(tmp_path, text, message):
    file = tmp_path / "board.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_device(str(file))
    assert "\n" not in str(error.value)
