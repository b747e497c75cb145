import json
from dataclasses import replace

import pytest

from nas.errors import UserError
from nas.netadapt.ladder import FILES, copy_rung, pick
from tests.nas.netadapt.adapt_runs import SEED_MS, made_steps, make_run

STEPS = made_steps()
ONE, TWO, THREE = (step.cost for step in STEPS)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("amount", "axis", "step"),
    [
        (f"{ONE + 0.001}ms", "latency", 1),
        (f"{TWO + 0.001}ms", "latency", 2),
        (f"{TWO - 0.001}ms", "latency", 3),
        (f"{(TWO + 0.001) / SEED_MS}L", "latency", 2),
        (f"{(TWO + 0.001) / SEED_MS}L", "cost", 2),
        (f"{TWO + 0.001}ms", "cost", 2),
        ("1L", "latency", 1),  # as accurate as the seed, and cheaper
    ],
)
def test_the_most_accurate_within(run, amount, axis, step):
    rung = pick(run, amount, axis)
    assert (rung.step, rung.folder) == (step, run / "steps" / f"{step:02d}")
    assert rung.latency_ms == rung.cost == STEPS[step - 1].cost
    assert rung.accuracy == STEPS[step - 1].accuracy


def test_not_the_slowest_within_but_the_most_accurate(tmp_path):
    run = make_run(tmp_path / "run", [*STEPS[:2], replace(STEPS[2], accuracy=0.9)])
    assert pick(run, "4ms").step == 3


def test_a_step_that_was_not_exported_is_no_rung(run):
    (run / "steps" / "02" / "model.onnx").unlink()
    assert pick(run, f"{TWO + 0.001}ms").step == 3


def test_none_says_what_is_the_lowest(run):
    with pytest.raises(UserError) as caught:
        pick(run, "1.0ms")
    assert str(caught.value) == (
        f"--latency 1.0ms: the lowest of {run} is {THREE:.3f} ms ({THREE / SEED_MS:.3f}L), of step 3; "
        "give more, or adapt to a lower target"
    )


def macs_run(folder):
    """The same run, as if it had reduced multiply-adds, thousands for each of its milliseconds, and measured nothing."""
    run = make_run(folder, measured=False)
    seed = json.loads((run / "seed.json").read_text())
    (run / "seed.json").write_text(json.dumps(seed | {"unit": "MACs"}))
    return run


def test_a_run_without_latencies(tmp_path):
    run = macs_run(tmp_path / "run")
    assert pick(run, "0.85L", "cost").step == 2
    assert pick(run, f"{TWO + 0.001}", "cost").step == 2
    assert pick(run, "0.85L", "cost").latency_ms is None
    with pytest.raises(UserError, match=r"measured no latencies; pick by what it reduced, as --cost 0\.85L"):
        pick(run, "3ms")
    with pytest.raises(UserError, match="--cost '3ms': must be"):
        pick(run, "3ms", "cost")


def test_a_table_prices_where_nothing_was_measured(tmp_path):
    run = make_run(tmp_path / "run", measured=False)
    assert pick(run, f"{TWO + 0.001}ms").latency_ms == TWO


def test_no_networks_at_all(run):
    for number in range(len(STEPS) + 1):
        (run / "steps" / f"{number:02d}" / "arch.json").unlink()
    with pytest.raises(UserError, match="none of its folders steps/NN has"):
        pick(run, "3ms")


def test_copying(run, tmp_path):
    out = tmp_path / "new" / "net"
    copy_rung(pick(run, f"{TWO + 0.001}ms"), out)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert (out / "model.onnx").read_text() == "model.onnx of 2"
    with pytest.raises(UserError, match="exists; choose another folder"):
        copy_rung(pick(run, "4ms"), out)
    assert (out / "model.onnx").read_text() == "model.onnx of 2"
