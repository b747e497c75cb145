"""A whole search whose accuracies a surrogate predicts, in a space that the recipe spells out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from nas.cli import main
from nas.config import parse_config
from nas.search import _data_fingerprint
from nas.trial import read_trials
from tests.nas.searching import OPEN, Search

pytestmark = pytest.mark.timeout(300)

FEW_TREES = "from nas import surrogate; surrogate._OPTIONS.update(n_estimators=100, learning_rate=0.2)"

RECIPE = """
space:
  name: tiny
  stages: [{filters: 8, kernel: [3, 5], expand: [1, 3, 6]}, {filters: [8, 16], layers: [1, 2, 3], stride: 2}]
trials: 2
concurrency: 1
evaluator:
  name: table
  target: top1
  scale: 0.01
  label: proxy top-1
  columns: {k: b1.kernel, e: b1.expand, f: b2.filters, n: b2.layers}
latency: {resolution: 32, num_classes: 10, budget_s: 0.3, reference: mobilenet_v3_small}
controller: {name: random}
objective: {target: 3ms}
final: null
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    rows = [(k, e, f, n) for k in (3, 5) for e in (1, 3, 6) for f in (8, 16) for n in (1, 2, 3)]
    lines = [f"{k},{e},{f},{n},{40 + 2 * k + e + f / 4 + n}" for k, e, f, n in rows]
    (tmp_path / "acc.csv").write_text("k,e,f,n,top1\n" + "\n".join(lines))
    return tmp_path


def test_search_with_a_table_of_accuracies(folder, cluster):
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    command = ("search", "--config", "tiny.yaml", "--table", "acc.csv", "--out", "run", "--ray-address", cluster)
    status, output = Search(*command, cwd=folder, prelude=FEW_TREES, variables=cache | OPEN).finish()
    assert status == 0, output
    assert re.search(r"accuracy +proxy top-1: Kendall tau 0\.\d+, R2 0\.\d+ in 5-fold", output)
    assert "trial" in output
    trials = read_trials(folder / "run" / "trials.jsonl")
    assert [trial.status for trial in trials if trial.repeat_of is None] == ["ok", "ok"]
    for trial in trials:
        of = trial.choices
        truth = 40 + 2 * of["b1.kernel"] + of["b1.expand"] + of["b2.filters"] / 4 + of["b2.layers"]
        assert trial.accuracy == pytest.approx(truth / 100, abs=0.02)
    page = (folder / "run" / "report.html").read_text()
    assert page.count("proxy top-1") >= 3
    assert "held-out" not in page
    assert "space tiny" in page


def test_a_run_notices_that_the_table_has_changed(folder):
    config = parse_config(RECIPE, "r", [f"evaluator.table={folder / 'acc.csv'}"])
    before = _data_fingerprint(config, None)
    assert before == _data_fingerprint(config, None)
    with (folder / "acc.csv").open("a") as file:
        file.write("\n3,1,8,1,59")
    assert _data_fingerprint(config, None) not in (before, None)
    assert _data_fingerprint(parse_config("", "r"), None) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--config", "tiny.yaml"],
            "evaluator.table: a CSV of architectures and accuracies is needed: give --table FILE",
        ),
        (["--table", "acc.csv"], "evaluator.table: is for evaluator.name: table; the recipe says train"),
        (["--config", "tiny.yaml", "--table", "none.csv"], "table 'none.csv': No such file or directory"),
        (["--config", "tiny.yaml", "--table", "bad.csv"], "has no columns k, e, f, n; it has: a"),
        (["--resume", "run", "--table", "acc.csv"], "leave out --out, --data, --table and --set"),
    ],
)
def test_wrong_tables(folder, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(folder)
    Path("bad.csv").write_text("a\n1\n")
    monkeypatch.setattr(sys, "argv", ["nas", "search", *flags])
    with pytest.raises(SystemExit) as status:
        main()
    assert status.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("run").exists()
    assert not Path("runs").exists()
