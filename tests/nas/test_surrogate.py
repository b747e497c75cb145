"""Surrogates: scikit-learn's trees as arrays, their quality, what is remembered."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor

from nas import surrogate
from nas.arch_table import ArchTable
from nas.config import parse_config
from nas.errors import UserError
from nas.surrogate import cross_validated, fit, fitted
from nas.table_evaluator import TableEvaluator, fitted_evaluator, read_accuracy_table
from search_spaces.choice import Choice

CHOICES = tuple(Choice(f"x{n}", (0, 1, 2)) for n in range(5))


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(surrogate._OPTIONS, "n_estimators", 60)
    monkeypatch.setitem(surrogate._OPTIONS, "learning_rate", 0.2)


def everything():
    return np.array(np.unravel_index(np.arange(3**5), (3,) * 5)).T


def truth(positions):
    return 0.3 + positions @ np.array([0.1, 0.05, 0.02, 0.0, -0.03]) + 0.02 * (positions[:, 0] * positions[:, 4])


def write_table(path, positions, numbers, extra=""):
    header = ",".join(choice.name for choice in CHOICES)
    lines = [",".join(map(str, [*row, number])) for row, number in zip(positions, numbers, strict=True)]
    path.write_text(f"{header},acc\n" + "\n".join(lines) + f"\n{extra}")
    return ArchTable.of_columns(path, CHOICES, {c.name: c.name for c in CHOICES}, {})


def test_predictions_are_scikit_learns():
    positions = everything()
    model = GradientBoostingRegressor(**surrogate._OPTIONS).fit(positions[::2], truth(positions[::2]))
    np.testing.assert_allclose(
        fit(positions[::2], truth(positions[::2])).predict(positions), model.predict(positions), rtol=0, atol=1e-12
    )


def test_a_candidate_is_predicted_alike_alone_and_among_others():
    positions = everything()
    model = fit(positions, truth(positions))
    assert np.array_equal(model.predict(positions), np.concatenate([model.predict(row[None]) for row in positions]))
    assert model.predict(positions[:0]).shape == (0,)


def test_quality_is_that_of_architectures_left_out():
    positions = everything()
    learned = cross_validated(positions, truth(positions))
    assert learned.kendall_tau > 0.85
    assert learned.r2 > 0.9
    assert learned.num_archs == 3**5
    noise = cross_validated(positions, np.random.default_rng(0).normal(size=len(positions)))
    assert abs(noise.kendall_tau) < 0.2
    assert noise.r2 < 0.2


def test_a_fit_is_remembered_until_the_table_changes(tmp_path, monkeypatch):
    positions = everything()
    table = write_table(tmp_path / "t.csv", positions, truth(positions))
    model, quality = fitted(table, "acc")
    fits = []
    monkeypatch.setattr(surrogate, "fit", lambda *arguments: fits.append(1) or fit(*arguments))
    again, same_quality = fitted(table, "acc")
    assert not fits
    assert same_quality == quality
    assert np.array_equal(again.predict(positions), model.predict(positions))
    fitted(write_table(tmp_path / "t.csv", positions, truth(positions) + 0.1), "acc")
    assert len(fits) == 1 + surrogate.NUM_FOLDS


def test_a_damaged_file_is_made_anew(tmp_path):
    positions = everything()
    table = write_table(tmp_path / "t.csv", positions, truth(positions))
    model, quality = fitted(table, "acc")
    (file,) = (tmp_path / "cache").rglob("*.npz")
    for damaged in (file.read_bytes()[:100], b"", b"nothing"):
        file.write_bytes(damaged)
        again, same_quality = fitted(table, "acc")
        assert same_quality == quality
    assert np.array_equal(again.predict(positions), model.predict(positions))


@pytest.mark.parametrize("numbers", [[0.5] * 19, [0.5] * 30])
def test_too_little_to_learn_from(tmp_path, numbers):
    table = write_table(tmp_path / "t.csv", everything()[: len(numbers)], numbers)
    with pytest.raises(UserError, match=r"are too few to fit a surrogate; it needs 20 that differ"):
        fitted(table, "acc")


RECIPE = """
space: {stages: [{filters: 8, kernel: [3, 5], expand: [1, 3, 6]}, {filters: [8, 16], layers: [1, 2, 3], stride: 2}]}
evaluator:
  name: table
  target: top1
  scale: 0.01
  label: proxy top-1
  columns: {k: b1.kernel, e: b1.expand, f: b2.filters, n: b2.layers}
final: null
"""


@pytest.fixture
def accuracies(tmp_path):
    rows = [(k, e, f, n) for k in (3, 5) for e in (1, 3, 6) for f in (8, 16) for n in (1, 2, 3)]
    lines = [f"{k},{e},{f},{n},{40 + 2 * k + e + f / 4 + n}" for k, e, f, n in rows]
    path = tmp_path / "acc.csv"
    path.write_text("k,e,f,n,top1\n" + "\n".join(lines))
    return path


def test_the_evaluator_predicts_networks_of_the_space(accuracies):
    config = parse_config(RECIPE, "r", [f"evaluator.table={accuracies}"])
    evaluator, quality = fitted_evaluator(config)
    assert quality.kendall_tau > 0.8
    space = config.search_space
    arch = space.decode({"b1.kernel": 5, "b1.expand": 6, "b2.filters": 16, "b2.layers": 3})
    (evaluation,) = evaluator.evaluate(arch, seed=1)
    assert evaluation.accuracy == pytest.approx(0.63, abs=0.01)
    with pytest.raises(ValueError, match=r"not in space 'stages'"):
        next(evaluator.evaluate(parse_config("{}", "r").search_space.decode(_first()), 0))


def _first():
    return {c.name: c.options[0] for c in parse_config("{}", "r").search_space.choices}


def test_predictions_are_fractions(accuracies):
    config = parse_config(RECIPE, "r", [f"evaluator.table={accuracies}"])
    model = fit(everything()[:, :4], 1.5 + everything()[:, 0])
    arch = config.search_space.decode({c.name: c.options[0] for c in config.search_space.choices})
    assert [e.accuracy for e in TableEvaluator(config.search_space, model).evaluate(arch, 0)] == [1.0]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["evaluator.table=null"],
            "evaluator.table: a CSV of architectures and accuracies is needed: give --table FILE",
        ),
        (["evaluator.target=null"], "evaluator.target: which column"),
        (["evaluator.scale=1.0"], "evaluator.scale = 1: makes top1 50 to 63; accuracies are fractions: set 0.01"),
        (["evaluator.columns.k=b1.kernal"], "the space has no decision 'b1.kernal'"),
    ],
)
def test_what_the_recipe_leaves_out(accuracies, assignments, message):
    config = parse_config(RECIPE, "r", [f"evaluator.table={accuracies}", *assignments])
    with pytest.raises(UserError) as error:
        read_accuracy_table(config)
    assert message in str(error.value)
