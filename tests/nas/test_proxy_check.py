"""`nas proxy-check`: a whole one in a process of its own, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas.cli import app
from nas.config import load_config
from nas.errors import UserError
from nas.proxy_check import TRUSTED_TAU, standalone_jobs
from nas.proxy_check_cli import _proxy
from nas.rank_correlation import kendall_tau
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_json import arch_to_json
from search_spaces.arch_string import parse_arch
from tests.nas.searching import OPEN, Search

pytestmark = pytest.mark.timeout(300)

RECIPE = """
space:
  name: tiny
  stem: {channels: 8}
  head: {channels: 16}
  stages:
    - {filters: [8, 16], kernel: [3, 5], expand: [1, 3], stride: 2}
    - {filters: [8, 16], layers: [1, 2], stride: 2}
concurrency: 2
data: {resolution: 16, num_train: 160}
evaluator:
  name: supernet
  training: {epochs: 1, batch_size: 32}
  supernet: {training: {epochs: 2, batch_size: 32}, num_images: 20}
latency: {resolution: 16, num_classes: 10, reference: reference.json}
final: {training: {epochs: 2, batch_size: 32}, baselines: []}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    (folder / "tiny.yaml").write_text(RECIPE)
    reference = parse_arch("stem_k3_s22_o8 r1_k3_s22_e3_i8_o16 r2_k3_s22_e6_i16_o16 head_o16")
    (folder / "reference.json").write_text(json.dumps(arch_to_json(reference)))
    return folder


OWN_PROXY = {"train": "short training", "supernet": "supernet", "zero_cost": "synflow", "one_shot": "one_shot"}


WITHOUT_RAY = "import nas.ray_cluster; nas.ray_cluster.ray_cluster = None"  # whoever starts or joins Ray fails


def check(folder, *options, prelude=""):
    command = ("proxy-check", "--config", "tiny.yaml", "--networks", "4", "--repeats", "2", *options)
    return Search(
        *command, cwd=folder, prelude=prelude, variables={"XDG_CACHE_HOME": str(folder / "cache")} | OPEN
    ).finish()


def test_a_whole_check_and_what_is_remembered_of_it(folder, cluster):
    status, output = check(folder, "--json", "--ray-address", cluster)
    assert status == 0, output
    lines, document = output[: output.index("{\n")], output[output.index("{\n") :]
    found = json.loads(document)

    assert len([line for line in lines.splitlines() if line.startswith(("1/10", "10/10"))]) == 2  # 4 + 2 + 4 trainings
    assert found["num_networks"] == 4
    assert [len(network["accuracies"]) for network in found["networks"]] == [2, 1, 1, 2]
    assert list(found["proxies"]) == [
        "supernet",
        "short training",
        "synflow",
        "jacob_cov",
        "short_path",
        "MACs",
        "params",
    ]
    truth = np.array([np.mean(network["accuracies"]) for network in found["networks"]])
    for name, proxy in found["proxies"].items():
        scores = np.array([network["scores"][name] for network in found["networks"]])
        assert proxy["tau"]["value"] == pytest.approx(kendall_tau(scores, truth))
        assert proxy["trusted"] == (proxy["tau"]["value"] >= TRUSTED_TAU)
        assert proxy["seconds"] > 0
    assert found["proxies"]["supernet"]["once_s"] > 0
    assert found["proxies"]["MACs"]["over_macs"] is None
    macs = [network["scores"]["MACs"] for network in found["networks"]]
    assert macs == sorted(macs)

    status, output = check(folder, "--no-supernet", prelude=WITHOUT_RAY)

    assert status == 0, output
    assert output.count("epochs, seed") == 10
    assert "4 networks, Kendall's tau" in output
    assert len(list((folder / "cache/nas/standalone").iterdir())) == 10  # none was trained again


def test_jobs_are_repeated_where_the_spread_is_even():
    archs = [parse_arch(f"r1_k3_s11_e1_i32_o{8 * n}") for n in range(1, 10)]
    recipe = TrainingRecipe()

    jobs = standalone_jobs(archs, recipe, seed=5, num_repeats=3)

    assert [len(of_arch) for of_arch in jobs] == [2, 1, 1, 1, 2, 1, 1, 1, 2]
    assert [job.seed for job in jobs[0]] == [5, 6]
    assert all(len(of_arch) == 1 for of_arch in standalone_jobs(archs, recipe, 5, 0))


def test_the_recipes_own_proxy_is_judged():
    sections = {name: load_config("mnas_large.yaml", [f"evaluator.name={name}"]).evaluator for name in OWN_PROXY}

    assert {name: _proxy(section) for name, section in sections.items()} == OWN_PROXY


def test_a_recipe_without_a_final_training_is_refused():
    with pytest.raises(UserError, match=r"proxy-check trains by final.training, and this recipe has none"):
        app(["proxy-check", "--config", "accel_nasbench.yaml", "--set", "evaluator.name=train"], standalone_mode=False)
