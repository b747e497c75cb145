"""Servers and agents as real processes, some of which are killed."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from latency.meter_process import MeasuringError
from nas.devices.meter import RemoteMeter
from nas.errors import UserError


@pytest.fixture
def heavy(make_model) -> bytes:
    """Keeps a device busy for seconds: one inference is 20 gigaMACs."""
    weight = numpy_helper.from_array(np.ones((256, 256, 3, 3), np.float32) / 2304, "weight")
    widen = numpy_helper.from_array(np.ones((256, 3, 1, 1), np.float32), "widen")
    nodes = [helper.make_node("Conv", ["input", "widen"], ["x0"], name="widen")]
    for index in range(2):
        nodes.append(
            helper.make_node(
                "Conv",
                [f"x{index}", "weight"],
                [f"x{index + 1}" if index < 1 else "output"],
                name=f"conv{index}",
                kernel_shape=[3, 3],
                pads=[1] * 4,
            )
        )
    return make_model(nodes, [1, 3, 128, 128], [weight, widen])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def elsewhere():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_measures_traces_and_describes(processes, network, larger_network, quick):
    processes.serve()
    processes.agent("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=60) as meter:
        found = meter.measure(larger_network, network, quick, seed=3)
        assert found.status != "failed"
        assert found.ratio > 1  # 8 times the work
        assert found.device == meter.device.key
        fresh = meter.measure(network, network, quick, fresh_process=True)
        assert fresh.environment["pid"] != found.environment["pid"]
        assert {"optimized", "events"} <= set(meter.trace(network, 2))
        with pytest.raises(MeasuringError, match="reference"):
            meter.measure(network, b"not a model", quick)
        refused = meter.measure(b"not a model", network, quick)
        assert refused.status == "failed"
        assert "cannot be parsed" in str(refused.reason)
    row = processes.devices()["one"]
    assert (row["standing"], row["doing"]) == ("trusted", "idle")
    assert row["device"]["cpu"]


def test_agent_killed_in_mid_job_and_another_does_it(processes, elsewhere, network, heavy, quick):
    processes.serve()
    agents = {name: processes.agent(name) for name in ("one", "two")}
    processes.until_idle("one", "two")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        _ = meter.device  # asked for first, so that the only job is the heavy one
        asking = elsewhere.submit(meter.measure, heavy, network, quick)
        busy: list[str] = []

        def somebody_is() -> bool:
            if asking.done():
                pytest.fail(f"too early: {asking.result()}")
            busy[:] = [n for n, row in processes.devices().items() if row["doing"].startswith("measuring")]
            return bool(busy)

        processes.until(somebody_is, "nobody measures")
        assert len(busy) == 1  # two agents, one job: only one got it
        processes.kill(agents[busy[0]])
        found = asking.result(100)
    assert found.status != "failed"
    assert processes.devices()[busy[0]]["doing"] != "idle"


def test_server_killed_in_mid_job_and_started_again(processes, elsewhere, network, heavy, quick):
    server = processes.serve()
    processes.agent("one")
    processes.until_idle("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        _ = meter.device  # asked for first, so that the only job is the heavy one
        asking = elsewhere.submit(meter.measure, heavy, network, quick)
        processes.until(lambda: processes.devices()["one"]["doing"].startswith("measuring"), "nobody measures")
        processes.kill(server)
        processes.serve()
        assert asking.result(100).status != "failed"
        assert meter.measure(network, network, quick).status != "failed"
    assert "attempt 2" not in (processes.folder / "one.log").read_text()  # the lease outlived the server


def test_stopped_agent_gives_its_job_back(processes, elsewhere, network, heavy, quick):
    processes.serve()
    agent = processes.agent("one")
    processes.until_idle("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        _ = meter.device  # asked for first, so that the only job is the heavy one
        asking = elsewhere.submit(meter.measure, heavy, network, quick)
        processes.until(lambda: processes.devices()["one"]["doing"].startswith("measuring"), "nobody measures")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
        processes.agent("two")
        assert asking.result(100).status != "failed"


def test_child_that_dies_of_a_model_is_a_result(processes, elsewhere, network, heavy, quick):
    processes.serve()
    processes.agent("one")
    processes.until_idle("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        pid = meter.measure(network, network, quick).environment["pid"]
        _ = meter.device  # asked for first, so that the only job is the heavy one
        asking = elsewhere.submit(meter.measure, heavy, network, quick)
        idle_s = cpu_seconds(pid)
        processes.until(lambda: cpu_seconds(pid) > idle_s + 0.3, "the job does not reach the child")
        os.kill(pid, signal.SIGKILL)
        found = asking.result(100)
        assert found.status == "failed"
        assert "was killed by signal 9 (on one; no other device to ask)" in str(found.reason)
        assert meter.measure(network, network, quick).status != "failed"


def test_nobody_there(processes, network, quick):
    processes.serve()
    with (
        RemoteMeter(processes.url, processes.client_token, "boards", wait_s=1) as meter,
        pytest.raises(MeasuringError, match=r"no device of pool 'boards' answered within 1 s; see: nas device list"),
    ):
        meter.measure(network, network, quick)


def test_no_server(processes):
    with (
        RemoteMeter(processes.url, processes.client_token, "boards", wait_s=0.5) as meter,
        pytest.raises(MeasuringError, match="no answer within"),
    ):
        _ = meter.device


def test_refused_tokens(processes, tmp_path):
    processes.serve()
    for token in ("nas-wrong", processes.device_token):
        with RemoteMeter(processes.url, token, "boards", wait_s=5) as meter, pytest.raises(UserError, match="token"):
            _ = meter.device
    processes.token_file.write_text("nas-wrong")
    agent = processes.agent("one")
    assert agent.wait(30) == 2
    assert "latency.agent: 401" in (tmp_path / "one.log").read_text()
