"""`nas zoo`: what each command prints, with measurements by a meter whose times are a formula."""

import json
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from nas.cli import main
from nas.network import resolve
from search_spaces.arch_json import arch_to_json
from search_spaces.zoo import ZOO, get
from tests.latency.synthetic_runtime import SyntheticMeter

Result = namedtuple("Result", "code out err")
COUNTED = {"name", "arch", "params", "macs", "resolution", "num_classes"}
MEASURED = {"latency_ms", "interval_ms", "ratio", "ratio_interval", "status"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # nor this machine's measuring lock
    for name in ("RAY_USAGE_STATS_ENABLED", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "RAY_AIR_NEW_OUTPUT"):
        monkeypatch.setenv(name, "0")


@pytest.fixture
def meter(monkeypatch):
    """In the place of the measuring process."""
    meter = SyntheticMeter()
    monkeypatch.setattr("latency.meter_process.MeterProcess", lambda core, deployment: meter)
    return meter


@pytest.fixture
def run(monkeypatch, capfd):
    """`nas zoo ARGUMENTS` in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nas", "zoo", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return Result(code, *capfd.readouterr())

    return run


def rows_of(result):
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def refusal(result):
    """The one line of a user error."""
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    return line.removeprefix("nas: ")


def test_list_without_latency(run):
    rows = rows_of(run("list", "--json", "--no-latency"))
    assert [row["name"] for row in rows] == list(ZOO)
    assert all(set(row) == COUNTED | MEASURED | {"top1"} for row in rows)
    assert all(row["latency_ms"] is None for row in rows)
    for row in rows:
        network = ZOO[row["name"]]
        assert (row["params"], row["macs"], row["resolution"]) == (network.params, network.macs, network.resolution)
    table = run("list", "--no-latency")
    assert (table.code, "latency" in table.out) == (0, False)
    for row in rows:
        (line,) = [line for line in table.out.splitlines() if line.startswith(f"{row['name']} ")]
        assert f"{row['params']:,}" in line
        assert f"{row['macs']:,}" in line
        assert (f"{row['top1']:.1f} %" if row["top1"] else "-") in line


def test_list_measures_once(run, meter, monkeypatch):
    few = {name: ZOO[name] for name in ("conv_mobilenet_v1", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small")}
    monkeypatch.setattr("search_spaces.zoo.ZOO", few)
    rows = rows_of(run("list", "--json", "--resolution", 64))
    latencies = {row["name"]: row["latency_ms"] for row in rows}
    assert all(row["interval_ms"][0] <= row["latency_ms"] <= row["interval_ms"][1] for row in rows)
    assert latencies["conv_mobilenet_v1"] > latencies["mobilenet_v1"] > latencies["mobilenet_v3_small"]
    asked = meter.num_measured
    table = run("list", "--resolution", 64)
    assert meter.num_measured == asked
    assert f"{latencies['mobilenet_v2']:.2f} ±" in table.out
    run("list", "--resolution", 64, "--fresh")
    assert meter.num_measured == 2 * asked


def test_show(run):
    assert rows_of(run("show", "mobilenet_v2", "--json")) == {
        "name": "mobilenet_v2",
        "arch": str(get("mobilenet_v2")),
        "params": 3_504_872,
        "macs": 300_774_272,
        "resolution": 224,
        "num_classes": 1000,
    }


def test_show_as_people_read_it(run):
    code, out, err = run("show", "mobilenet_v2")
    assert (code, err) == (0, "")
    assert out.splitlines()[:3] == [
        "mobilenet_v2",
        str(get("mobilenet_v2")),
        "3,504,872 params, 300,774,272 MACs at 224 px",
    ]
    assert "published: top-1 72 %, 3.4 M params, 300 M MACs, 75 ms on a Pixel 1 (arXiv 1801.04381, table 4)" in out
    assert " stem " in out
    assert "32x112x112" in out


def test_widths_and_resolutions_in_names(run):
    row = rows_of(run("show", "mobilenet_v1@0.5/160", "--json"))
    assert (row["name"], row["resolution"], row["params"]) == ("mobilenet_v1@0.5/160", 160, 1_331_592)
    assert round(row["macs"] / 1e6) in (76, 77)
    assert rows_of(run("show", "mobilenet_v1@1.0/224", "--json")) == rows_of(run("show", "mobilenet_v1", "--json"))
    assert rows_of(run("show", "inception_v3", "--json"))["resolution"] == 299
    assert "top-1 59.1 %" in run("show", "mobilenet_v1@0.5/160").out


def test_other_resolutions_and_classes(run):
    row = rows_of(run("show", "mobilenet_v2", "--json", "--resolution", 112, "--num-classes", 10))
    assert row["params"] == 3_504_872 - 1281 * 990
    assert (row["resolution"], row["num_classes"]) == (112, 10)
    assert row["macs"] < 0.3 * 300_774_272


def test_squeeze_on_any_network(run):
    plain, with_se = (rows_of(run("show", "resnet50", "--json", *se)) for se in ((), ("--se", 1 / 16)))
    assert with_se["params"] == ZOO["se_resnet50"].params
    assert with_se["arch"] == str(get("se_resnet50"))
    assert plain["name"] == "resnet50"
    for name in ZOO:
        network = rows_of(run("show", name, "--json", "--se", 0.25))
        assert network["params"] > ZOO[name].params or "se0.25" in ZOO[name].arch.__str__()


def test_a_network_may_be_a_string_or_a_file(run):
    arch = get("mobilenet_v2")
    Path("mine.json").write_text(json.dumps(arch_to_json(arch)))
    named = run("show", "mobilenet_v2", "--json")
    assert run("show", str(arch), "--json") == run("show", "mine.json", "--json") == named
    other = rows_of(run("show", "r1_k3_s11_e1_i32_o16", "--json"))
    assert other["name"] == other["arch"] == "r1_k3_s11_e1_i32_o16"
    for name in ZOO:  # every network has a string that names it
        assert resolve(str(ZOO[name].arch)).name == name


def test_replay_ends_where_the_zoo_stands(run, meter):
    rows = rows_of(run("replay", "mobilenet_v3_large", "--json"))
    assert [set(row) for row in rows] == [{"edit", "arch", "params", "macs", "latency_ms"}] * 6
    assert rows[0]["edit"] == "mnasnet_a1"
    assert [round(row["macs"] / 1e6, 1) for row in rows] == [311.6, 260.1, 225.8, 215.3, 216.6, 216.6]
    assert [round(row["params"] / 1e6, 2) for row in rows] == [3.89, 3.73, 4.23, 4.23, 5.48, 5.48]
    assert rows[-1]["arch"] == str(get("mobilenet_v3_large"))
    assert all(row["latency_ms"] > 0 for row in rows)
    table = run("replay", "mobilenet_v3_large", "--no-latency")
    assert (table.code, "311,579,072" in table.out, " ms" in table.out) == (0, True, False)
    without = rows_of(run("replay", "mobilenet_v3_large", "--json", "--no-latency"))
    assert without == [{**row, "latency_ms": None} for row in rows]


def test_compare_interleaves_with_the_first(run, meter):
    names = ["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v1@0.5/160"]
    rows = rows_of(run("compare", *names, "--json", "--html", "chart.html"))
    assert [row["name"] for row in rows] == names
    assert rows[0]["ratio"] == pytest.approx(1.0)
    for row in rows[1:]:
        assert row["ratio"] == pytest.approx(row["latency_ms"] / rows[0]["latency_ms"])
        assert row["ratio_interval"][0] <= row["ratio"] <= row["ratio_interval"][1]
    page = Path("chart.html").read_text()
    assert all(name.partition("/")[0] in page for name in names)  # plotly escapes the slash
    table = run("compare", *names).out
    assert table.count("█") > 3
    assert "x mobilenet_v2" in table
    doubled = rows_of(run("compare", "mobilenet_v2", "--se", 0.25, "--json"))
    assert [row["name"] for row in doubled] == ["mobilenet_v2", "mobilenet_v2 + SE 0.25"]


def test_draw(run):
    assert run("draw", "mobilenet_v3_large", "--out", "v3.dot").out == "v3.dot\n"
    assert Path("v3.dot").read_text().startswith('digraph "mobilenet_v3_large"')
    run("draw", "googlenet", "--out", "g.dot", "--training")
    assert '"aux2.classifier"' in Path("g.dot").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nonsense"], "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, an architecture string, or a "),
        (["show", "resnet50@0.5"], "resnet50 has no width multiplier; those with one: mnasnet_a1, "),
        (["show", "mobilenet_v1@9"], "width multiplier 9: must lie in 0.05 to 4"),
        (["show", "mobilenet_v2", "--se", "2"], "--se 2: squeeze-and-excitation ratio 2.0: must lie in (0, 1]"),
        (["show", "inception_v3/64"], "inception_v3/64 at 64 px: b15.l1.branch1.2: a window of 3x3 does not fit into"),
        (["replay", "mobilenet_v2"], "'mobilenet_v2': no history of edits; known for mobilenet_v3_large"),
        (["compare", "mobilenet_v2", "nonsense"], "'nonsense': not NAME"),
        (["draw", "mobilenet_v2", "--out", "x.gif"], "--out x.gif: allowed are files ending in .svg, .png, .pdf, .dot"),
    ],
)
def test_refusals(run, arguments, message):
    assert refusal(run(*arguments)).startswith(message)
