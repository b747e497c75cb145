from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from nas.errors import UserError
from nas.report import COLUMNS, print_summary, write_report
from nas.report_figures import first_view
from nas.report_record import RunRecord, Spread
from nas.trial import Trial, pareto_front, read_trials
from tests.nas.report_runs import (
    NASTY,
    PHONE_MS,
    RECIPE,
    TARGET_MS,
    add_finale,
    failed,
    latency_of,
    make_run,
    make_run_on_two_devices,
    succeeded,
)

SECTIONS = ["fig-pareto", "fig-trials", "fig-spread", "fig-preferences", "fig-final", "fig-layers"]


class Page(HTMLParser):
    """What a browser would see: attributes, and text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.resources: list[str] = []
        self.text = ""
        self.num_scripts = 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.num_scripts += tag == "script"
        self.ids += [value for name, value in attrs if name == "id"]
        self.resources += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data


def read_page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def summary(folder: Path) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    print_summary(folder, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its report; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "a<i>b"
    make_run(folder)
    add_finale(folder)
    write_report(folder)
    return folder


def test_pareto_csv_is_the_front(finished):
    front = pareto_front(read_trials(finished / "trials.jsonl"))
    rows = list(csv.DictReader((finished / "pareto.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["trial"]) for row in rows] == [t.number for t in front]
    for row, trial in zip(rows, front, strict=True):
        assert float(row["accuracy"]) == trial.accuracy
        assert float(row["reward"]) == trial.reward
        assert (float(row["latency_low_ms"]), float(row["latency_high_ms"])) == trial.latency.interval_ms
        assert (row["arch"], row["key"]) == (str(trial.arch), trial.arch.key)


def test_page_is_whole_and_offline(finished):
    page = read_page(finished)
    assert page.resources == []
    assert [identity for identity in page.ids if identity in SECTIONS] == SECTIONS
    assert {"plot-pareto", "plot-trials", "plot-final"} <= set(page.ids)
    assert page.num_scripts == 1 + 3 + 1  # plotly.js once, the figures, the rule for fingers


def test_page_escapes_what_it_did_not_write(finished):
    page = read_page(finished)
    for text in (NASTY, "Some <b>CPU</b>", "a<i>b"):
        assert text in page.text
    assert "alert('loss')</script>" not in (finished / "report.html").read_text()


def test_page_tells_what_happened(finished):
    text = read_page(finished).text
    assert "12 of 12 distinct networks, 2 of them failed" in text
    assert "2 of 12 networks failed." in text
    assert "95.0 % (92.2 to 96.8)" in text  # Wilson interval of 342 of 360
    assert "3.00 ms (2.94 to 3.09)1.50" in text  # the baseline's latency, and its ratio to the winner's
    assert "not measured" in text
    assert "share of latency" in text


def test_summary(finished):
    text = summary(finished)
    record = RunRecord.read(finished)
    for trial in record.front:
        assert f"{trial.reward:.4f}" in text
    assert "95.0 % (92.2 to 96.8)" in text
    assert "1.50" in text
    assert record.spread.sentence in text
    assert NASTY in text
    assert str(finished / "report.html") in text
    assert "best/arch.json" not in text


def test_wall_time_and_counts(finished):
    record = RunRecord.read(finished)
    assert record.wall_s == 118.0
    assert (record.num_distinct, record.num_failed, record.num_rejected, record.num_repeats) == (12, 2, 0, 0)
    assert record.is_finished


@pytest.mark.parametrize("share", [0.0, 0.004, 0.495, 0.5, 0.71, 1.0, 1.3, -0.2])
def test_shares_in_the_sentence_add_up(share):
    sentence = Spread(share, 9).sentence
    accuracy, latency = map(int, re.findall(r"(-?\d+) %", sentence))
    assert accuracy + latency == 100
    assert ("negative" in sentence) == (not 0 <= share <= 1)


def test_warning_when_speed_decided(tmp_path):
    assert Spread(0.5, 9).warning is None
    assert Spread(math.nan, 1).warning is None

    def same_accuracy(blank: Trial) -> Trial:
        ms = 2.0 + blank.number
        return replace(blank, status="ok", accuracy=0.9, latency=latency_of(ms), reward=0.9 * (ms / TARGET_MS) ** -0.07)

    make_run(tmp_path / "run", same_accuracy)
    write_report(tmp_path / "run")
    assert "0 % came from accuracy and 100 % from latency" in summary(tmp_path / "run")
    assert "Speed decided" in summary(tmp_path / "run")
    assert read_page(tmp_path / "run").text.count("Speed decided") == 2  # on top and in its section


def test_unfinished_run(tmp_path):
    make_run(tmp_path / "run", stop_after=7)
    write_report(tmp_path / "run")
    page = read_page(tmp_path / "run")
    assert "unfinished" in page.text
    assert "Best so far" in page.text
    assert "plot-final" not in page.ids
    assert "300 more networks" in page.text
    assert "share of latency" not in page.text
    assert "Final comparison" not in summary(tmp_path / "run")


@pytest.mark.parametrize("outcome", [failed, None])
def test_without_a_success(tmp_path, outcome):
    make_run(tmp_path / "run", outcome or failed, stop_after=10**6 if outcome else 0)
    write_report(tmp_path / "run")
    page = read_page(tmp_path / "run")
    assert "No trial has succeeded so far." in page.text
    assert "300 more networks" in page.text
    assert (tmp_path / "run" / "pareto.csv").read_text().strip() == ",".join(COLUMNS)
    assert "no trial has succeeded" in summary(tmp_path / "run")


def test_one_success(tmp_path):
    make_run(tmp_path / "run", succeeded, recipe=RECIPE.replace("12", "1"))
    add_finale(tmp_path / "run", kernels=False)
    write_report(tmp_path / "run")
    assert "cannot be told" in summary(tmp_path / "run")
    assert "share of latency" not in read_page(tmp_path / "run").text


def test_stopped_before_the_first_trial(tmp_path):
    (tmp_path / "config.yaml").write_text(RECIPE)
    for read in (write_report, summary):
        with pytest.raises(UserError, match="before its first trial"):
            read(tmp_path)
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path / "nowhere")


def test_other_version_of_the_finale(tmp_path):
    make_run(tmp_path / "run", stop_after=2)
    (tmp_path / "run" / "final.json").write_text(json.dumps({"format": "nas-final", "version": 1}))
    with pytest.raises(UserError, match="version 1; this program reads 2"):
        write_report(tmp_path / "run")


def test_first_view_leaves_out_what_lies_far_below():
    values = [0.1, *[0.9 + 0.001 * i for i in range(20)]]
    low, high = first_view(values)
    assert 0.8 < low < 0.9
    assert high > max(values)
    assert first_view(values, shown=[0.1])[0] < 0.1
    low, high = first_view([0.5])
    assert low < 0.5 < high


def test_the_better_half_is_told_apart():
    spread = Spread(0.98, 60, 0.1)
    assert "98 % came from accuracy and 2 % from latency" in spread.sentence
    assert "better half of them: 10 % from accuracy, 90 % from latency" in spread.sentence
    assert spread.warning is not None
    assert Spread(0.98, 60, 0.6).warning is None


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    make_run_on_two_devices(folder)
    write_report(folder)
    return folder


def test_every_device_has_a_front_of_its_own(on_two_devices):
    trials = [t for t in read_trials(on_two_devices / "trials.jsonl") if t.status == "ok"]
    rows = list(csv.DictReader((on_two_devices / "pareto.csv").read_text().splitlines()))
    assert list(dict.fromkeys(row["device"] for row in rows)) == ["desk", "phone"]
    for device, target_ms in (("desk", TARGET_MS), ("phone", PHONE_MS)):
        front = pareto_front([replace(t, latency=t.device_latencies[device]) for t in trials])
        mine = [row for row in rows if row["device"] == device]
        assert [int(row["trial"]) for row in mine] == [t.number for t in front]
        for row, trial in zip(mine, front, strict=True):
            assert float(row["latency_ms"]) == trial.latency_ms
            # the reward that this device alone would give
            assert float(row["reward"]) == pytest.approx(trial.accuracy * (trial.latency_ms / target_ms) ** -0.07)


def test_the_page_shows_every_device(on_two_devices):
    page, text = read_page(on_two_devices), summary(on_two_devices)
    assert {"plot-pareto-0", "plot-pareto-1"} <= set(page.ids)
    assert [name for name in page.ids if name.startswith("fig-")] == SECTIONS
    for name, cpu in (("desk", "Some <b>CPU</b>"), ("phone", "Armadillo")):
        assert f"Device {name}" in page.text
        assert f"Pareto front on {name}" in text
        assert f"{name}: {cpu} (2 cores, x86_64)" in text
        assert f"on {name}" in text
    assert "target 9.000 ms; Armadillo" in page.text
    assert "7.25 ms" in text  # the finalists on the phone
    assert "over devices: the mean of the devices' rewards" in page.text


def test_it_says_where_latencies_came_from(finished, tmp_path):
    def priced(blank: Trial) -> Trial:
        trial = succeeded(blank)
        assert trial.latency is not None
        source, status = ("table", "ok") if blank.number % 3 else ("measured", "wide")
        return replace(trial, latency=replace(trial.latency, source=source, status=status))

    make_run(tmp_path / "run", priced)
    write_report(tmp_path / "run")
    sentence = "4 measured (4 wide); 8 priced by the table"
    assert f"latencies: {sentence}" in summary(tmp_path / "run")
    assert sentence in read_page(tmp_path / "run").text
    assert "10 measured (10 ok); aimed half-width" in read_page(finished).text
