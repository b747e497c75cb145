from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency.cores import measuring_core
from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.estimator import Goal
from latency.measurement import Measurement, sessions_from_lists
from latency.measuring_process import Worker
from latency.meter import GRADES, Grade, MeterSettings
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


def test_measures(process: MeterProcess, quick: MeterSettings, network: bytes, larger_network: bytes) -> None:
    found = process.measure(larger_network, network, quick)
    assert found.status != "failed"
    assert found.ratio > 1  # 4 times the pixels, 4 times the weights: no machine disagrees
    assert found.num_pairs + found.num_rejected == sum(map(len, found.sessions))
    assert found.device == process.device.key
    assert found.environment["core"] == process.core
    assert found.environment["total_s"] > 0
    assert Measurement.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_describes_the_device(process: MeterProcess) -> None:
    assert process.device == DeviceInfo.collect()
    assert process.pid != os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are pinned on Linux only")
def test_child_is_pinned_and_parent_is_not_moved(process: MeterProcess) -> None:
    assert os.sched_getaffinity(process.pid) == {measuring_core()}
    assert process.core == measuring_core()


def test_core_that_does_not_exist_is_reported_as_unpinned() -> None:
    with MeterProcess(4095) as child:
        assert child.core is None


def test_sessions_go_on_until_the_goal(process: MeterProcess, quick: MeterSettings, network: bytes) -> None:
    loose = replace(quick, budget_s=30)  # neither ends by its budget
    few = process.measure(network, network, loose)
    many = process.measure(network, network, replace(loose, goal=Goal(half_width=0.9, min_sessions=7)))
    assert len(few.sessions) >= 2
    assert len(many.sessions) >= 7
    assert min(len(session) for session in (*few.sessions, *many.sessions)) >= 2


def test_reference_travels_once_and_may_change(
    process: MeterProcess,
    quick: MeterSettings,
    network: bytes,
    larger_network: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, list[int]]] = []
    ask = MeterProcess._ask

    def spy(self: MeterProcess, job: dict[str, Any], *models: bytes, budget_s: float = 0.0) -> dict[str, Any]:
        if job["kind"] == "measure":
            sent.append((job["reference_bytes"], [len(model) for model in models]))
        return ask(self, job, *models, budget_s=budget_s)

    monkeypatch.setattr(MeterProcess, "_ask", spy)
    process.close()  # a new child knows no reference
    same = [process.measure(network, network, quick) for _ in range(2)]
    other = process.measure(network, larger_network, quick)
    fresh = process.measure(network, larger_network, quick, fresh_process=True)
    assert [m.status == "failed" for m in (*same, other, fresh)] == [False] * 4
    assert other.ratio < 1 < same[0].ratio * 2
    small, large = len(network), len(larger_network)
    assert sent == [(small, [small, small]), (0, [small, 0]), (large, [small, large]), (large, [small, large])]


class TestWorker:
    """What the child does with a job, without a child."""

    @staticmethod
    def do(worker: Worker, candidate: bytes, reference: bytes, settings: MeterSettings, sha256: str = "r") -> Any:
        job = {
            "kind": "measure",
            "candidate_bytes": len(candidate),
            "reference_sha256": sha256,
            "reference_bytes": len(reference),
            "settings": settings.to_dict(),
            "seed": 0,
        }
        return json.loads(json.dumps(worker.do(job, io.BytesIO(candidate + reference))))

    def test_keeps_the_reference(self, network: bytes, quick: MeterSettings) -> None:
        worker = Worker(Deployment(), [], 0)
        for reference in (network, b""):
            answer = self.do(worker, network, reference, quick)
            assert sessions_from_lists(answer["sessions"])
            assert answer["environment"]["core"] is None

    def test_keeps_it_when_the_candidate_fails(self, network: bytes, quick: MeterSettings) -> None:
        worker = Worker(Deployment(), [], 0)
        assert self.do(worker, b"not a model", network, quick)["model"] == "candidate"
        assert "sessions" in self.do(worker, network, b"", quick)

    def test_failures_name_the_role(self, network: bytes, quick: MeterSettings) -> None:
        worker = Worker(Deployment(), [], 0)
        assert self.do(worker, network, b"not a model", quick)["model"] == "reference"
        assert self.do(worker, b"not a model", network, quick)["model"] == "candidate"
        answer = self.do(worker, network, b"", quick, sha256="another")
        assert answer == {"failed": "reference another was not sent", "model": "reference"}

    def test_other_kinds_of_job(self) -> None:
        worker = Worker(Deployment(), [], 0)
        assert worker.do({"kind": "ping"}, io.BytesIO()) == {}
        answer = worker.do({"kind": "profile", "model_bytes": 3, "num_runs": 1}, io.BytesIO(b"bad"))
        assert answer["model"] == "model"
        with pytest.raises(ValueError, match="unknown kind of job 'dance'"):
            worker.do({"kind": "dance"}, io.BytesIO())


@pytest.mark.parametrize("bad", [b"", b"not a model", b"\x08\x08" * 1000])
def test_corrupt_candidate_fails_alone(process: MeterProcess, quick: MeterSettings, network: bytes, bad: bytes) -> None:
    pid = process.pid
    found = process.measure(bad, network, quick)
    assert (found.status, found.num_pairs) == ("failed", 0)
    assert found.reason is not None
    assert found.reason.startswith("candidate: ONNX Runtime cannot load the model")
    assert process.measure(network, network, quick).status != "failed"
    assert process.pid == pid


def test_truncated_candidate_fails(process: MeterProcess, quick: MeterSettings, network: bytes) -> None:
    assert process.measure(network[: len(network) // 2], network, quick).status == "failed"


def test_free_dimensions_are_refused(
    process: MeterProcess, quick: MeterSettings, network: bytes, dynamic_network: bytes
) -> None:
    found = process.measure(dynamic_network, network, quick)
    assert found.reason is not None
    assert "static shapes are needed" in found.reason


def test_corrupt_reference_is_an_error(process: MeterProcess, quick: MeterSettings, network: bytes) -> None:
    for _ in range(2):  # the second time it must not count as known
        with pytest.raises(MeasuringError, match="reference: ONNX Runtime cannot load the model"):
            process.measure(network, b"not a model", quick)
    assert process.measure(network, network, quick).status != "failed"


def test_hang_ends_with_the_timeout(quick: MeterSettings, network: bytes, endless_network: bytes) -> None:
    with MeterProcess(measuring_core(), timeout_s=2) as child:
        found = child.measure(endless_network, network, quick)
        assert (found.status, found.reason) == ("failed", f"no answer in {2 + 2 * quick.budget_s:g} s")
    with MeterProcess(measuring_core()) as child:
        assert child.measure(network, network, quick).status != "failed"


def test_crash_in_mid_job_fails_and_the_next_job_works(
    quick: MeterSettings, network: bytes, endless_network: bytes
) -> None:
    with MeterProcess(measuring_core()) as child:
        pid = child.pid
        killer = threading.Timer(1, os.kill, (pid, signal.SIGKILL))
        killer.start()
        found = child.measure(endless_network, network, quick)
        killer.join()
        assert (found.status, found.reason) == ("failed", "the measuring process was killed by signal 9")
        assert child.measure(network, network, quick).status != "failed"
        assert child.pid != pid


def test_death_between_jobs_goes_unnoticed(quick: MeterSettings, network: bytes) -> None:
    with MeterProcess(measuring_core()) as child:
        child.measure(network, network, quick)
        pid = child.pid
        os.kill(pid, signal.SIGKILL)
        assert wait_until_dead(pid)
        assert child.measure(network, network, quick).status != "failed"


def test_close_ends_the_child() -> None:
    with MeterProcess(measuring_core()) as child:
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


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), float("nan")])
def test_timeout_must_be_positive(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        MeterProcess(None, timeout_s=timeout_s)


def test_fresh_process_is_another_one(process: MeterProcess, quick: MeterSettings, network: bytes) -> None:
    pid = process.pid
    assert process.measure(network, network, quick).status != "failed"
    assert process.pid == pid
    assert process.measure(network, network, quick, fresh_process=True).status != "failed"
    assert process.pid != pid
    assert wait_until_dead(pid)


def test_child_needs_nothing_but_numpy_and_onnxruntime() -> None:
    program = "import sys, latency.measuring_process; print('\\n'.join(sys.modules))"
    root = Path(__file__).parents[2]
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert "onnxruntime.quantization" not in listed.stdout
    tops = {name.partition(".")[0] for name in listed.stdout.split()}
    assert tops.isdisjoint(
        {"torch", "ray", "onnx", "pandas", "pydantic", "psutil", "search_spaces", "controllers", "nas"}
    )


def test_calibration_freezes_the_reference(
    process: MeterProcess, quick: MeterSettings, network: bytes, larger_network: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRADES, "search", Grade(quick))
    reference, runs = calibrate(process, network, num_processes=2)
    assert reference.reference_ms > 0
    assert len(runs) == 2
    latency = reference.latency([process.measure(larger_network, network, quick)])
    assert latency.latency_ms == pytest.approx(latency.ratio * reference.reference_ms)
    assert latency.source == "measured"
    with pytest.raises(ValueError, match="measured against"):
        reference.latency([process.measure(network, larger_network, quick)])


def test_calibration_on_a_corrupt_model_is_an_error(process: MeterProcess) -> None:
    with pytest.raises(MeasuringError):
        calibrate(process, b"not a model")
