"""What a person can look at while a real search runs: Ray's dashboard, its metrics, TensorBoard's curves."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nas.ray_gauges import GAUGES, RUNNING_GAUGE
from nas.run_watch import FollowedSearch
from nas.standing import Standing
from tests.nas.chromium import needs_chromium, opened_page
from tests.nas.report_runs import make_run, succeeded
from tests.nas.searching import Search, num_journalled
from tests.nas.test_search import STOP_AFTER_TWO
from tests.nas.test_tensorboard_curves import curves

pytestmark = pytest.mark.timeout(300)

TOKEN = "c0ffee00" * 8  # Ray's dashboard asks for it
RECIPE = """
trials: 4
concurrency: 2
controller: {name: random}
data: {num_train: 300, num_test: 100}
evaluator: {training: {epochs: 1}}
objective: {target: 3ms}
latency: {name: recorded, resolution: 64}
"""
Samples = list[tuple[dict[str, str], float]]


@dataclass(frozen=True)
class Held:
    """A search that goes no further than its second trial, and lives."""

    search: Search
    run: Path
    dashboard: str
    discovery: Path

    @property
    def standing(self) -> Standing:
        return reduce(Standing.after, FollowedSearch(self.run).record.trials, Standing())

    def scraped(self) -> dict[str, Samples]:
        """Our metrics as Prometheus would find them: from whom Ray's file says that it should ask."""
        (group,) = json.loads(self.discovery.read_text())
        found: dict[str, Samples] = {}
        for target in group["targets"]:
            with urllib.request.urlopen(f"http://{target}/metrics", timeout=60) as answer:
                for family in text_string_to_metric_families(answer.read().decode()):
                    if family.name.startswith("ray_nas_"):
                        found[family.name] = [(sample.labels, sample.value) for sample in family.samples]
        return found


def _dashboard(search: Search) -> str:
    """Its address, as the search prints it."""
    head = ""
    assert search.process.stdout is not None
    while (match := re.search(r"dashboard (http://\S+)", head)) is None:
        line = search.process.stdout.readline()
        assert line, head
        head += line
    assert "ray get-auth-token" in head
    return match.group(1)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    folder = tmp_path_factory.mktemp("runs")
    measured, run = folder / "measured", folder / "held"
    make_run(measured, succeeded)  # latencies come from a record: a busy machine would have none
    ray_folder = Path(tempfile.mkdtemp(prefix="nas", dir="/tmp"))  # short: Ray's sockets lie in it
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": str(ray_folder)}
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE)
    arguments = ("--config", str(recipe), "--out", str(run), "--set", f"latency.run={measured}")
    search = Search("search", *arguments, prelude=STOP_AFTER_TWO, variables=variables)
    try:
        dashboard = _dashboard(search)
        search.wait_until(lambda: num_journalled(run) == 2)
        yield Held(search, run, dashboard, ray_folder / "ray" / "prom_metrics_service_discovery.json")
    finally:
        search.kill_everything()
        shutil.rmtree(ray_folder, ignore_errors=True)


def test_ray_exports_where_the_search_stands(held: Held) -> None:
    found: dict[str, Samples] = {}

    def all_there() -> bool:
        with contextlib.suppress(OSError, ValueError):  # the file, or a process that it names, may not be there yet
            found.update(held.scraped())
        return (
            found.keys() == {f"ray_{name}" for name in (*GAUGES, RUNNING_GAUGE)} and _value(found, "trials_done") == 2
        )

    held.search.wait_until(all_there)
    assert all(labels["run"] == "held" for samples in found.values() for labels, _ in samples)
    for name, value in held.standing.readings.items():
        assert _value(found, name) == pytest.approx(value)
    assert _value(found, "target_ms") == 3
    assert _value(found, "trials_planned") == 4
    assert {labels["trial"] for labels, _ in found[f"ray_{RUNNING_GAUGE}"]} <= {"0", "1", "2", "3"}


def _value(found: dict[str, Samples], name: str) -> float:
    ((_, value),) = found[f"ray_nas_{name}"]
    return value


@needs_chromium
def test_the_dashboard_shows_each_trial_with_its_number_and_network(held: Held) -> None:
    with opened_page() as page:
        page.goto(f"{held.dashboard}/#/actors")
        page.get_by_placeholder("Enter your authentication token").fill(TOKEN)
        page.get_by_role("button", name="Submit").click()
        rows = page.get_by_role("row").filter(has_text="CandidateTrial")
        for trial in FollowedSearch(held.run).record.trials:
            rows.filter(has_text=f"trial {trial.number} {trial.arch}").wait_for()


def test_tensorboard_has_the_trials_before_which_none_is_missing(held: Held) -> None:
    numbers = {trial.number for trial in FollowedSearch(held.run).record.trials}
    written = [number for number in sorted(numbers) if set(range(number)) <= numbers]
    held.search.wait_until(lambda: _steps(held.run) == written)


def _steps(run: Path) -> list[int]:
    return [step for step, _ in curves(run).get("search/reward", [])]
