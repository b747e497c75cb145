"""A whole one-shot search: weights and policy are trained in one run, its trials are drawn from the policy."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe
from latency.table_file import save_table
from nas.config import parse_config
from nas.errors import UserError
from nas.policy_file import POLICY, settled_policy
from nas.policy_sampler import JOURNAL
from nas.recipe_check import check
from nas.trial import read_trials
from search_spaces.zoo import get
from tests.latency.synthetic_runtime import SyntheticMeter
from tests.nas.searching import OPEN, Search

pytestmark = pytest.mark.timeout(300)

RECIPE = """
space:
  name: tiny
  stem: {channels: 8}
  head: {channels: 16}
  stages: [{filters: 8, kernel: [3, 5], stride: 2}, {filters: [8, 64], stride: 2}]
trials: 3
concurrency: 1
data: {resolution: 8, num_train: 240, num_test: 20}
evaluator:
  name: one_shot
  supernet: {training: {epochs: 12, batch_size: 32, warmup_epochs: 1, learning_rate: 0.1}}
  policy: {num_images: 48}
latency: {name: table, resolution: 32, num_classes: 10, reference: mobilenet_v3_small}
controller: {name: reinforce, options: {preset: paper, batch_size: 4, learning_rate: 0.05}}
objective: {form: absolute, beta: -20}   # made-up prices differ by some percent
final: null
"""
BELIEVE_IT = "import nas.table_trust; nas.table_trust.MAX_ERROR = 99.0"  # prices here are made up


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Prices of the whole space, as if of this machine; with the file that it is in."""
    path, space = tmp_path_factory.mktemp("table") / "table.json", parse_config(RECIPE, "r").search_space
    names = [choice.name for choice in space.choices]
    options = itertools.product(*(choice.options for choice in space.choices))
    archs = [space.decode(dict(zip(names, taken, strict=True))) for taken in options]
    meter, reference = SyntheticMeter(), get("mobilenet_v3_small")
    model = MeteredLatency(meter, reference, num_classes=10).model(reference)
    metered = MeteredLatency(meter, reference, num_classes=10, frozen=Reference(model, 1.0))
    found = fit_table(
        [observe(metered, arch, 10) for arch in archs],
        device=DeviceInfo.collect(Deployment(resolution=32)),
        population="space tiny",
        num_classes=10,
        reference=reference,
        reference_ms=1.0,
    )
    save_table(found, path)
    return found, path


def test_a_search_that_trains_weights_and_policy_together(table, cluster, tmp_path):
    prices, path = table
    space = parse_config(RECIPE, "r").search_space
    narrow = space.decode({"b1.kernel": 3, "b2.filters": 8})
    target_ms = prices.price(narrow).latency_ms
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    settings = (f"latency.table={path}", f"objective.target={target_ms}ms")
    command = ["search", "--config", "tiny.yaml", "--out", "run", "--ray-address", cluster]
    command += [word for setting in settings for word in ("--set", setting)]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    status, output = Search(*command, cwd=tmp_path, prelude=BELIEVE_IT, variables=cache | OPEN).finish()
    assert status == 0, output
    assert re.search(r"policy +most likely: \S+", output)

    run = tmp_path / "run"
    trials = [trial for trial in read_trials(run / "trials.jsonl") if trial.repeat_of is None]
    assert [trial.status for trial in trials] == ["ok"] * 3
    assert len({trial.arch.key for trial in trials}) == 3
    assert trials[0].choices["b2.filters"] == 8  # the wide networks are far from the target
    assert trials[0].choices == settled_policy(run, space.choices, 0).ask().choices
    for trial in trials:
        assert trial.latency == prices.price(trial.arch)
        assert trial.reward == pytest.approx(trial.accuracy - 20 * abs(trial.latency_ms / target_ms - 1))
    assert json.loads((run / POLICY).read_text())["format"] == "nas-policy"
    (journal,) = (tmp_path / "cache").rglob(JOURNAL)
    assert len(journal.read_text().splitlines()) == 1 + 54  # of 72 steps
    assert "of proposals" in (run / "report.html").read_text()


def refusal(*assignments):
    with pytest.raises(UserError) as error:
        check(parse_config(RECIPE, "r", list(assignments)))
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def test_what_a_one_shot_recipe_needs_is_said_before_anything_starts():
    flags = "--space tiny --resolution 32 --num-classes 10 --reference mobilenet_v3_small"
    build = f"build a table with: nas latency table build {flags} --out FILE; then set latency.name=table"
    assert "the recipe has no latency.table; " in refusal()
    assert build in refusal()
    assert "the recipe has latency.name = measure" in refusal("latency.name=measure", "latency.table=t.json")
    assert build in refusal("latency.name=measure")
    assert "the recipe says ppo" in refusal("controller={name: ppo}")


def test_a_run_without_its_policy_says_what_writes_it_again(tmp_path):
    space = parse_config(RECIPE, "r").search_space
    with pytest.raises(UserError, match=r"policy\.json: cannot be used .* nas search --resume .* writes it again"):
        settled_policy(tmp_path, space.choices, 0)
    (tmp_path / POLICY).write_text(json.dumps({"format": "nas-policy", "version": 1, "logits": {"b1.kernel": [0, 1]}}))
    with pytest.raises(UserError, match=r"cannot be used \('b2.filters'\)"):
        settled_policy(tmp_path, space.choices, 0)
