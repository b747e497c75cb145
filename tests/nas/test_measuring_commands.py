"""Commands that measure, as a user runs them: in a process of its own, with the real meter."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower

ROOT = str(Path(__file__).parents[2])
SMALL = "stem_k3_s22_o8 r1_k3_s11_e3_i8_o8 head_o16"
LARGE = "stem_k3_s22_o8 r9_k3_s11_e6_i8_o8 head_o16"  # nine times the blocks


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """What `nas ARGUMENTS --json` prints; fails on anything else on standard output."""

    def rows(*arguments: object) -> list[dict[str, Any]]:
        own = {name: str(tmp_path) for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
        done = subprocess.run(
            [sys.executable, "-m", "nas.cli", *map(str, arguments), "--json"],
            env={**os.environ, **own, "PYTHONPATH": ROOT},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return rows


def test_measure(rows: Any) -> None:
    (row,) = rows("latency", "measure", "mobilenet_v3_small", "--resolution", 64)
    assert list(row) == ["arch", "latency_ms", "interval_ms", "ratio", "status"]
    assert row["arch"] == "mobilenet_v3_small"
    assert row["status"] in ("ok", "wide", "unstable")  # however busy the machine is
    low, high = row["interval_ms"]
    assert 0 < low <= row["latency_ms"] <= high
    assert 0 < row["ratio"] < math.inf


def test_compare(rows: Any) -> None:
    found = rows("zoo", "compare", SMALL, LARGE, "--resolution", 48, "--num-classes", 10)
    assert found[1]["ratio"] > 1.5  # on whatever machine
    assert found[0]["params"] == count(lower(parse_arch(SMALL), 48, 10)).params
