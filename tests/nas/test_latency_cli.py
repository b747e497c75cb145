from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.device_record import BadRecordError, find_record
from latency.meter import GRADES
from nas.errors import UserError
from nas.latency_cli import latency_app
from tests.latency.conftest import QUICK

SMALL = "stem_k3_s22_o8_hswish r1_k3_s11_e3_i8_o8_se0.25 head_o16"
FAST = ["--resolution", "32", "--num-classes", "10", "--reference", SMALL]
runner = CliRunner()


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither this machine's record nor its measuring lock, and short measurements in as many processes as ever."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, grade in GRADES.items():
        monkeypatch.setitem(GRADES, name, replace(grade, settings=QUICK))
    return tmp_path / "state"


def run(*arguments: str) -> str:
    result = runner.invoke(latency_app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def records(state: Path) -> list[Path]:
    return sorted((state / "nas" / "latency").glob("*.json"))


@pytest.mark.parametrize("grade", ["search", "final"])
def test_measure(grade: str) -> None:
    (row,) = run_json("measure", SMALL, "--grade", grade, *FAST)
    assert set(row) == {"arch", "latency_ms", "interval_ms", "ratio", "status"}
    low, high = row["interval_ms"]
    assert low <= row["latency_ms"] <= high
    assert 0.5 < row["ratio"] < 2  # the reference itself: 1, on whatever machine
    assert row["status"] in ("ok", "wide", "unstable")


@pytest.mark.parametrize("options", [["--dtype", "int8"], ["--batch", "2"]])
def test_measure_other_deployments(options: list[str]) -> None:
    (row,) = run_json("measure", SMALL, *FAST, *options)
    assert row["latency_ms"] > 0


def test_check_says_what_it_means_is_kept_for_one_deployment_and_used(own_state: Path) -> None:
    assert not records(own_state)
    text = run("check", "--arch", SMALL, "--pairs", "2", *FAST)
    assert "95th percentile" in text
    (path,) = records(own_state)
    document = json.loads(path.read_text())
    sha256, device = document["reference_sha256"], DeviceInfo.collect(Deployment(resolution=32))
    assert find_record(path.parent, device, sha256)
    assert find_record(path.parent, DeviceInfo.collect(Deployment(resolution=32, batch=2)), sha256) is None
    assert find_record(path.parent, device, "0" * 64) is None

    measured_ms = document["reference_ms"]
    path.write_text(json.dumps({**document, "reference_ms": 1000 * measured_ms}))
    (row,) = run_json("measure", SMALL, *FAST)
    assert row["latency_ms"] > 100 * measured_ms  # the record's figure, not one of its own
    for damaged in ("{", json.dumps({**document, "version": 7})):
        path.write_text(damaged)
        with pytest.raises(BadRecordError):
            find_record(path.parent, device, sha256)
        with pytest.raises(UserError, match="nas latency check"):
            run("measure", SMALL, *FAST)


def test_check_as_json() -> None:
    found = run_json("check", "--arch", SMALL, "--pairs", "2", *FAST)
    assert set(found) == {"p95_abs_log_ratio", "num_pairs", "status"}
    assert found["num_pairs"] == 2
    assert found["p95_abs_log_ratio"] >= 0
    assert found["status"] in ("ok", "coarse", "unstable")


def test_profile_names_operations() -> None:
    kernels = run_json("profile", SMALL, "--resolution", "32", "--num-classes", "10")
    origins = {(kernel["origin"] or "").partition("/")[0] for kernel in kernels}
    assert {"stem", "b1.l1.depthwise", "b1.l1.se.gate", "classifier"} <= origins
    assert all(kernel["median_us"] >= 0 for kernel in kernels)
    text = run("profile", SMALL, "--resolution", "32", "--num-classes", "10")
    assert "b1.l1.depthwise" in text
    assert "█" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", "mobilenet_v9"], "mobilenet_v9"),
        (["measure", SMALL, "--provider", "QuantumExecutionProvider"], "CPUExecutionProvider"),
        (["measure", SMALL, "--threads", "4096"], "4096"),
        (["check", "--arch", SMALL, "--reference", "none"], "none"),
    ],
)
def test_user_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(*arguments)


def test_a_network_is_measured_at_the_resolution_that_it_is_made_for(capfd: pytest.CaptureFixture[str]) -> None:
    named = ["mobilenet_v3_small@0.35/32", "mobilenet_v3_small@0.35/64"]
    with pytest.raises(UserError, match="networks made for 32 and 64 px: say which with --resolution, or see nas zoo"):
        runner.invoke(latency_app, ["measure", *named], catch_exceptions=False)
    with pytest.raises(UserError, match="does not fit into 2x2; the input resolution is too small for this network"):
        runner.invoke(latency_app, ["measure", "inception_v3/64"], catch_exceptions=False)
