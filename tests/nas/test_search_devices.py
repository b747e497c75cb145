"""Whole searches on this machine and others: of a Ray cluster and behind a server (here: this one again)."""

from __future__ import annotations

import json
import shutil
from statistics import fmean

import pandas as pd
import pytest

from latency.measurement import Measurement
from nas.trial import pareto_front, read_trials
from tests.nas.devices.conftest import Processes
from tests.nas.priced import accuracy_of, arguments, record_accuracies, suggested
from tests.nas.searching import OPEN, Search, in_turn

pytestmark = pytest.mark.timeout(300)

TRIALS = 3
TARGETS_MS = {"here": 0.5, "phone": 0.25}
DEVICES = "[{name: here}, {name: phone, ray: pixels, target: 0.25ms}]"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    record_accuracies(folder / "accuracies", suggested(TRIALS))
    return folder


def searching_on(cluster, *arguments):
    """Words of a search that joins the cluster."""
    return ["search", "--ray-address", cluster, *map(str, arguments)]


def search_on(cluster, *arguments):
    """Exit status and output of such a search."""
    return Search(*searching_on(cluster, *arguments), variables=OPEN).finish()


def setting(made, devices, trials=TRIALS, **latency):
    return [*arguments(trials, made / "accuracies", devices=devices, **latency), "--set", "objective.target=0.5ms"]


@pytest.fixture(scope="module")
def finished(made, cluster):
    run = made / "run"
    status, output = search_on(cluster, "--out", str(run), *setting(made, DEVICES, over_devices="each"))
    assert status == 0, output
    return run, output


def test_every_network_is_measured_on_every_device(finished):
    run, _ = finished
    trials = read_trials(run / "trials.jsonl")
    assert [trial.number for trial in trials] == list(range(TRIALS))
    for trial in trials:
        assert trial.status == "ok"
        assert list(trial.device_latencies) == ["here", "phone"]
        assert trial.latency == trial.device_latencies["here"]
        own = [x.latency_ms / TARGETS_MS[name] for name, x in trial.device_latencies.items()]
        assert trial.reward == pytest.approx(accuracy_of(trial.number) * fmean(ratio**-0.07 for ratio in own))
    records = [json.loads(line) for line in (run / "latency.jsonl").read_text().splitlines()[1:]]
    assert {(r["trial"], r["device"]) for r in records} == {(n, d) for n in range(TRIALS) for d in TARGETS_MS}
    for record in records:
        latency = trials[record["trial"]].device_latencies[record["device"]]
        (measurement,) = map(Measurement.from_dict, record["measurements"])
        assert measurement.ratio == latency.ratio == record["latency"]["ratio"]


def test_both_devices_are_frozen(finished):
    run, output = finished
    devices = json.loads((run / "environment.json").read_text())["calibration"]["devices"]
    assert {name: device["target_ms"] for name, device in devices.items()} == TARGETS_MS
    assert all(device["reference_ms"] > 0 and device["device"]["cpu"] for device in devices.values())
    assert "target    0.250 ms (0.25ms) on phone" in output


def test_each_device_has_its_front(finished):
    run, output = finished
    frame, trials = pd.read_csv(run / "pareto.csv"), read_trials(run / "trials.jsonl")
    for name in TARGETS_MS:
        assert f"Pareto front on {name}" in output
        rows = frame[frame["device"] == name]
        alone = {t.number: t.device_latencies[name].latency_ms for t in trials}
        beaten = [
            t.number
            for t in trials
            if any(o.accuracy > t.accuracy and alone[o.number] < alone[t.number] for o in trials)
        ]
        assert set(rows["trial"]) == set(alone) - set(beaten)
        assert list(rows["latency_ms"]) == pytest.approx(sorted(alone[n] for n in rows["trial"]))
    page = (run / "report.html").read_text()
    assert "Device here" in page
    assert "Device phone" in page


def test_a_record_of_two_devices_is_searched_again_over_the_worst(finished, made, cluster, tmp_path):
    run, _ = finished
    again = tmp_path / "again"
    recorded = [*arguments(2, run, name="recorded", run=run, over_devices="worst"), "--set"]
    status, output = search_on(cluster, "--out", str(again), *recorded, "objective.target=0.5ms")
    assert status == 0, output
    for old, new in zip(read_trials(run / "trials.jsonl")[:2], read_trials(again / "trials.jsonl"), strict=True):
        assert new.device_latencies == old.device_latencies
        ratio = max(x.latency_ms / TARGETS_MS[name] for name, x in new.device_latencies.items())
        assert new.latency.latency_ms == pytest.approx(0.5 * ratio)
        assert new.reward == pytest.approx(new.accuracy * ratio**-0.07)
    assert pareto_front(read_trials(again / "trials.jsonl"))


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """A server, and a device of its pool ``boards``."""
    processes = Processes(tmp_path_factory.mktemp("boards"))
    try:
        processes.serve()
        processes.agent("one")
        yield processes
    finally:
        processes.stop()


def board(processes, token_file):
    return f"[{{name: board, server: '{processes.url}', pool: boards, token_file: {token_file}}}]"


def test_a_board_behind_a_server(made, cluster, boards, tmp_path):
    token_file = tmp_path / "client"
    token_file.write_text(boards.client_token)
    run = tmp_path / "run"
    status, output = search_on(cluster, "--out", str(run), *setting(made, board(boards, token_file), trials=1))
    assert status == 0, output
    trials = read_trials(run / "trials.jsonl")
    assert [(t.status, t.latency.source, t.device_latencies) for t in trials] == [("ok", "measured", {})]
    records = [json.loads(line) for line in (run / "latency.jsonl").read_text().splitlines()[1:]]
    assert [record["device"] for record in records] == ["board"]
    files = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert files
    assert not any(boards.client_token.encode() in content for content in files)


@pytest.fixture(scope="module")
def refused(made, cluster, finished, boards):
    """Searches that end before their first trial."""
    run, _ = finished
    moved = made / "moved"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("ray"))
    document = json.loads((run / "environment.json").read_text())
    document["calibration"]["devices"]["phone"]["device"]["cpu"] = "abacus"
    (moved / "environment.json").write_text(json.dumps(document))
    commands = {
        "moved": ["--resume", moved],
        "no pool": ["--out", made / "a", *setting(made, "[{name: a, ray: phones}]")],
        "token": ["--out", made / "b", *setting(made, board(boards, boards.token_file))],  # a device's, not a client's
    }
    found = in_turn(*(searching_on(cluster, *command) for command in commands.values()))
    return dict(zip(commands, found, strict=True))


def test_resumed_on_another_device_it_is_refused(refused, made):
    status, output = refused["moved"]
    assert status == 2, output
    assert f"{made / 'moved'}: device 'phone' is another than the run began on (cpu: " in output
    assert ", abacus there)" in output


def test_a_pool_that_nobody_belongs_to(refused):
    status, output = refused["no pool"]
    assert status == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("nas: ")]
    assert "'a': no machine of the Ray cluster offers pool 'phones'; pools there: pixels; " in line
    assert line.endswith("""ray start --address HOST:PORT --resources '{"latency:phones": 1}'""")


def test_a_server_that_refuses_the_token(refused, boards):
    status, output = refused["token"]
    assert status == 2, output
    assert f"nas: device board: {boards.url}: " in output
