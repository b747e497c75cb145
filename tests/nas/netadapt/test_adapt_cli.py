"""`nas adapt --plan`: what it prints, by multiply-adds and by a table, and what it refuses."""

from __future__ import annotations

import json
import sys
from itertools import islice

import pytest

from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe, variant_networks
from latency.table_file import save_table
from nas.cli import main
from search_spaces.arch_string import parse_arch
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, RESOLUTION, SyntheticMeter, device

ARCH = "stem_k3_s22_o16 r1_k3_s22_x64_i16_o24 r2_k3_s11_e3_i24_o24_se0.25 head_o64"

SMALL = ("--arch", ARCH, "--resolution", 32, "--num-classes", 10)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Of the network's narrower variants, the corners among them, by a device whose times are a formula."""
    meter, arch = SyntheticMeter(), parse_arch(ARCH)
    model = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES).model(REFERENCE)
    metered = MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES, frozen=Reference(model, 5.0))
    fitted = fit_table(
        [observe(metered, variant, NUM_CLASSES) for variant in islice(variant_networks(arch, 0, 1), 20)],
        device=device(),
        population=f"variants of {arch}",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=5.0,
    )
    file = tmp_path_factory.mktemp("table") / "table.json"
    save_table(fitted, file)
    return file, fitted


@pytest.fixture
def run(monkeypatch, capfd):
    """`nas adapt ARGUMENTS` in this process: exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nas", "adapt", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capfd.readouterr()

    return run


def test_the_default_is_mnasnet_a1_by_multiply_adds(run):
    code, out, err = run("--plan", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert (plan["network"], plan["cost"], plan["unit"], plan["groups"]) == ("mnasnet_a1", "macs", "MACs", "v3")
    assert (plan["schedule"], plan["seed_cost"], plan["target"]) == ("0.01L", 311_579_072, 0.8 * 311_579_072)
    assert len(plan["proposals"]) == 22
    assert (plan["infeasible"], plan["max_steps"]) == ([], 20)
    assert plan["proposals"][2] == {
        "group": "b2.l1.project",
        "kind": "bottleneck",
        "from": 24,
        "to": 16,
        # two layers of 144 channels on each side, one of 96, one of 72 at 56 x 56; a squeeze of 6 becomes one of 4
        "saving": (96 + 2 * 144 + 72) * 8 * 56 * 56 + 2 * 72 * 2,
        "members": ["b2.l1.project", "b3.l1.project"],
    }
    assert plan["seconds"] > 0


def test_with_stem_and_head(run):
    arguments = ("--groups", "all", "--target", "0.5L", "--schedule", "0.025L*0.96", "--json")
    code, out, _ = run("--plan", *SMALL, *arguments)
    plan = json.loads(out)
    assert (code, plan["max_steps"]) == (0, 40)  # 0.625 (1 - 0.96^n) is 0.4993 for 39 and 0.5042 for 40
    kinds = [proposal["kind"] for proposal in plan["proposals"]]
    assert kinds == ["stem", "expansion", "bottleneck", "expansion", "expansion", "head"]


def test_people_read_the_same(run):
    code, out, _ = run("--plan", *SMALL, "--schedule", "0.25L", "--target", "0.4L")
    assert code == 0
    first, second, *lines = out.splitlines()
    assert first == f"{ARCH}: L = 1.13 M MACs; target 0.45 M MACs, lowest possible 0.24 M MACs"
    assert second == "each step saves 0.25L, the first 0.28 M MACs"
    rows = [line.split() for line in lines]
    assert ["b1.l1.expand", "expansion", "64", "8"] in [row[:4] for row in rows]
    assert [row[-2:] for row in rows if row[0] == "b1.l1.project"] == [["b2.l1.project,", "b3.l1.project"]]
    assert "infeasible: b2.l1.expand (expansion, 72) saves 0.23 M MACs at most" in lines
    assert lines[-1].startswith("2 proposals; at most 3 steps, if each finds one")


def test_by_a_table_in_milliseconds(run, table):
    file, prices = table
    code, out, err = run("--plan", "--arch", ARCH, "--table", file, "--schedule", "0.02ms", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    seed_ms = prices.price(parse_arch(ARCH)).latency_ms
    assert (plan["cost"], plan["unit"], plan["seed_cost"]) == ("table", "ms", pytest.approx(seed_ms))
    assert plan["proposals"]
    assert all(0.02 <= proposal["saving"] < seed_ms for proposal in plan["proposals"])
    assert plan["max_steps"] == -(-0.2 * seed_ms // 0.02)


def test_an_operation_without_a_price_is_named(run, table):
    code, out, err = run("--plan", "--arch", "mnasnet_a1", "--table", table[0])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the table has no price for 'conv 3->32" in err
    assert "nas latency table build --arch" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plan", "--schedule", "fast"], "nas: --schedule 'fast': must be"),
        (["--plan", "--schedule", "0.5ms"], "nas: --schedule 0.5ms: multiply-adds are no milliseconds"),
        (["--plan", "--target", "3.0ms"], "nas: --target 3ms: multiply-adds are no milliseconds"),
        (["--plan", "--target", "1L"], "nas: --target 1L: mnasnet_a1 has 311.58 M MACs, which is no more"),
        (
            ["--plan", *SMALL, "--target", "0.01L"],
            "at its narrowest has 0.24 M MACs (0.209L), the lowest that is possible; --groups all",
        ),
        (
            ["--plan", "--target", "0.25L", "--schedule", "0.025L*0.96"],
            "the lowest that they are sure to reach is 116.84 M MACs (0.375L)",
        ),
        (["--plan", "--arch", "nonet"], "nas: 'nonet': not NAME"),
        (["--plan", "--set", "ema_decai=0.99"], "unknown key 'ema_decai'; did you mean 'ema_decay'?"),
        (["--plan", "--set", "ema_decay"], "nas: --set ema_decay: write key=value, for example --set ema_decay=0.99"),
        (["--plan", "--set", "ema_decay=3"], "ema_decay = 3: input should be less than 1"),
        (["--plan", "--cost", "table"], "nas: --cost table: which? give --table FILE"),
        (["--plan", "--cost", "macs", "--table", "x.json"], "nas: --cost macs needs no --table"),
        (["--plan", "--table", "x.json"], "x.json"),
        (
            ["--plan", "--arch", "inception_v3", "--resolution", "32"],
            "nas: at 32 px: b10.l1.branch1.1: a window of 3x3",
        ),
    ],
)
def test_what_cannot_be_planned(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_table_is_of_one_resolution(run, table):
    code, _, err = run("--plan", "--arch", ARCH, "--table", table[0], "--resolution", 224)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--resolution 224: {table[0]} is for {RESOLUTION}" in err
