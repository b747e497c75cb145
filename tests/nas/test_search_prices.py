"""Whole searches whose latencies a table knows: priced, measured where it matters, killed and resumed."""

from __future__ import annotations

import json

import pytest

from latency.table_file import load_table
from nas.quote import HybridPrices
from nas.run import TABLE
from nas.trial import read_trials
from tests.nas.priced import (
    REFERENCE_MS,
    SLOW,
    accuracy_of,
    arguments,
    record_accuracies,
    save_made_up_table,
    suggested,
)
from tests.nas.searching import OPEN, Search, num_journalled

pytestmark = pytest.mark.timeout(300)

TRIALS = 4
UNPRICED = 3  # the number of the one network whose operations the table does not know
BELIEVE_IT = "import nas.table_trust; nas.table_trust.MAX_ERROR = 9.0"  # prices here are made up


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    archs = suggested(TRIALS)
    record_accuracies(folder / "accuracies", archs)
    save_made_up_table(folder / "table.json", archs[:UNPRICED])
    return folder


@pytest.fixture
def search(made, cluster):
    """A search with a table of all networks but `UNPRICED`."""

    def search(out, name, prelude=BELIEVE_IT):
        setting = arguments(TRIALS, made / "accuracies", name=name, table=made / "table.json")
        where = ("--out", str(out), "--ray-address", cluster)
        return Search("search", *where, *setting, prelude=prelude, variables=OPEN)

    return search


def measured_outside(run):
    records = [json.loads(line) for line in (run / "latency.jsonl").read_text().splitlines()[1:]]
    return [record for record in records if record["trial"] is None], [r for r in records if r["trial"] is not None]


def test_a_table_prices_every_network_that_it_knows(made, search, tmp_path):
    run = tmp_path / "run"
    status, output = search(run, "table").finish()
    assert status == 0, output
    table = load_table(made / "table.json")
    *priced, unpriced = read_trials(run / "trials.jsonl")
    assert [trial.number for trial in priced] == list(range(UNPRICED))
    for trial in priced:
        assert (trial.status, trial.accuracy) == ("ok", accuracy_of(trial.number))
        assert trial.latency == table.price(trial.arch)
    assert (unpriced.status, unpriced.reward) == ("failed", 0.0)
    assert unpriced.reason.startswith("latency: the table has no price for '")
    outside, inside = measured_outside(run)
    assert inside == []
    assert len(outside) == 4  # the target's network and the three that the table was checked with
    assert {record["device"] for record in outside} == {"local"}
    local = json.loads((run / "environment.json").read_text())["calibration"]["devices"]["local"]
    assert local["reference_ms"] == REFERENCE_MS
    assert f"latencies: {UNPRICED} priced by the table" in output
    assert "table     " in output
    assert "priced by the table" in (run / "report.html").read_text()


def test_a_table_that_is_off_is_refused_before_the_first_trial(search, tmp_path):
    status, output = search(tmp_path / "run", "table", prelude="").finish()
    assert status == 2, output
    assert "table.json: the table is off by " in output
    assert "nas latency table build --space mnasnet" in output
    assert num_journalled(tmp_path / "run") == 0
    assert not (tmp_path / "run" / "environment.json").exists()


def test_a_hybrid_search_measures_its_front_and_resumes(made, cluster, search, tmp_path):
    """Every line of the journal follows from the lines before it, on either side of the kill."""
    run = tmp_path / "run"
    running = search(run, "hybrid")
    try:
        running.wait_until(lambda: num_journalled(run) >= 2)
    finally:
        running.kill_everything()
    before = (run / "trials.jsonl").read_bytes()
    assert 2 <= num_journalled(run) < TRIALS
    (made / "table.json").rename(made / "elsewhere.json")  # the run has its own copy
    try:
        status, output = Search("search", "--resume", str(run), "--ray-address", cluster, variables=OPEN).finish()
    finally:
        (made / "elsewhere.json").rename(made / "table.json")
    assert status == 0, output
    assert (run / "trials.jsonl").read_bytes().startswith(before)
    prices, trials = HybridPrices(load_table(run / TABLE), "local"), read_trials(run / "trials.jsonl")
    assert [trial.number for trial in trials] == list(range(TRIALS))
    for trial in trials:
        assert trial.status == "ok"
        quote = prices.quote(trial.arch, trials[: trial.number])
        assert quote.measures_at_once is (trial.number == UNPRICED)
        if quote.measures_at_once or quote.measures_after(trial.accuracy):
            assert trial.latency.source == "measured"
        else:
            assert trial.latency == quote.latencies["local"]
    _, inside = measured_outside(run)
    measured = [trial for trial in trials if trial.latency.source == "measured"]
    assert {record["trial"] for record in inside} == {trial.number for trial in measured}
    assert trials[SLOW] not in measured
    assert trials[UNPRICED] in measured
    assert max(trials, key=lambda t: t.reward) in measured
    assert f"{len(measured)} measured" in output
