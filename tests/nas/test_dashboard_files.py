"""The files for Prometheus and Grafana ask for what the program exports, and what starts both finds them."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import experiments
from nas.ray_gauges import GAUGES, RUNNING_GAUGE

FOLDER = Path(experiments.__file__).parent / "dashboard"
START = FOLDER / "start.sh"
SAYS = 'echo "$(basename "$0") $@ | $NAS_DASHBOARD | $GF_PATHS_PROVISIONING" >> "$STUB_LOG"'
STUBS = {  # that write down how they were started; one stays until it is stopped, the other ends, as after Ctrl-C
    "prometheus": f"#!/bin/sh\n{SAYS}\nexec sleep 600\n",
    "grafana": f'#!/bin/sh\nuntil grep -qs ^prometheus "$STUB_LOG"; do sleep 0.1; done\n{SAYS}\n',
}


def expressions():
    board = json.loads((FOLDER / "boards" / "search.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_every_metric_that_grafana_asks_for_is_exported_and_the_other_way_round():
    asked = {re.fullmatch(r'ray_(\w+)\{run=~"\$run"\}', expression).group(1) for expression in expressions()}
    assert asked == {*GAUGES, RUNNING_GAUGE}


def test_the_choice_of_a_run_goes_by_an_exported_metric():
    board = json.loads((FOLDER / "boards" / "search.json").read_text())
    (variable,) = board["templating"]["list"]
    (name,) = re.fullmatch(r"label_values\(ray_(\w+), run\)", variable["query"]).groups()
    assert name in GAUGES


def test_all_panels_ask_the_source_that_is_provided():
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    board = json.loads((FOLDER / "boards" / "search.json").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}


def test_prometheus_reads_the_file_in_which_ray_says_whom_to_ask():
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


def programs(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text(STUBS[name.split("-")[0]])
        (folder / name).chmod(0o755)
    return folder


def start(stubs, tmp_path):
    variables = {
        "PATH": f"{stubs}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "STUB_LOG": str(tmp_path / "log"),
        "TMPDIR": "/scratch",
    }
    return subprocess.run(
        ["/bin/sh", str(START)], capture_output=True, text=True, timeout=60, env={**variables, "LANG": "C"}, check=False
    )


@pytest.mark.parametrize("grafana", ["grafana", "grafana-server"])
def test_one_command_starts_both_and_ends_with_both(tmp_path, grafana):
    ended = start(programs(tmp_path / "bin", "prometheus", grafana), tmp_path)
    assert ended.returncode == 0, ended.stderr
    started = sorted((tmp_path / "log").read_text().splitlines())
    assert started[0].startswith(f"{grafana} {'server ' if grafana == 'grafana' else ''}--homepath ")
    assert started[0].endswith(f"| {FOLDER} | {FOLDER}/provisioning")
    data = tmp_path / ".cache" / "nas" / "dashboard"
    assert started[1].startswith(f"prometheus --config.file={data}/prometheus.yml --storage.tsdb.path={data}/")
    (job,) = yaml.safe_load((data / "prometheus.yml").read_text())["scrape_configs"]
    assert job["file_sd_configs"][0]["files"][0].startswith("/scratch/ray/")  # where Ray goes, too


def test_what_is_missing_is_said(tmp_path):
    if os.access("/usr/bin/grafana", os.X_OK) or os.access("/usr/bin/prometheus", os.X_OK):
        pytest.skip("Grafana or Prometheus is installed here")
    for stubs, missing in (
        (programs(tmp_path / "none"), "grafana"),
        (programs(tmp_path / "g", "grafana"), "prometheus"),
    ):
        ended = start(stubs, tmp_path)
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"start.sh: no {missing} on the PATH")
