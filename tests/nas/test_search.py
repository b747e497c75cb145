"""The program as a user runs it: real processes, real Ray, real training, a real meter, real kills."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest
import torch
from safetensors.torch import load_file

from latency.measurement import Measurement
from nas.data import load_dataset
from nas.data_tensors import prepare
from search_spaces.arch_json import arch_from_json
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.nas.searching import OPEN, Search, journal, num_journalled
from tests.nas.test_tensorboard_curves import curves

pytestmark = pytest.mark.timeout(300)

TRIALS = 4
SMALL = [
    *("--set", f"trials={TRIALS}"),
    *("--set", "concurrency=2"),
    *("--set", "controller.options={batch_size: 2}"),
]
REAL = [
    *("--set", "data.num_train=300", "--set", "data.num_test=100"),
    *("--set", "evaluator.training.epochs=1"),
    *("--set", "latency.resolution=64", "--set", "latency.num_classes=10", "--set", "latency.budget_s=0.5"),
    *("--set", "final.baselines=[mobilenet_v3_small]", "--set", "final.training.epochs=1"),
]


@dataclass(frozen=True)
class Finished:
    run: Path
    output: str
    actors: list[dict[str, str]]
    left_behind: list[psutil.Process]


def _actors(dashboard: str) -> list[dict[str, str]]:
    # Ray protects its dashboard with a token of the user's, which it makes on first use
    command = [str(Path(sys.executable).with_name("ray")), "get-auth-token", "--generate"]
    token = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
    request = urllib.request.Request(
        f"{dashboard}/api/v0/actors?detail=1", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, str]] = json.load(answer)["data"]["result"]["result"]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    run = tmp_path_factory.mktemp("runs") / "real"
    search = Search("search", "--out", str(run), *SMALL, *REAL)
    try:
        head = ""
        assert search.process.stdout is not None
        while "dashboard" not in head:
            line = search.process.stdout.readline()
            assert line, head
            head += line
        match = re.search(r"http://\S+", head)
        assert match, head
        search.wait_until(lambda: num_journalled(run) >= 1)
        actors = _actors(match.group(0))
        status, output = search.wait()
        assert status == 0, output
        search.wait_until_gone()
        yield Finished(run, head + output, actors, search.processes())
    finally:
        search.kill_everything()


def _recorded(finished: Finished, out: Path, *more: str, **options: Any) -> Search:
    run = finished.run
    sources = [f"{section}.{key}" for section in ("evaluator", "latency") for key in ("name=recorded", f"run={run}")]
    return Search(
        "search",
        "--out",
        str(out),
        *SMALL,
        *REAL,
        "--set",
        "final=null",
        *(w for s in sources for w in ("--set", s)),
        *more,
        **options,
    )


def test_every_trial_is_trained_and_measured(finished: Finished) -> None:
    trials = journal(finished.run)
    assert [t["number"] for t in trials] == list(range(TRIALS))
    assert len({t["key"] for t in trials}) == TRIALS
    for trial in trials:
        assert trial["status"] == "ok"
        assert 0 <= trial["accuracy"] <= 1
        assert trial["latency"]["source"] == "measured"
        assert trial["reward"] == pytest.approx(
            trial["accuracy"] * (trial["latency"]["latency_ms"] / _target_ms(finished.run)) ** -0.07
        )


def _target_ms(run: Path) -> float:
    device = json.loads((run / "environment.json").read_text())["calibration"]["devices"]["local"]
    assert device["reference_ms"] > 0
    assert device["device"]["resolution"] == 64
    return float(device["target_ms"])


def test_raw_samples_are_kept(finished: Finished) -> None:
    records = [json.loads(line) for line in (finished.run / "latency.jsonl").read_text().splitlines()[1:]]
    by_trial = {record["trial"]: record for record in records if record["trial"] is not None}
    assert sorted(by_trial) == list(range(TRIALS))
    for trial in journal(finished.run):
        record = by_trial[trial["number"]]
        assert record["arch"] == trial["arch"]
        assert record["device"] == "local"
        (measurement,) = map(Measurement.from_dict, record["measurements"])
        assert measurement.sessions
        assert measurement.ratio == trial["latency"]["ratio"]


def test_a_trial_is_an_actor_called_after_its_network(finished: Finished) -> None:
    trials = {t["number"]: t["arch"] for t in journal(finished.run)}
    shown = [a["repr_name"] for a in finished.actors if a["class_name"] == "CandidateTrial" and a["repr_name"]]
    assert shown
    for text in shown:
        match = re.fullmatch(r"trial (\d+) (.*)", text)
        assert match, text
        assert trials[int(match.group(1))] == match.group(2)
    assert any("latency meter" in a["repr_name"] for a in finished.actors)


def test_the_winner_is_exported_with_its_weights(finished: Finished) -> None:
    best = finished.run / "best"
    arch = arch_from_json(json.loads((best / "arch.json").read_text()))
    winner = max(journal(finished.run), key=lambda t: t["reward"])
    assert arch == parse_arch(winner["arch"])
    module = build_module(lower(arch, 32, 10), seed=1)
    module.load_state_dict(load_file(best / "weights.safetensors"))
    module.eval()
    images = prepare(load_dataset("digits"), 32, "test")
    batch = images.normalised(images.images[:4])
    session = onnxruntime.InferenceSession(best / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = module(batch).numpy()
    found = np.concatenate([session.run(None, {"input": x[None].numpy()})[0] for x in batch.contiguous()])
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == [str(d) for d in range(10)]


def test_finalists_are_compared(finished: Finished) -> None:
    final = json.loads((finished.run / "final.json").read_text())
    assert [f["name"] for f in final["finalists"]] == ["winner", "mobilenet_v3_small"]
    for finalist in final["finalists"]:
        assert finalist["num_test"] == 100
        assert finalist["latency"]["latency_ms"] > 0
    assert sum(final["winner_kernel_us"].values()) > 0
    assert any(name.startswith("b1.l1") for name in final["winner_kernel_us"])


def test_it_says_what_it_wrote(finished: Finished) -> None:
    for name in ("best/arch.json", "best/model.onnx", "pareto.csv", "report.html"):
        assert (finished.run / name).stat().st_size > 0
        assert name in finished.output
    assert "MobileNetV3" in finished.output or "mobilenet_v3_small" in finished.output


def test_nothing_of_ours_is_left_running(finished: Finished) -> None:
    assert finished.left_behind == []


STOP_AFTER_TWO = """
import time
import nas.run

append, kept = nas.run.Run.append, []

def append_two(run, trial):
    while len(kept) == 2:  # recorded trials take no time: without this the search would be over before it is killed
        time.sleep(1)
    append(run, trial)
    kept.append(trial)

nas.run.Run.append = append_two
"""


SAYS_WHO_LISTENS = """
import atexit, signal
atexit.register(lambda: print("control-C:", signal.getsignal(signal.SIGINT)))
"""


def test_killed_anywhere_it_ends_as_if_nothing_had_happened(finished: Finished, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    search = _recorded(finished, run, prelude=STOP_AFTER_TWO)
    search.wait_until(lambda: num_journalled(run) == 2)
    search.kill_everything()
    before = (run / "trials.jsonl").read_bytes()
    with (run / "trials.jsonl").open("ab") as file:
        file.write(b'{"number": 2, "cho')  # what a kill in the middle of a write leaves
    resumed = Search("search", "--resume", str(run), prelude=SAYS_WHO_LISTENS)
    try:
        status, output = resumed.wait()
    finally:
        resumed.kill_everything()
    assert status == 0, output
    assert "default_int_handler" in output.splitlines()[-1]  # Ray Tune's would swallow what comes after the trials
    assert (run / "trials.jsonl").read_bytes().startswith(before)
    assert journal(run) == journal(finished.run)
    shown = [step for step, _ in curves(run)["search/reward"]]
    assert shown == list(range(TRIALS))  # nothing twice


def test_a_dead_trial_is_recorded_and_ctrl_c_leaves_a_resumable_run(tmp_path: Path) -> None:
    run = tmp_path / "interrupted"
    endless = ("--set", "evaluator.training.epochs=100000", "--set", "final=null")
    search = Search("search", "--out", str(run), *SMALL, *REAL, *endless)

    def kill_a_trial_in_training() -> bool:
        for process in search.processes():
            with contextlib.suppress(psutil.Error):
                if any("CandidateTrial.train" in word for word in process.cmdline()):
                    process.kill()
                    return True
        return False

    try:
        search.wait_until(kill_a_trial_in_training)
        search.wait_until(lambda: num_journalled(run) >= 1)
        search.interrupt()
        status, output = search.wait()
        search.wait_until_gone()
        assert search.processes() == []
    finally:
        search.kill_everything()
    assert status == 130, output
    assert f"--resume {run}" in output
    (dead,) = journal(run)
    assert dead["status"] == "failed"
    assert "process died" in dead["reason"]
    assert dead["reward"] == 0.0


def test_failures_in_a_row_stop_the_search(finished: Finished, cluster: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "trials.jsonl").write_bytes((finished.run / "trials.jsonl").read_bytes().splitlines(keepends=True)[0])
    status, output = _recorded(
        finished,
        tmp_path / "failing",
        *("--set", f"evaluator.run={empty}", "--set", "trials=40", "--set", "seed=7"),
        *("--ray-address", cluster),
        prelude="import nas.study; nas.study.MAX_FAILURES_IN_A_ROW = 3",  # it is 10, and each costs a process
        variables=OPEN,
    ).finish()
    assert status == 2, output
    assert "3 trials in a row failed" in output
    assert "has no latency of" in output  # a network that has none is not trained
    assert 3 <= num_journalled(tmp_path / "failing") <= 5


def test_a_replay_arrives_at_the_same_networks(finished: Finished, nas: Callable[..., tuple[int, str, str]]) -> None:
    before = {path: path.read_bytes() for path in finished.run.glob("*") if path.is_file()}
    code, printed, _ = nas("replay", finished.run, "--json")
    assert code == 0
    found = json.loads(printed)
    assert found["identical"]
    assert found["complete"]
    assert found["num_suggestions"] == TRIALS
    assert found["arch"] == json.loads((finished.run / "final.json").read_text())["finalists"][0]["arch"]
    assert {path: path.read_bytes() for path in finished.run.glob("*") if path.is_file()} == before


def _with_first_trial(run: Path, copy: Path, **changes: Any) -> Path:
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("ray"))
    header, first, *others = (copy / "trials.jsonl").read_text().splitlines()
    trial = json.loads(first) | changes
    (copy / "trials.jsonl").write_text("\n".join([header, json.dumps(trial), *others]) + "\n")
    return copy


def test_a_replay_finds_what_was_changed(
    finished: Finished, tmp_path: Path, nas: Callable[..., tuple[int, str, str]]
) -> None:
    """An accuracy that does not give its reward; choices that this controller does not make."""
    first = json.loads((finished.run / "trials.jsonl").read_text().splitlines()[1])
    for name, changes in (
        ("reward", {"accuracy": 0.123}),
        ("suggest", {"choices": first["choices"] | {next(iter(first["choices"])): "other"}}),
    ):
        code, printed, _ = nas("replay", _with_first_trial(finished.run, tmp_path / name, **changes))
        assert code == 1
        assert f"trial {first['number']}" in printed
        assert name in printed


def test_the_winner_measured_and_trained_again(finished: Finished, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.run, copy, ignore=shutil.ignore_patterns("ray"))
    status, output = Search("replay", str(copy), "--remeasure", "--json").finish()
    assert status == 0, output
    found = json.loads(output[output.index("{") :])
    assert found["identical"]
    assert found["again"]["seed"] == found["recorded"]["seed"] + 1
    recorded, again = found["recorded"]["latency"], found["again"]["latency"]
    assert found["latency_change"] == pytest.approx(again["latency_ms"] / recorded["latency_ms"] - 1)
    assert 0 <= found["again"]["num_correct"] <= found["again"]["num_test"] == found["recorded"]["num_test"]
    assert (copy / "remeasured").is_dir()


def test_a_replay_needs_a_run(tmp_path: Path, nas: Callable[..., tuple[int, str, str]]) -> None:
    code, _, error = nas("replay", tmp_path)
    assert code == 2
    assert error.count("\n") == 1
    assert "not a run folder" in error
