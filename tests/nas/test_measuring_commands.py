"""Commands that measure, with the real meter."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from latency.meter import GRADES, Grade
from nas.cli import app
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower
from tests.latency.conftest import QUICK

ROOT = str(Path(__file__).parents[2])
SMALL = "stem_k3_s22_o8 r1_k3_s11_e3_i8_o8 head_o16"
LARGE = "stem_k3_s22_o8 r9_k3_s11_e6_i8_o8 head_o16"  # nine times the blocks


def test_measure_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = ["latency", "measure", "mobilenet_v3_small", "--resolution", "64", "--json"]
    own = {name: str(tmp_path) for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    done = subprocess.run(
        [sys.executable, "-m", "nas.cli", *command],
        env={**os.environ, **own, "PYTHONPATH": ROOT},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)  # fails on anything else on standard output
    assert list(row) == ["arch", "latency_ms", "interval_ms", "ratio", "status"]
    assert row["arch"] == "mobilenet_v3_small"
    assert row["status"] in ("ok", "wide", "unstable")  # however busy the machine is
    low, high = row["interval_ms"]
    assert 0 < low <= row["latency_ms"] <= high
    assert 0 < row["ratio"] < math.inf


def test_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # nor this machine's measuring lock
    monkeypatch.setitem(GRADES, "search", Grade(QUICK))
    command = ["zoo", "compare", SMALL, LARGE, "--resolution", "48", "--num-classes", "10", "--json"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    small, large = json.loads(result.stdout)
    assert large["ratio"] > 1.5  # on whatever machine
    assert small["params"] == count(lower(parse_arch(SMALL), 48, 10)).params
