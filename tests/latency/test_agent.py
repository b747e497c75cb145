"""The agent without a server: what it needs, what it refuses, and how it waits. Whole ones run in tests/nas/devices."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

import httpx
import pytest

from latency.agent import Agent, main
from latency.agent_bench import Bench, died
from latency.agent_client import (
    RefusedError,
)
from latency.deployment import Deployment
from latency.measurement import Measurement
from latency.meter import MeterSettings

ROOT = Path(__file__).parents[2]
NEEDED = ("numpy", "onnxruntime", "httpx")

_BLOCKING = """
import sys
allowed = {allowed!r} | set(sys.stdlib_module_names) | {{"latency"}}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ImportError(f"{{name}} is not on the device")
sys.meta_path.insert(0, Block())
import latency.agent, latency.measuring_process
print("imported")
"""


def _closure(names) -> set[str]:
    """Distributions that these require, by default and on this interpreter, with themselves."""
    found, todo = set(), list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement, _, marker = text.partition(";")
            if "extra" not in marker and not re.search(r'python_version\s*<\s*"3\.(\d|1[01])"', marker):
                todo.append(re.match(r"[A-Za-z0-9._-]+", requirement).group())
    return found


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _tops(distributions) -> set[str]:
    """First parts of the paths that distributions install to."""
    files = [file for name in distributions for file in importlib.metadata.files(name) or []]
    return {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}


def test_imports_nothing_that_a_device_lacks():
    names = {top.removesuffix(".py") for top in _tops(filter(_installed, _closure(NEEDED)))}
    code = _BLOCKING.format(allowed=names - {"onnx", "pydantic", "torch", "ray", "search_spaces", "nas", "tenacity"})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.returncode) == ("imported\n", 0), done.stderr


def test_the_block_blocks():
    code = _BLOCKING.format(allowed={"numpy"})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "is not on the device" in done.stderr


def test_measures_in_an_environment_of_three_packages(tmp_path, network):
    """The packages are linked from this environment, so that the test needs no network."""
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name in filter(_installed, _closure(NEEDED)):
        distribution = importlib.metadata.distribution(name)
        for top in _tops([name]):
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "latency").symlink_to(ROOT / "latency")  # as an installation without dependencies has it, and no more of us
    (site / "ours.pth").write_text(f"{ours}\n")
    (tmp_path / "network").write_bytes(network)
    code = (
        "import pathlib, sys, latency.agent\n"
        "from latency.agent_bench import Bench\n"
        "from latency.meter import MeterSettings\n"
        "settings = MeterSettings(budget_s=0.1, session_s=0.02, block_s=0.002, warmup_s=0.005)\n"
        "job = {'kind': 'measure', 'deployment': None, 'candidate': 'a', 'reference': 'a', 'seed': 0,\n"
        "       'fresh_process': True, 'settings': settings.to_dict()}\n"
        "model = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "with Bench(None, 60.0) as bench:\n"
        "    report = bench.do(job, lambda sha256: model)\n"
        "print(report['kind'], report['answer']['status'] != 'failed', 'pydantic' in sys.modules)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": ""}
    command = [str(tmp_path / "venv" / "bin" / "python"), "-c", code, str(tmp_path / "network")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.stdout == "measurement True False\n", done.stderr


JOB = {"deployment": None, "candidate": "c", "reference": "r", "seed": 0, "fresh_process": False, "num_runs": 2}


@pytest.fixture(scope="module")
def bench():
    with Bench(None, 60.0) as made:
        yield made


def settings(quick: MeterSettings) -> dict:
    return quick.to_dict()


def test_bench_measures(bench, network, quick):
    report = bench.do({**JOB, "kind": "measure", "settings": settings(quick)}, lambda _: network)
    assert (report["kind"], report["crashed"]) == ("measurement", False)
    assert Measurement.from_dict(report["answer"]).status != "failed"


def test_bench_describes_the_deployment(bench):
    threads = Deployment(resolution=96).to_dict()
    report = bench.do({**JOB, "kind": "describe", "deployment": threads}, lambda _: b"")
    assert (report["kind"], report["answer"]["resolution"]) == ("device", 96)


def test_invalid_candidate_is_a_result_and_no_crash(bench, network, quick):
    models = {"c": b"not a model", "r": network}
    report = bench.do({**JOB, "kind": "measure", "settings": settings(quick)}, models.__getitem__)
    assert (report["kind"], report["answer"]["status"], report["crashed"]) == ("measurement", "failed", False)


def test_invalid_reference_is_an_error(bench, network, quick):
    models = {"r": b"not a model", "c": network}
    report = bench.do({**JOB, "kind": "measure", "settings": settings(quick)}, models.__getitem__)
    assert (report["kind"], report["crashed"]) == ("error", False)


def test_deployment_that_cannot_run_is_no_fault_of_the_device(bench):
    absent = Deployment(provider="NoSuchExecutionProvider").to_dict()
    assert bench.do({**JOB, "kind": "describe", "deployment": absent}, lambda _: b"")["kind"] == "error"


def test_traces_and_untraceable_models(bench, network):
    assert bench.do({**JOB, "kind": "trace"}, lambda _: network)["kind"] == "trace"
    assert bench.do({**JOB, "kind": "trace"}, lambda _: b"not a model")["kind"] == "error"


def test_timeouts_are_no_deaths():
    assert died("the measuring process was killed by signal 11")
    assert not died("no answer in 60 s")
    assert not died(None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (["--token-file", "nowhere"], "No such file"),
        (["--token-file", "empty"], "holds no token"),
        (["--server", "http://10.0.0.2"], "--insecure"),
        (["--server", "https://10.0.0.2", "--ca-file", "empty"], "not a certificate file"),
        (["--name", "../x"], "letters, digits"),
        (["--timeout", "0"], "must be positive"),
        (["--timeout", "nan"], "must be positive and finite"),
        (["--token-file", "readable"], "chmod 600 readable"),
        (["--server", "http://127.0.0.1:99999"], "give it as https://HOST:PORT"),
        (["--server", "http://[::1"], "give it as https://HOST:PORT"),
        (["--core", "4000"], "--core 4000: this process may use "),
        (["--core", "-3"], "--core -3: this process may use "),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, change, reason):
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("")
    Path("token").write_text("nas-x\n")
    Path("token").chmod(0o600)
    Path("readable").write_text("nas-x\n")
    Path("readable").chmod(0o644)
    Path("empty").chmod(0o600)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    arguments = [
        "--server",
        "http://127.0.0.1:1",
        "--token-file",
        "token",
        "--pool",
        "boards",
        "--name",
        "one",
        *change,
    ]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("latency.agent: ")
    assert reason in line


class OneJob:
    """A server that gives one job and answers its reports as told."""

    def __init__(self, answers) -> None:
        self.answers, self.reports = answers, []

    def report(self, job, attempt, report, *, once=False):
        self.reports.append(report["kind"])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def heartbeat(self, job, attempt):
        raise httpx.DecodingError("garbage")


@pytest.mark.parametrize(
    ("answers", "reports"),
    [
        (["accepted"], ["device"]),
        ([RefusedError(401, "no such token")], ["device"]),
        ([RefusedError(422, "odd"), "accepted"], ["device", "fault"]),
        ([RefusedError(422, "odd"), RefusedError(404, "gone")], ["device", "fault"]),
    ],
)
def test_no_answer_to_a_report_ends_the_agent(answers, reports):
    class Fake:
        def do(self, request, get_model):
            time.sleep(0.02)  # some heartbeats long, which all fail
            return {"kind": "device", "answer": {}}

    server = OneJob(answers)
    agent = Agent(server, Fake())
    agent._heartbeat_s = 0.002
    agent._do({"job": "1" * 32, "attempt": 1, "request": {"kind": "describe"}, "model_bytes": {}})
    assert server.reports == reports
