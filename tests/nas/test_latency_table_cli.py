"""The table's commands against a runtime that is a formula; killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import nas.latency_table as latency_table
from latency.table_file import load_table
from latency.table_journal import journal_path
from nas.errors import UserError
from nas.latency_table import build
from nas.latency_table_cli import estimate_command, table_app
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, SPACE, SyntheticMeter, samples

ROOT = Path(__file__).resolve().parents[2]
ARCH = str(samples(1, seed=0)[0])
SMALL = "r1_k3_s22_e3_i16_o24 r1_k3_s11_e3_i24_o24_se0.25"
SMALL_ARCH = f"stem_k3_s22_o16 {SMALL} head_o64"

app = typer.Typer()
app.add_typer(table_app, name="table")
app.command("estimate")(estimate_command)


@pytest.fixture
def meter(monkeypatch):
    synthetic = SyntheticMeter()

    @contextmanager
    def opened(device, deployment):
        assert (device, deployment) == ("local", synthetic.device.deployment)
        yield synthetic

    monkeypatch.setattr("nas.latency_table_cli.opened_meter", opened)
    monkeypatch.setattr(latency_table, "SPACES", {"tiny": SPACE})
    return synthetic


def run(*arguments, fails=False):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if fails:
        assert isinstance(result.exception, UserError), result.output
        return str(result.exception)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def build_small(out, num=40, **options):
    common = {"space": "tiny", "resolution": 32, "num-classes": NUM_CLASSES, "reference": REFERENCE, "networks": num}
    flags = [part for name, value in {**common, **options}.items() for part in (f"--{name}", value)]
    return run("table", "build", "--out", out, *flags)


def test_build_validate_estimate(meter, tmp_path):
    out = tmp_path / "t.json"
    assert "operations from 60 networks" in build_small(out, 60)
    document = json.loads(run("table", "validate", out, "--networks", 15, "--json"))
    assert list(document) == ["mape", "within_5_percent", "kendall_tau", "num_networks"]
    assert document["mape"] < 0.005
    assert document["within_5_percent"] == 1.0
    assert document["kendall_tau"] > 0.95
    assert document["num_networks"] == 15
    stored = load_table(out).validation
    assert stored is not None
    assert stored.mape == document["mape"]
    assert "worst networks" in run("table", "validate", out, "--networks", 5, "--seed", 1)
    (row,) = json.loads(run("estimate", ARCH, "--table", out, "--json"))
    assert list(row) == ["arch", "latency_ms", "interval_ms", "interpolated", "source"]
    assert row["arch"] == ARCH
    assert row["interval_ms"][0] < row["latency_ms"] < row["interval_ms"][1]
    assert isinstance(row["interpolated"], bool)
    assert row["source"] == "table"
    assert "ms" in run("estimate", ARCH, "--table", out)


def test_a_longer_build_goes_on(meter, tmp_path):
    out = tmp_path / "t.json"
    build_small(out, 4)
    lines = journal_path(out).read_text().splitlines()
    calibrations = meter.num_measured - 4
    build_small(out, 7)
    assert journal_path(out).read_text().splitlines()[: len(lines)] == lines
    assert meter.num_measured - calibrations == 7  # the frozen time of the reference is kept
    assert len(load_table(out).networks) == 7
    build_small(out, 7)
    assert len(load_table(out).networks) == 7


def test_no_time_is_enough_for_the_least(meter, tmp_path):
    build_small(tmp_path / "t.json", 50, minutes=0)
    assert len(load_table(tmp_path / "t.json").networks) == latency_table.MIN_NETWORKS


def test_widths_of_one_network(meter, tmp_path):
    out = tmp_path / "t.json"
    flags = ("--resolution", 32, "--num-classes", NUM_CLASSES, "--reference", REFERENCE)
    run("table", "build", "--arch", SMALL_ARCH, "--out", out, "--networks", 60, *flags)
    document = json.loads(run("table", "validate", out, "--networks", 20, "--json"))
    assert document["mape"] < 0.02
    (row,) = json.loads(run("estimate", SMALL_ARCH.replace("e3_i24", "x40_i24"), "--table", out, "--json"))
    assert row["latency_ms"] > 0


def test_unknown_operations_are_named(meter, tmp_path):
    out = tmp_path / "t.json"
    build_small(out, 5)
    arch = "stem_k3_s22_o16 r1_k7_s11_e3_i16_o16 head_o64"
    message = run("estimate", arch, "--table", out, fails=True)
    assert "'depthwise 48->48 k7 s1 @16x16 relu'" in message
    assert f"nas latency table build --arch '{arch}' --out FILE" in message
    assert "\n" not in message


def test_another_device(meter, tmp_path):
    out = tmp_path / "t.json"
    build_small(out, 3)
    meter.device = SyntheticMeter(cpu="abacus").device
    assert "cpu: formula here, abacus there" in run("table", "validate", out, fails=True)
    with pytest.raises(UserError, match="another build"):
        build_small(out, 4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give one of --space tiny|RECIPE and --arch ARCH"),
        (["--space", "tiny", "--arch", ARCH], "give one of"),
        (["--space", "huge"], "--space 'huge': unknown; allowed: tiny"),
        (["--arch", "nonsense"], "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, an architecture string"),
    ],
)
def test_wrong_arguments(meter, tmp_path, flags, message):
    assert message in run("table", "build", "--out", tmp_path / "t.json", *flags, fails=True)
    assert list(tmp_path.iterdir()) == []


def test_no_folder(meter, tmp_path):
    out = tmp_path / "no" / "t.json"
    assert "there is no folder" in run("table", "build", "--space", "tiny", "--out", out, fails=True)


def test_only_local_devices():
    assert "--device 'pool': unknown; allowed: local" in run(
        "table", "build", "--arch", ARCH, "--out", "t.json", "--device", "pool", fails=True
    )


def test_damaged_table(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"format": "nas-latency-table", "vers')
    assert "cut short" in run("estimate", ARCH, "--table", path, fails=True)
    assert "t.json" in run("table", "validate", path, fails=True)


KILLED_BUILD = """
import sys
from pathlib import Path
from rich.console import Console
from nas.latency_table import build
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, SPACE, SyntheticMeter

build(SyntheticMeter(pause_s=0.05), SPACE, Path(sys.argv[1]), REFERENCE, num_classes=NUM_CLASSES, seconds=600,
      num_networks=10_000, console=Console(stderr=True))
"""


def test_a_killed_build_goes_on(meter, tmp_path):
    out = tmp_path / "t.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_BUILD, str(out)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while not journal_path(out).is_file() or journal_path(out).read_bytes().count(b"\n") < 4:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not out.exists()
    whole = journal_path(out).read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    done = kept.count(b"\n") - 1
    assert done >= 3
    table = build(
        meter,
        SPACE,
        out,
        REFERENCE,
        num_classes=NUM_CLASSES,
        seconds=600,
        num_networks=done + 2,
        console=Console(stderr=True),
    )
    assert journal_path(out).read_bytes().startswith(kept)
    assert meter.num_measured == 2
    assert len(table.networks) == done + 2
    assert load_table(out) == table


def test_a_recipe_names_a_space_and_a_table_remembers_it():
    space = latency_table.population_of("accel_nasbench.yaml", None)
    assert space.name == "accel_nasbench"
    assert latency_table._population(latency_table.population_text(space)).choices == space.choices
