"""`nas bench controllers` on small made-up tables."""

from __future__ import annotations

import itertools
import json
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from nas import surrogate
from nas.arch_table import read_frame
from nas.cli import main
from nas.controller_bench import benchmark as benchmarks
from nas.controller_bench.benchmark import best_found, open_benchmark
from nas.controller_bench.contestants import chosen, known
from nas.controller_bench.description import read_description, recognised, shipped_descriptions
from nas.controller_bench.race import Contestant, race
from nas.errors import UserError

Result = namedtuple("Result", "code out err")

DIGITS = """
kind: table
name: small
source: nobody
digits: arch
decisions: 4
options: ["0", "1", "2"]
accuracies: [a, b]
scale: 0.01
"""
SURROGATES = """
kind: surrogate
name: stages
source: nobody
recipe: {recipe}
latency: ms
objective: {{target_ms: 4.0}}
"""
RECIPE = """
space: {stages: [{filters: 8, kernel: [3, 5], expand: [1, 3, 6]}, {filters: [8, 16], layers: [1, 2, 3], stride: 2}]}
evaluator:
  {name: table, target: top1, scale: 0.01, columns: {k: b1.kernel, e: b1.expand, f: b2.filters, n: b2.layers}}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(surrogate._OPTIONS, "n_estimators", 60)
    monkeypatch.setitem(surrogate._OPTIONS, "learning_rate", 0.3)
    monkeypatch.setattr(benchmarks, "NUM_CLIMBS", 3)
    for name in ("RAY_USAGE_STATS_ENABLED", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "RAY_AIR_NEW_OUTPUT"):
        monkeypatch.setenv(name, "0")


def accuracy(digits: str) -> float:
    return 50 + sum((place + 1) * int(digit) for place, digit in enumerate(digits))


ARCHS = ["".join(digits) for digits in itertools.product("012", repeat=4)]


@pytest.fixture
def table():
    Path("d.yaml").write_text(DIGITS)
    path = Path("t.csv")
    path.write_text("arch,a,b\n" + "\n".join(f"{a},{accuracy(a) - 1},{accuracy(a) + 1}" for a in reversed(ARCHS)))
    return path


@pytest.fixture
def stages():
    Path("r.yaml").write_text(RECIPE)
    Path("s.yaml").write_text(SURROGATES.format(recipe="r.yaml"))
    rows = [(k, e, f, n) for k in (3, 5) for e in (1, 3, 6) for f in (8, 16) for n in (1, 2, 3)]
    path = Path("s.csv")
    lines = [f"{k},{e},{f},{n},{40 + 2 * k + e + f / 4 + n},{e * n * k / 9 + f / 8}" for k, e, f, n in rows]
    path.write_text("k,e,f,n,top1,ms\n" + "\n".join([*lines, "3,1,8,1,50,"]))
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments) -> Result:
        monkeypatch.setattr(sys, "argv", ["nas", "bench", "controllers", *map(str, arguments)])
        with pytest.raises(SystemExit) as status:
            main()
        captured = capsys.readouterr()
        return Result(status.value.code, captured.out, captured.err)

    return command


def small(table, *more):
    return ["--benchmark", table, "--description", "d.yaml", "--seeds", 3, "--samples", 60, "--processes", 1, *more]


def test_a_table_answers_with_the_mean_of_its_trainings(table):
    problem = open_benchmark(table, read_description(Path("d.yaml")))
    positions = np.array([[int(digit) for digit in arch] for arch in ARCHS])
    np.testing.assert_allclose(
        problem.rewards(problem.truth.objectives(positions)), [accuracy(arch) / 100 for arch in ARCHS]
    )
    assert problem.best_reward == pytest.approx(0.70)
    assert problem.is_exact


def test_climbing_finds_the_best_of_a_table(table):
    problem = open_benchmark(table, read_description(Path("d.yaml")))
    assert best_found(problem.truth, problem.choices, None) == pytest.approx(0.70)


def test_surrogates_answer_with_accuracy_and_latency(stages):
    problem = open_benchmark(stages, read_description(Path("s.yaml")), 2.0, -0.1)
    positions = np.array([[0, 0, 0, 0], [2, 1, 2, 1]])  # expand, kernel, layers, filters
    objectives = problem.truth.objectives(positions)
    np.testing.assert_allclose(objectives, [[0.5, 4 / 3], [0.37, 12]], rtol=0.15)
    expected = [(1 - loss) * (ms / 2.0) ** -0.1 for loss, ms in objectives]
    np.testing.assert_allclose(problem.rewards(objectives), expected)
    assert not problem.is_exact
    assert problem.best_reward >= max(expected)
    assert open_benchmark(stages, read_description(Path("s.yaml")), 2.0, -0.1).best_reward == problem.best_reward


def test_json(run, table):
    result = run(*small(table, "--controllers", "random,evolution", "--json"))
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document["benchmark"]["best_reward"] == pytest.approx(0.70)
    assert (document["seeds"], document["samples"]) == (3, 60)
    assert list(document["controllers"]) == ["random", "evolution"]
    for numbers in document["controllers"].values():
        assert list(numbers["best_reward"]) == list(numbers["regret_points"]) == ["50", "60"]
        assert numbers["hypervolume"] is None
        for count, best in numbers["best_reward"].items():
            lacking = numbers["regret_points"][count]
            assert best["low"] <= best["mean"] <= best["high"]
            assert lacking["mean"] == pytest.approx(100 * (0.70 - best["mean"]), abs=1e-9)
    assert run(*small(table, "--controllers", "random,evolution", "--json")).out == result.out


def test_table_and_picture(run, stages):
    flags = ["--benchmark", stages, "--description", "s.yaml", "--seeds", 2, "--samples", 20, "--processes", 1]
    result = run(
        *flags, "--controllers", "random", "--variant", "p9=evolution {population_size: 9}", "--html", "p.html"
    )
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert any(line.split()[:1] == ["p9"] and "±" in line for line in lines)
    assert sum("by the number of samples" in line for line in lines) == 3
    assert "surrogate top1: Kendall tau" in result.err
    page = Path("p.html").read_text()
    assert "regret in points" in page
    assert "p9" in page


def test_as_many_processes_as_you_like(table):
    problem = open_benchmark(table, read_description(Path("d.yaml")))
    contestants = [Contestant("random", "random"), Contestant("e", "evolution", {"population_size": 8})]
    done: list[tuple[str, int]] = []
    alone = race(problem, contestants, 6, 12, 1, lambda *what: done.append(what))
    both = race(problem, contestants, 6, 12, 2, lambda *what: None)
    assert done == [("random", 5), ("random", 1), ("e", 5), ("e", 1)]
    for label, runs in alone.items():
        assert runs.rewards.shape == (6, 12)
        assert np.array_equal(runs.rewards, both[label].rewards)
        assert np.array_equal(runs.objectives, both[label].objectives)
    assert not np.array_equal(alone["random"].rewards[0], alone["random"].rewards[1])


def test_shipped_tables_are_recognised_by_their_columns():
    accel, macro = shipped_descriptions()
    assert (accel.name, macro.name) == ("Accel-NASBench", "NAS-Bench-Macro")
    for description in (accel, macro):
        Path("x.csv").write_text(",".join(["id", *description.columns]) + "\n1" + ",1" * len(description.columns))
        assert recognised(Path("x.csv")) == description
        assert set(read_frame(Path("x.csv")).columns) > set(description.columns)


def test_everybody_takes_part_by_default(table):
    problem = open_benchmark(table, read_description(Path("d.yaml")))
    labels = [each.label for each in chosen(None, [], problem.choices, 1)]
    assert labels == list(known(1))
    assert {"random", "ppo", "optuna-tpe", "optuna-nsga2"} <= set(labels)
    assert not {"optuna", "tune"} & set(labels)
    assert [c.label for c in chosen(None, ["a=random"], problem.choices, 1)] == ["a"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--controllers", "random,nobody"], "--controllers 'nobody': unknown; allowed: random, ppo"),
        (["--controllers", "random,random"], "contestant 'random' takes part twice"),
        (["--variant", "ppo"], "--variant 'ppo': write LABEL=CONTROLLER {option: value}"),
        (["--variant", "a=ppo {b: [}"], "options are not YAML"),
        (["--variant", "a=evolution {populaton: 3}"], "contestant 'a': "),
        (["--variant", "a=nobody"], "contestant 'a': unknown controller 'nobody'"),
        (["--target-ms", "3"], "small has no latencies; its reward is the accuracy"),
        (["--html", "no/where.html", "--controllers", "random"], "no/where.html: No such file"),
    ],
)
def test_wrong_arguments(run, table, flags, message):
    result = run(*small(table, *flags))
    assert result.code == 2
    assert message in result.err
    assert result.out == ""


def test_wrong_tables(run, table):
    Path("u.csv").write_text("a,b\n1,2\n")
    assert "its columns are of no known benchmark: Accel-NASBench (" in run("--benchmark", "u.csv").err
    assert "No such file" in run("--benchmark", "nowhere.csv").err
    assert "columns arch" in run(*small("u.csv")).err
    Path("u.csv").write_text("\n".join(table.read_text().splitlines()[:-3]))
    assert "3 of 81 networks are missing, 0000 first" in run(*small("u.csv")).err
    Path("u.csv").write_text(table.read_text().replace("0000,49,", "0000,,"))
    with pytest.raises(UserError, match=r"a, b must be known of every network"):
        open_benchmark(Path("u.csv"), read_description(Path("d.yaml")))
    Path("d.yaml").write_text(DIGITS.replace("scale: 0.01", "scale: 1.0"))
    assert "must be fractions; set scale (1 now; 0.01 for percent)" in run(*small(table)).err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: other", "d.yaml: kind = 'other': allowed: surrogate, table"),
        (DIGITS.replace("decisions", "digitz"), "d.yaml: decisions"),
        (DIGITS + "more: 1", "d.yaml: unknown key 'more'"),
    ],
)
def test_wrong_descriptions(run, table, text, message):
    Path("d.yaml").write_text(text)
    assert message in run(*small(table)).err
