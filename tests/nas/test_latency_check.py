"""What a recipe's latencies are refused for before anything is started, and how they are completed."""

from pathlib import Path

import pytest

from latency.deployment import Deployment
from latency.meter import GRADES
from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe
from latency.table_file import save_table
from nas.calibration import Calibration, DeviceCalibration
from nas.config import parse_config
from nas.errors import UserError
from nas.latency_check import check_latency, read_device_token, resolved_latency
from nas.run import Run
from search_spaces.zoo import get
from tests.latency.synthetic_runtime import NUM_CLASSES, RESOLUTION, SyntheticMeter, device, samples, true_us

BOARD = "name: board, server: 'https://here:8470', pool: p, token_file: token"
ON_TABLE = f"table: t.json, resolution: {RESOLUTION}, num_classes: {NUM_CLASSES}"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("nas-token\n")


@pytest.fixture(scope="module")
def table():
    """Against MobileNetV2, as recipes are."""
    meter, reference = SyntheticMeter(), get("mobilenet_v2")
    model = MeteredLatency(meter, reference, num_classes=NUM_CLASSES).model(reference)
    frozen = Reference(model, true_us(model) / 1000)
    metered = MeteredLatency(meter, reference, num_classes=NUM_CLASSES, frozen=frozen)
    return fit_table(
        [observe(metered, arch, NUM_CLASSES) for arch in samples(4, seed=0)],
        device=device(),
        population="space tiny",
        num_classes=NUM_CLASSES,
        reference=reference,
        reference_ms=frozen.reference_ms,
    )


def section(text):
    return parse_config(f"latency: {{{text}}}", "r.yaml").latency


def refusal(text):
    with pytest.raises(UserError) as refused:
        check_latency(section(text))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "devices: [{name: local}, {name: phone, ray: pixels, target: 3ms}], over_devices: each",
        f"devices: [{{{BOARD}}}]",
        "devices: [{name: a, server: 'http://127.0.0.1:8470', pool: p, token_file: token}]",
        "dtype: int8, batch: 4, num_threads: 2",
    ],
)
def test_recipes_that_may_begin(text):
    check_latency(section(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "devices: [{name: a, tokenfile: b}]",
            "unknown key 'latency.devices.0.tokenfile'; did you mean 'token_file'? allowed: name, ray, server",
        ),
        ("devices: [{ray: a}]", "latency.devices.0.name"),
        ("devices: [{name: 'a b'}]", "latency.devices.0.name = 'a b'"),
        ("devices: [{name: a, target: fast}]", "latency.devices.0.target = 'fast': target 'fast': write milliseconds"),
        ("over_devices: best", "latency.over_devices = 'best': input should be 'worst', 'mean' or 'each'"),
        ("dtype: int4", "latency.dtype = 'int4': input should be 'float32' or 'int8'"),
        ("batch: 0", "latency.batch = 0"),
    ],
)
def test_what_no_recipe_says(text, message):
    with pytest.raises(UserError) as refused:
        section(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: [{name: a}, {name: b}, {name: a}]", "the name 'a' stands twice; names must differ"),
        ("devices: [{name: a, ray: x, server: 'https://b'}]", "'a': a device is on the Ray cluster or behind a server"),
        ("devices: [{name: a, pool: x}]", "'a': pool belongs to a device with `server: URL`"),
        ("devices: [{name: a, server: 'https://b', pool: x}]", "'a': a device behind a server needs token_file"),
        (f"devices: [{{{BOARD}, ca_file: nope}}]", "'board': nope: not a certificate file"),
        (f"devices: [{{{BOARD.replace('https', 'http')}}}]", "the token would cross the network unencrypted"),
        (f"devices: [{{{BOARD.replace('token_file: token', 'token_file: nope')}}}]", "'board': token_file nope: "),
        ("name: table", "latency.name: table and hybrid latencies need a file of nas latency table build"),
        ("name: hybrid, table: nope.json", "nope.json: cannot be read as a latency table"),
        ("table: t.json", "latency.table = 't.json': belongs to latency.name = table and hybrid only; leave it out"),
        ("run: somewhere", "latency.run = 'somewhere': belongs to latency.name = recorded only; leave it out"),
        ("name: recorded, run: nope", "nope: not a run folder (no trials.jsonl)"),
        (
            "reference: nonsense",
            "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, an architecture string, or a JSON file",
        ),
        (
            "name: table, table: t.json, devices: [{name: a}, {name: b}]",
            "latency.name = 'table' takes one device, for a table belongs to one; latency.devices names 2: a, b",
        ),
    ],
)
def test_recipes_that_cannot_work(text, message):
    assert message in refusal(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "table: t.json",
            "t.json: a table of resolution 32, the recipe has latency.resolution 224; set latency.resolu",
        ),
        (f"{ON_TABLE}, batch: 2", "t.json: a table of batch 1, the recipe has latency.batch 2"),
        (f"{ON_TABLE}, dtype: int8", "t.json: a table of dtype float32, the recipe has latency.dtype int8"),
        (
            ON_TABLE.replace("10", "7"),
            "t.json: a table of networks with 10 classes, the recipe's have 7; set latency.num_",
        ),
        (
            f"{ON_TABLE}, reference: mnasnet_a1",
            "t.json: a table against mobilenet_v2, the recipe's reference is mnasnet_a1",
        ),
    ],
)
def test_tables_of_something_else(table, text, message):
    save_table(table, Path("t.json"))
    check_latency(section(f"name: table, {ON_TABLE}"))
    check_latency(
        section(f"name: hybrid, table: t.json, resolution: {RESOLUTION}")
    )  # the data will say how many classes
    for name in ("table", "hybrid"):
        assert message in refusal(f"name: {name}, {text}")


def test_a_token_is_read():
    assert read_device_token(section(f"devices: [{{{BOARD}}}]").devices[0]) == "nas-token"
    Path("token").write_text("")
    assert "token_file token: holds no token" in refusal(f"devices: [{{{BOARD}}}]")


def test_paths_hold_in_any_folder():
    found = resolved_latency(section(f"name: table, table: t.json, devices: [{{{BOARD}, ca_file: ~/ca.pem}}]"))
    assert found.table == str(Path("t.json").absolute())
    assert found.devices[0].token_file == str(Path("token").absolute())
    assert found.devices[0].ca_file == str(Path.home() / "ca.pem")
    assert resolved_latency(found) == found


def test_a_record_brings_its_devices_along():
    config = parse_config("latency: {devices: [{name: a, target: 2ms}, {name: b, ray: pixels}]}", "r.yaml")
    with Run.create(config, "some", Path("run")) as run:
        run.freeze(Calibration({"a": DeviceCalibration(2.0), "b": DeviceCalibration(3.0)}, None), seed=0)
    found = resolved_latency(section("name: recorded, run: run"))
    assert [(d.name, d.target, d.ray) for d in found.devices] == [("a", "2ms", None), ("b", None, None)]
    assert [d.name for d in resolved_latency(section("name: recorded, run: run, devices: [{name: b}]")).devices] == [
        "b"
    ]


def test_the_recipe_s_deployment_and_care():
    found = section("resolution: 96, batch: 2, num_threads: 3, dtype: int8, half_width: 0.02, budget_s: 0.5")
    assert found.deployment == Deployment(resolution=96, batch=2, num_threads=3, dtype="int8")
    settings = found.grade("search").settings
    assert (settings.goal.half_width, settings.budget_s, found.grade("search").num_processes) == (0.02, 0.5, 1)
    assert found.grade("final") == GRADES["final"]
    assert section("").grade("search") == GRADES["search"]
