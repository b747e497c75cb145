"""Adaptations as frames: all that the journal has, nothing that it has not."""

import pandas as pd
import pytest

from nas import AdaptFrames, UserError, load_run
from nas.netadapt import adapt_config
from nas.netadapt.adapt_record import CONFIG_FORMAT
from nas.netadapt.adapt_tables import widths_of
from tests.nas.netadapt.adapt_runs import NUM_IMAGES, NUM_TEST, SEED, SEED_MS, TARGET_MS, made_steps, make_run


@pytest.fixture
def run(tmp_path):
    return load_run(make_run(tmp_path / "run", trained={"seed": [800], "adapted": [790, 796], "uniform": []}))


def test_steps(run):
    assert isinstance(run, AdaptFrames)
    assert (run.name, run.network, run.unit, run.target, run.is_finished) == ("run", "tiny", "ms", TARGET_MS, True)
    steps = run.steps.set_index("step")
    assert list(steps.index) == list(range(len(made_steps()) + 1))
    assert steps.cost[0] == steps.latency_ms[0] == SEED_MS
    assert pd.isna(steps.loc[0, ["group", "width", "before", "measured_ratio", "seconds"]]).all()
    for step in made_steps():
        row = steps.loc[step.step]
        assert (row.arch, row.cost, row.group) == (step.arch, step.cost, step.accepted)
        assert (row.before, row.after) == (step.choice.before, step.choice.after)
        assert row.accuracy == pytest.approx(step.accuracy)
        assert row.accuracy_low < row.accuracy < row.accuracy_high
        assert (row.measured_ratio_low, row.measured_ratio_high) == step.change.ratio_interval
        assert row.num_images == NUM_IMAGES
    assert steps.width[1] in set(run.widths.width)


def test_proposals(run):
    proposals = run.proposals
    assert len(proposals) == sum(len(step.candidates) for step in made_steps())
    accepted = proposals[proposals.accepted]
    assert list(accepted.group) == [step.accepted for step in made_steps()]
    assert proposals.slope.tolist() == pytest.approx((proposals.accuracy_change / proposals.saving).tolist())
    assert (proposals.accuracy_change_high - proposals.accuracy_change_low).tolist() == pytest.approx(
        [0.004] * len(proposals)
    )
    assert proposals.eliminated.any()


def test_widths(run):
    widths = run.widths
    for step, arch in enumerate([str(SEED), *(step.arch for step in made_steps())]):
        mine = widths[widths.step == step]
        assert dict(zip(mine.group, mine.channels, strict=True)) == widths_of(arch)
    assert (widths.share[widths.step == 0] == 1).all()
    assert widths.share.min() < 1


def test_baselines_and_final_comparison(run):
    assert list(run.random_steps.arch)[1:] == [step.arch for step in made_steps(position=2)]
    assert run.uniform.multiplier.tolist() == [0.87]
    final = run.final.set_index("name")
    assert final.accuracy["adapted"] == 793 / NUM_TEST
    assert final.num_trainings.to_dict() == {"seed": 1, "adapted": 2, "uniform": 0}
    assert pd.isna(final.accuracy["uniform"])
    assert pd.isna(final.fine_tuned_accuracy["uniform"])
    assert final.fine_tuned_accuracy["seed"] == 0.76


def test_an_unfinished_run_without_measurements(tmp_path):
    run = load_run(make_run(tmp_path / "run", made_steps(measured=False)[:1], measured=False, baselines=False))
    assert not run.is_finished
    assert len(run.steps) == 2
    assert run.steps[["latency_ms", "latency_status", "measured_ratio"]].isna().all(axis=None)
    for frame in (run.random_steps, run.uniform, run.final):
        assert frame.empty
        assert frame.cost.dtype == "float64"


def test_before_the_first_step(tmp_path):
    run = load_run(make_run(tmp_path / "run", (), baselines=False))
    assert run.steps.step.tolist() == [0]
    assert run.proposals.empty
    assert run.proposals.accepted.dtype == bool


def test_bad_folders(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "final.json").write_text("{")
    with pytest.raises(UserError, match=r"final\.json: not JSON; restore the file from a copy"):
        load_run(folder)
    (folder / "seed.json").unlink()
    with pytest.raises(UserError, match="go on with: nas adapt --resume"):
        load_run(folder)


def test_the_format_is_known_without_the_configuration():
    assert CONFIG_FORMAT == adapt_config.FORMAT
