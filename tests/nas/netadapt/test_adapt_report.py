import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from nas.errors import UserError
from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_report import COLUMNS, print_adapt_summary, write_adapt_report
from nas.netadapt.adapt_tables import prediction_sentence, widths_table
from tests.nas.netadapt.adapt_runs import NASTY, made_steps, make_run

SECTIONS = ["fig-trajectory", "fig-steps", "fig-prediction", "fig-final", "fig-widths"]
PLOTS = ["plot-trajectory", "plot-prediction", "plot-final"]
TRAINED = {"seed": [800, 805], "adapted": [790, 796], "uniform": [781, 783], "random": [770, 775]}
STEPS = made_steps()


class Page(HTMLParser):
    """Ids, and text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.resources, self.text, self.num_scripts, self._hidden = [], [], "", 0, False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._hidden = tag in ("script", "style")
        self.num_scripts += tag == "script"
        self.ids += [value for name, value in attrs if name == "id"]
        self.resources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.text += data.replace("\xa0", " ")


def page_of(folder):
    write_adapt_report(folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run", trained=TRAINED)


@pytest.fixture(scope="module")
def page(run):
    return page_of(run)


def test_the_page_has_all_sections_and_needs_nothing_else(page):
    assert [identity for identity in page.ids if identity.startswith("fig-")] == SECTIONS
    assert [identity for identity in page.ids if identity.startswith("plot-")] == PLOTS
    assert page.resources == []


def test_what_users_named_is_text(page):
    assert NASTY in page.text


@pytest.mark.parametrize(
    "text",
    [
        "block 1 bottleneck 16 -> 8: -0.25 points per ms; next best blocks 2-3 bottleneck 24 -> 16: -1.21",
        "-0.10 ± 0.20",
        "The predictions of 3 of 3 steps lie inside their measured intervals",
        "79.30 % (76.7 to 81.7)",
        "uniform 0.87",
        "2 of 9 widths were narrowed",
        "the probability of the right class",
        "not told apart",
        "latency=0.8L",
    ],
)
def test_the_page_says(page, text):
    assert text in page.text


def test_an_unfinished_run_without_measurements(tmp_path):
    folder = make_run(tmp_path / "run", made_steps(measured=False)[:1], measured=False, baselines=False)
    page = page_of(folder)
    assert [identity for identity in page.ids if identity.startswith("plot-")] == ["plot-trajectory"]
    assert "unfinished" in page.text
    assert "Nothing was measured step by step." in page.text
    assert "Not made: it follows the last step." in page.text


def test_before_the_first_step(tmp_path):
    page = page_of(make_run(tmp_path / "run", (), baselines=False))
    assert "No step has been accepted so far" in page.text
    assert "0 of 9 widths were narrowed" in page.text


def test_a_comparison_without_trainings(tmp_path):
    page = page_of(make_run(tmp_path / "run", trained={"seed": [], "adapted": []}))
    assert "plot-final" not in page.ids
    assert "76.00 % (73.3 to 78.5)" in page.text
    assert "Is it better?" not in page.text


def test_the_table_of_the_trajectory(run, page):
    frame = pd.read_csv(run / "trajectory.csv")
    assert tuple(frame.columns) == COLUMNS
    adapted = frame[frame.trajectory == "adapted"]
    assert list(adapted.step) == [0, 1, 2, 3]
    assert list(adapted.arch)[1:] == [step.arch for step in STEPS]
    np.testing.assert_allclose(adapted.cost[1:], [step.cost for step in STEPS])
    np.testing.assert_allclose(adapted.measured_ratio[1:], [step.change.ratio for step in STEPS])
    assert adapted.group.isna().tolist() == [True, False, False, False]
    assert adapted.measured_ratio.isna().tolist() == [True, False, False, False]
    assert set(frame.unit) == {"ms"}
    assert len(frame[frame.trajectory == "random"]) == len(made_steps(position=2))
    assert ",16,8," in (run / "trajectory.csv").read_text()  # whole channels, beside a row that has none


def test_the_terminal_says_the_same(run, page):
    console = Console(file=io.StringIO(), width=200, color_system=None)
    print_adapt_summary(run, console)
    text = console.file.getvalue()
    assert "79.3 ± 2.5 %" in text
    assert str(run / "report.html") in text
    flat = " ".join(text.split())
    assert "trained from scratch, it is not told apart from the uniform width multiplier" in flat
    assert "All together: predicted 20.5 % saved, measured 19.5 %." in flat


def test_predictions_outside_of_their_intervals_are_counted(run):
    record = AdaptRecord.read(run)
    off = replace(STEPS[0], predicted_ratio=STEPS[0].change.ratio * 1.05)
    sentence = prediction_sentence(replace(record, steps=(off, *STEPS[1:])))
    assert sentence.startswith("The predictions of 2 of 3 steps lie inside")
    assert "the farthest is off by 5.0 % of the latency" in sentence


def test_widths(run):
    table = widths_table(AdaptRecord.read(run))
    assert table.headings == ("width", "seed", "adapted", "kept", "uniform 0.87")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["block 2 expansion"] == ("48", "16", "33 %", "48")
    assert rows["blocks 4-5 bottleneck"] == ("40", "40", "100 %", "32")
    assert rows["head"] == ("64", "64", "100 %", "56")


def test_another_folder(tmp_path):
    with pytest.raises(UserError, match="not a run folder of nas adapt"):
        write_adapt_report(tmp_path)
