from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from latency.cores import measuring_core
from latency.device_info import DeviceInfo
from latency.measurement import Measurement
from latency.meter import MeterSettings
from latency.meter_process import MeasuringError, MeterProcess
from latency.reference import calibrate


def wait_until_dead(pid: int, seconds: float = 10) -> bool:
    """Whether process `pid` is gone, or a zombie, in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_measures(process: MeterProcess, network: bytes, larger_network: bytes) -> None:
    found = process.measure(larger_network, network)
    assert found.status != "failed"
    assert found.ratio > 1  # 4 times the pixels, 4 times the weights: no machine disagrees
    assert len(found.pairs) % 2 == 0
    assert found.num_pairs + found.num_rejected == len(found.pairs)
    assert found.device == process.device.key
    assert found.environment["core"] == process.core
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_describes_the_device(process: MeterProcess) -> None:
    assert process.device == DeviceInfo.collect()
    assert process.pid != os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are pinned on Linux only")
def test_child_is_pinned_and_parent_is_not_moved(process: MeterProcess) -> None:
    assert os.sched_getaffinity(process.pid) == {measuring_core()}
    assert process.core == measuring_core()


def test_core_that_does_not_exist_is_reported_as_unpinned(quick: MeterSettings) -> None:
    with MeterProcess(4095, quick) as child:
        assert child.core is None


def test_reference_travels_once_and_may_change(process: MeterProcess, network: bytes, larger_network: bytes) -> None:
    same = [process.measure(network, network) for _ in range(2)]
    other = process.measure(network, larger_network)
    assert [m.status == "failed" for m in (*same, other)] == [False] * 3
    assert other.ratio < 1


@pytest.mark.parametrize("bad", [b"", b"not a model", b"\x08\x08" * 1000])
def test_corrupt_candidate_fails_alone(process: MeterProcess, network: bytes, bad: bytes) -> None:
    pid = process.pid
    found = process.measure(bad, network)
    assert (found.status, found.num_pairs) == ("failed", 0)
    assert found.reason is not None
    assert found.reason.startswith("candidate: ONNX Runtime cannot load the model")
    assert process.measure(network, network).status != "failed"
    assert process.pid == pid


def test_truncated_candidate_fails(process: MeterProcess, network: bytes) -> None:
    assert process.measure(network[: len(network) // 2], network).status == "failed"


def test_free_dimensions_are_refused(process: MeterProcess, network: bytes, dynamic_network: bytes) -> None:
    found = process.measure(dynamic_network, network)
    assert found.reason is not None
    assert "static shapes are needed" in found.reason


def test_corrupt_reference_is_an_error(process: MeterProcess, network: bytes) -> None:
    for _ in range(2):  # the second time it must not count as loaded
        with pytest.raises(MeasuringError, match="reference"):
            process.measure(network, b"not a model")
    assert process.measure(network, network).status != "failed"


def test_hang_ends_with_the_timeout(quick: MeterSettings, network: bytes, endless_network: bytes) -> None:
    with MeterProcess(measuring_core(), quick, timeout_s=2) as child:
        found = child.measure(endless_network, network)
        assert (found.status, found.reason) == ("failed", "no answer in 2 s")
    with MeterProcess(measuring_core(), quick) as child:
        assert child.measure(network, network).status != "failed"


def test_crash_in_mid_job_fails_and_the_next_job_works(
    quick: MeterSettings, network: bytes, endless_network: bytes
) -> None:
    with MeterProcess(measuring_core(), quick) as child:
        pid = child.pid
        killer = threading.Timer(1, os.kill, (pid, signal.SIGKILL))
        killer.start()
        found = child.measure(endless_network, network)
        killer.join()
        assert (found.status, found.reason) == ("failed", "the measuring process was killed by signal 9")
        assert child.measure(network, network).status != "failed"
        assert child.pid != pid


def test_death_between_jobs_goes_unnoticed(quick: MeterSettings, network: bytes) -> None:
    with MeterProcess(measuring_core(), quick) as child:
        child.measure(network, network)
        pid = child.pid
        os.kill(pid, signal.SIGKILL)
        assert wait_until_dead(pid)
        assert child.measure(network, network).status != "failed"


def test_close_ends_the_child(quick: MeterSettings) -> None:
    with MeterProcess(measuring_core(), quick) as child:
        pid = child.pid
    assert wait_until_dead(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_child_dies_with_its_parent_even_in_mid_job(tmp_path: Path, network: bytes, endless_network: bytes) -> None:
    (tmp_path / "endless").write_bytes(endless_network)
    (tmp_path / "network").write_bytes(network)
    program = (
        "import sys, pathlib; from latency.meter_process import MeterProcess\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with MeterProcess(None) as process:\n"
        "    print(process.pid, flush=True)\n"
        "    process.measure((folder / 'endless').read_bytes(), (folder / 'network').read_bytes())\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # a measuring lock of its own
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    assert wait_until_dead(pid)


def test_child_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latency.meter_process._PACKAGE_ROOT", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MeasuringError, match="did not start"), MeterProcess(None):
        pass


def test_timeout_must_exceed_the_budget() -> None:
    with pytest.raises(ValueError, match="does not exceed"):
        MeterProcess(None, MeterSettings(budget_s=5), timeout_s=5)


def test_child_needs_nothing_but_numpy_and_onnxruntime() -> None:
    program = "import sys, latency.measuring_process; print('\\n'.join(sys.modules))"
    root = Path(__file__).parents[2]
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    tops = {name.partition(".")[0] for name in listed.stdout.split()}
    assert tops.isdisjoint(
        {"torch", "ray", "onnx", "pandas", "pydantic", "psutil", "search_spaces", "controllers", "nas"}
    )


def test_calibration_freezes_the_reference(process: MeterProcess, network: bytes, larger_network: bytes) -> None:
    reference, sessions = calibrate(process, network, num_sessions=2)
    assert reference.reference_ms > 0
    assert len(sessions) == 2
    latency = reference.latency(process.measure(larger_network, network))
    assert latency.latency_ms == pytest.approx(latency.ratio * reference.reference_ms)
    assert latency.source == "measured"
    with pytest.raises(ValueError, match="measured against"):
        reference.latency(process.measure(network, larger_network))


def test_calibration_on_a_corrupt_model_is_an_error(process: MeterProcess) -> None:
    with pytest.raises(MeasuringError):
        calibrate(process, b"not a model")
    with pytest.raises(ValueError, match="at least 1"):
        calibrate(process, b"", num_sessions=0)
