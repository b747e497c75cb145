from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from latency.cores import available_cores, measuring_core
from latency.deployment import CPU_PROVIDER, Deployment
from latency.measurement import Measurement
from latency.meter import MeterSettings
from latency.meter_process import MeasuringError, MeterProcess
from latency.runtime import LoadedModel, ModelRejectedError, options_text, session_options
from latency.system_clock import SystemClock

LACKING = sorted({"CUDAExecutionProvider", "CoreMLExecutionProvider"} - set(ort.get_available_providers()))
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def threads_of(pid: int) -> dict[str, tuple[str, int]]:
    """By thread: the cores that it may use, as the kernel lists them, and the nanoseconds that it has run."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end while we read
            status = (task / "status").read_text()
            allowed = next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))
            found[task.name] = (allowed, int((task / "schedstat").read_text().split()[0]))
    return found


def measured_and_watched(
    child: MeterProcess, model: bytes, settings: MeterSettings
) -> tuple[Measurement, list[tuple[str, int]]]:
    """A measurement of `model` against itself, and what `threads_of` last said of each thread: they end with a session."""
    pid, seen = child.pid, {}
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(child.measure, model, model, replace(settings, session_s=0.1, budget_s=0.4))
        while not job.done():
            seen |= threads_of(pid)
            time.sleep(0.005)
    return job.result(), list(seen.values())


class TestDeployment:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("resolution", 7),
            ("resolution", 224.0),
            ("batch", 0),
            ("batch", True),
            ("num_threads", 0),
            ("num_threads", "2"),
            ("dtype", "int4"),
            ("provider", ""),
            ("provider", None),
        ],
    )
    def test_refuses(self, field: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"{field} {value!r}"):
            Deployment(**{field: value})

    def test_survives_json(self) -> None:
        there = Deployment(resolution=96, batch=4, num_threads=2, dtype="int8", provider="X")
        assert Deployment.from_dict(json.loads(json.dumps(there.to_dict()))) == there
        assert Deployment.from_dict({}) == Deployment()
        with pytest.raises(TypeError):
            Deployment.from_dict({"colour": "red"})

    def test_needs_nothing_but_the_standard_library(self) -> None:
        program = "import sys, latency.deployment; print('\\n'.join(sys.modules))"
        root = Path(__file__).parents[2]
        listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
        tops = {name.partition(".")[0] for name in listed.stdout.split()}
        assert tops.isdisjoint({"numpy", "onnx", "onnxruntime", "torch", "search_spaces"})


class TestSessionOptions:
    def test_threads_and_their_cores(self) -> None:
        options = session_options(Deployment(num_threads=3), pool_cores=(4, 6))
        assert options.intra_op_num_threads == 3
        assert options.get_session_config_entry("session.intra_op_thread_affinities") == "5;7"  # counted from 1

    def test_a_core_for_each_thread_or_none(self) -> None:
        with pytest.raises(ValueError, match="pool cores \\[1\\] for 3 threads: 2 are needed"):
            session_options(Deployment(num_threads=3), pool_cores=(1,))

    def test_text_says_what_is_set(self) -> None:
        text = options_text(Deployment())
        assert text == options_text(Deployment(num_threads=4, batch=2))  # these are fields of their own
        settings = dict(item.split("=") for item in text.split(" "))
        assert settings["mode"] == "ORT_SEQUENTIAL"
        assert settings["optimisation"] == "ORT_ENABLE_ALL"
        assert (settings["intra_op_spinning"], settings["inter_op_spinning"]) == ("0", "0")

    @pytest.mark.skipif(len(ort.get_available_providers()) < 2, reason="this ONNX Runtime has the CPU alone")
    def test_nothing_runs_on_the_cpu_unasked(self, network: bytes) -> None:
        other = Deployment(provider=next(name for name in ort.get_available_providers() if name != CPU_PROVIDER))
        assert session_options(other).get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        # In every build for PCs: it calls remote models and runs no operator.
        if other.provider == "AzureExecutionProvider":
            with pytest.raises(ModelRejectedError, match="fallback to CPU EP has been explicitly disabled"):
                LoadedModel(network, session_options(other), other.provider)


class TestSystemClock:
    def test_cpu_time_tells_nothing_when_others_help(self) -> None:
        assert SystemClock(None, thread_does_all=False).cpu_ns() is None

    @linux
    def test_steal_of_several_cores_is_their_sum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stat = (
            b"cpu  1 1 1 1 1 1 1 9 0 0\ncpu0 1 1 1 1 1 1 1 2 0 0\ncpu1 1 1 1 1 1 1 1 3 0 0\ncpu10 1 1 1 1 1 1 1 4 0 0\n"
        )
        monkeypatch.setattr("os.pread", lambda *_: stat)
        cores: list[tuple[Any, int]] = [(None, 9), ([], 9), (0, 2), ([1], 3), ([0, 1], 5), ([1, 10], 7)]
        assert [SystemClock(given).interruptions()[1] for given, _ in cores] == [ticks for _, ticks in cores]


@pytest.mark.skipif(not LACKING, reason="this ONNX Runtime has them all")
def test_unknown_provider_is_an_error_that_names_the_available_ones() -> None:
    with pytest.raises(MeasuringError, match=f"{LACKING[0]}.*available: .*{CPU_PROVIDER}"):
        MeterProcess(None, Deployment(provider=LACKING[0])).__enter__()


def test_batch_of_two(batch_of_two: bytes, quick: MeterSettings) -> None:
    with MeterProcess(measuring_core(), Deployment(batch=2, resolution=24)) as child:
        assert child.device.deployment == Deployment(batch=2, resolution=24)
        found = child.measure(batch_of_two, batch_of_two, quick)
        assert found.status != "failed"
        assert found.device == child.device.key
        shapes = {tuple(kernel[3][0]) for kernel in child.trace(batch_of_two, 2)["events"]}
    assert {shape[0] for shape in shapes} == {2}


@linux
def test_a_second_thread_joins_in(larger_network: bytes, quick: MeterSettings) -> None:
    # How much the helper gets to do is up to whoever else uses the machine; that it is there is not.
    num_threads = {}
    for number in (1, 2):
        with MeterProcess(None, Deployment(num_threads=number)) as child:
            found, threads = measured_and_watched(child, larger_network, quick)
            assert child.core is None
        assert found.status != "failed"
        num_threads[number] = len(threads)
    assert num_threads[2] > num_threads[1]
    pairs = [pair for session in found.sessions for pair in session]
    assert {block.cpu_ratio for pair in pairs for block in (pair.candidate, pair.reference)} == {None}


@linux
@pytest.mark.skipif(len(available_cores()) < 2, reason="two cores needed")
def test_two_threads_have_a_core_each(network: bytes, quick: MeterSettings) -> None:
    last_two = available_cores()[-2:]
    with MeterProcess(measuring_core(), Deployment(num_threads=2)) as child:
        assert child.core == last_two[-1]
        found, threads = measured_and_watched(child, network, quick)
        assert found.status != "failed"
        assert {str(core) for core in last_two} <= {allowed for allowed, _ in threads}


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latency.meter_process.available_cores", lambda: [0, 1, 5])
    with pytest.raises(ValueError, match=r"num_threads 3 needs as many cores.* 0, 1 of them"):
        MeterProcess(1, Deployment(num_threads=3))
    MeterProcess(5, Deployment(num_threads=3))
    MeterProcess(None, Deployment(num_threads=3))  # unpinned: up to the system


@linux
def test_a_thread_without_its_core_leaves_all_unpinned() -> None:
    cores = available_cores()
    with MeterProcess(4095, Deployment(num_threads=2)) as child:  # the system would grant the other one alone
        assert child.core is None
        assert os.sched_getaffinity(child.pid) == set(cores)
