"""Two reproductions side by side: runs that were kept, and copies with something else in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.errors import UserError
from nas.reproduction.agreement import Agreement, found, parts
from nas.reproduction.agreement_tables import outcomes_table, parts_table, settings_table, verdict
from nas.reproduction.reproduce_record import ReproduceRecord
from nas.space_section import search_space

RESULTS = Path(__file__).parents[3] / "experiments" / "results"
LARGE = RESULTS / "reproduce_mobilenet_v3_large_imagenette64_shortlist_2026-11-26"
PAPER = RESULTS / "reproduce_mobilenet_v3_large_imagenette64_2026-11-26"
SMALL = RESULTS / "reproduce_mobilenet_v3_small_imagenette64_2026-11-26"


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(LARGE, tmp_path / "copy"))


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def between(one: Path, other: Path) -> Agreement:
    return Agreement.of(ReproduceRecord.read(one), ReproduceRecord.read(other))


def test_a_run_agrees_with_itself(copy):
    agreement = between(LARGE, copy)
    assert agreement.agrees
    assert agreement.difference.mean == 0
    assert not agreement.settings
    assert agreement.overall.equal == agreement.overall.number == 36
    assert all(shared.equal == shared.number == 6 for shared in agreement.decisions)


def test_decisions_are_counted_and_chance_is_that_of_random_networks(copy):
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("  seed: 0\n", "  seed: 5\n", 1))
    changed(copy / "seed.json", trial=3)
    agreement = between(LARGE, copy)
    one, other = (record.trials[record.seed_trial].choices for record in (agreement.one, agreement.other))
    assert agreement.overall.equal == sum(one[name] == other[name] for name in one) < 36
    assert agreement.overall.equal == sum(shared.equal for shared in agreement.decisions)
    choices = search_space("mobilenet_v3").choices
    assert agreement.overall.by_chance == pytest.approx(sum(1 / len(choice.options) for choice in choices))
    low, high = agreement.overall.range_by_chance
    assert 0 < low < agreement.overall.by_chance < high < 36
    assert agreement.settings == {"search.seed": (0, 5)}
    assert settings_table(agreement).rows == (("search.seed", "0", "5"),)


def test_another_accuracy_is_told(copy):
    final = json.loads((copy / "final.json").read_text())
    for training in final["networks"][0]["trained"]:
        training["num_correct"] -= 785  # a fifth of the test images
    (copy / "final.json").write_text(json.dumps(final))
    agreement = between(LARGE, copy)
    assert agreement.difference.mean == pytest.approx(0.2)
    assert agreement.agrees is False
    assert "Test accuracy, A less B: +20.00 points" in verdict(agreement)
    assert verdict(agreement).splitlines()[2].endswith("over 6 trainings: better.")


def test_runs_that_searched_otherwise_share_no_decisions():
    agreement = between(LARGE, PAPER)
    assert agreement.decisions == ()
    assert agreement.overall is None
    assert agreement.difference.over == "images"  # one training of the other
    assert agreement.settings["search.space"] == ("mobilenet_v3", "mnasnet")
    assert "search.data.source" not in agreement.settings


def test_parts_are_the_whole_network():
    record = ReproduceRecord.read(LARGE)
    found_parts = parts(record)
    assert [part.resolution for part in found_parts] == [112, 56, 28, 14, 7, 1]
    assert sum(part.share for part in found_parts) == pytest.approx(1)
    assert sum(layer.macs for part in found_parts for layer in part.layers) == found(record).macs
    rows = parts_table(between(LARGE, LARGE)).rows
    assert rows[0] == (
        "112 px",
        "44 %",
        *(["3x3 convolution to 16; 2 x 3x3 inverted bottleneck x3 to 24", "44 %"] * 2)[:-1],
    )


def test_outcomes_are_those_of_the_report():
    rows = {row[0]: row[1:] for row in outcomes_table(between(LARGE, LARGE)).rows}
    assert rows["latency"][0].startswith("5.84 ms")
    assert rows["target"][0] == "5.90 ms"
    assert rows["better than the published one by"][0].startswith("+4.70 points")


def unfinished(run: Path) -> None:
    (run / "final.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unfinished, "is not finished; carry it on with: nas reproduce --resume"),
        (lambda run: changed(run / "environment.json", data_fingerprint="0"), "are of different data sets"),
        (
            lambda run: changed(
                run / "final.json", networks=json.loads((run / "final.json").read_text())["networks"][1:]
            ),
            "what it found is not in its comparison",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        between(LARGE, copy)
    assert "\n" not in str(caught.value)


def test_other_targets_are_refused_and_named():
    with pytest.raises(
        UserError, match=r"not about the same: target 1\.0x mobilenet_v3_large and 1\.0x mobilenet_v3_small"
    ):
        between(LARGE, SMALL)


def test_the_command(copy):
    text = CliRunner().invoke(app, ["compare", str(LARGE), str(copy)])
    assert text.exit_code == 0, text.output
    assert "Of 36 decisions 36 are equal" in text.output
    assert "Settings that differ" not in text.output
    document = json.loads(CliRunner().invoke(app, ["compare", str(LARGE), str(copy), "--json"]).output)
    assert document["agrees"] is True
    assert document["overall"]["equal"] == 36
    assert [len(run["accuracies"]) for run in document["runs"]] == [3, 3]


def test_a_folder_of_another_command(tmp_path):
    result = CliRunner().invoke(app, ["compare", str(LARGE), str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert "not a run folder of nas reproduce" in str(result.exception)
