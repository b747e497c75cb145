"""Servers and agents as real processes, some of which are killed."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from latency.estimator import Goal
from latency.meter import MeterSettings
from latency.meter_process import MeasuringError
from nas.devices.meter import RemoteMeter
from nas.errors import UserError


@pytest.fixture
def lasting(quick) -> MeterSettings:
    """Keeps a device busy for two seconds: its goal is out of reach."""
    return replace(quick, budget_s=2.0, goal=Goal(half_width=1e-6, min_sessions=2))


def until_measuring(processes, asking, names) -> str:
    """Wait for one of these agents to begin another measurement; its name. The logs tell, which costs no CPU time."""

    def begun(name: str) -> int:
        return (processes.folder / f"{name}.log").read_text().count(": measure\n")

    before, busy = {name: begun(name) for name in names}, []

    def somebody_is() -> bool:
        busy[:] = [name for name in names if begun(name) > before[name]]
        return bool(busy) or asking.done()

    processes.until(somebody_is, "nobody measures")
    assert len(busy) == 1  # however many agents, one job: only one got it
    return str(busy[0])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def elsewhere():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_measures_traces_and_describes(processes, network, larger_network, quick):
    server = processes.serve()
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
    server.send_signal(signal.SIGTERM)  # while the agent waits for a job
    server.wait(20)
    assert "ERROR" not in (processes.folder / "server.log").read_text()


def test_agent_killed_in_mid_job_and_another_does_it(processes, elsewhere, network, quick, lasting):
    processes.serve()
    agents = {name: processes.agent(name) for name in ("one", "two")}
    processes.until_idle("one", "two")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        _ = meter.device  # asked for first, so that the only job is the long one
        asking = elsewhere.submit(meter.measure, network, network, lasting)
        busy = until_measuring(processes, asking, agents)
        processes.kill(agents[busy])
        found = asking.result(100)
    assert found.status != "failed"
    (other,) = {*agents} - {busy}
    log = processes.folder / f"{other}.log"
    processes.until(lambda: "attempt 2: accepted" in log.read_text(), "the other agent did not do it", log=log.name)


def test_server_killed_in_mid_job_and_started_again(processes, elsewhere, network, quick, lasting):
    server = processes.serve()
    processes.agent("one")
    processes.until_idle("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        _ = meter.device  # asked for first, so that the only job is the long one
        asking = elsewhere.submit(meter.measure, network, network, lasting)
        until_measuring(processes, asking, ["one"])
        processes.kill(server)
        processes.serve()
        assert asking.result(100).status != "failed"
        assert meter.measure(network, network, quick).status != "failed"
    assert "attempt 2" not in (processes.folder / "one.log").read_text()  # the lease outlived the server


def test_stopped_agent_gives_its_job_back(processes, elsewhere, network, quick, lasting):
    processes.serve()
    agent = processes.agent("one")
    processes.until_idle("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        _ = meter.device  # asked for first, so that the only job is the long one
        asking = elsewhere.submit(meter.measure, network, network, lasting)
        until_measuring(processes, asking, ["one"])
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
        processes.agent("two")
        assert asking.result(100).status != "failed"


def test_child_that_dies_of_a_model_is_a_result(processes, elsewhere, network, quick, lasting):
    processes.serve()
    processes.agent("one")
    processes.until_idle("one")
    with RemoteMeter(processes.url, processes.client_token, "boards", wait_s=120) as meter:
        pid = meter.measure(network, network, quick).environment["pid"]
        _ = meter.device  # asked for first, so that the only job is the long one
        asking = elsewhere.submit(meter.measure, network, network, lasting)
        idle_s = cpu_seconds(pid)
        processes.until(lambda: cpu_seconds(pid) > idle_s + 0.3, "the job does not reach the child")
        os.kill(pid, signal.SIGKILL)
        found = asking.result(100)
        assert found.status == "failed"
        assert "was killed by signal 9 (on one; no other device to ask)" in str(found.reason)
        assert meter.measure(network, network, quick).status != "failed"


def test_nobody_there(deserted, network, quick):
    with (
        RemoteMeter(deserted.url, deserted.client_token, "boards", wait_s=1) as meter,
        pytest.raises(MeasuringError, match=r"no device of pool 'boards' answered within 1 s; see: nas device list"),
    ):
        meter.measure(network, network, quick)


def test_no_server(processes):
    with (
        RemoteMeter(processes.url, processes.client_token, "boards", wait_s=0.5) as meter,
        pytest.raises(MeasuringError, match="no answer within"),
    ):
        _ = meter.device


def test_refused_tokens(deserted):
    for token in ("nas-wrong", deserted.device_token):
        with RemoteMeter(deserted.url, token, "boards", wait_s=5) as meter, pytest.raises(UserError, match="token"):
            _ = meter.device
    deserted.token_file.write_text("nas-wrong")
    agent = deserted.agent("one")
    assert agent.wait(30) == 2
    assert "latency.agent: 401" in (deserted.folder / "one.log").read_text()
