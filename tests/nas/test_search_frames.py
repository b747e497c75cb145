"""Searches as frames: all that the journal has, nothing that it has not."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from latency.latency import Latency
from nas import SearchFrames, UserError, load_run
from nas.report import fronts_frame
from nas.trial import read_trials
from tests.nas.report_runs import (
    NASTY,
    TARGET_MS,
    add_finale,
    failed,
    make_run,
    make_run_on_two_devices,
    succeeded,
)


@pytest.fixture
def folder(tmp_path):
    make_run(tmp_path / "run")
    return tmp_path / "run"


def test_trials_are_those_of_the_journal(folder):
    run = load_run(folder)
    assert isinstance(run, SearchFrames)
    assert (run.name, run.target_ms, run.devices, run.resolution) == ("run", TARGET_MS, ["local"], 64)
    trials = read_trials(folder / "trials.jsonl")
    frame = run.trials
    assert list(frame.number) == [trial.number for trial in trials]
    assert list(frame.arch) == [str(trial.arch) for trial in trials]
    assert list(frame.macs) == [trial.macs for trial in trials]
    for row, trial in zip(frame.itertuples(), trials, strict=True):
        if trial.status == "ok":
            assert (row.accuracy, row.latency_ms, row.reward) == (trial.accuracy, trial.latency_ms, trial.reward)
            assert (row.latency_low_ms, row.latency_high_ms) == trial.latency.interval_ms
            assert (row.latency_ratio, row.latency_status) == (trial.latency.ratio, "ok")
            assert row.training_s == 8.0


def test_what_a_failed_trial_lacks_is_missing_and_not_zero(folder):
    frame = load_run(folder).trials
    row = frame[frame.status == "failed"].iloc[0]
    for name in ("accuracy", "latency_ms", "latency_low_ms", "latency_status", "reward", "training_s", "repeat_of"):
        assert pd.isna(row[name])
    assert row.reason == NASTY
    assert row.params > 0


def test_a_latency_that_failed_has_a_status_and_no_milliseconds(tmp_path):
    make_run(tmp_path / "run", lambda blank: replace(failed(blank), latency=Latency.failure("no kernel")))
    frame = load_run(tmp_path / "run").trials
    assert frame.latency_ms.isna().all()
    assert set(frame.latency_status) == {"failed"}


def test_front_and_best_are_the_reports(folder):
    run = load_run(folder)
    front = fronts_frame(run.record)
    assert list(run.front.number) == list(front.trial)
    assert run.best.number == run.trials.set_index("number").reward.idxmax()


def test_choices(folder):
    choices = load_run(folder).choices
    trials = read_trials(folder / "trials.jsonl")
    assert list(choices.index) == [trial.number for trial in trials]
    assert choices.iloc[0].to_dict() == dict(trials[0].choices)


def test_before_the_final_comparison(folder):
    run = load_run(folder)
    assert not run.is_finished
    assert run.final.empty
    assert run.kernels.empty
    assert run.final.accuracy.dtype == "float64"
    assert run.layers.time_us.isna().all()
    assert run.layers.macs.sum() == run.best.macs


def test_the_final_comparison(folder):
    best = add_finale(folder)
    run = load_run(folder)
    final = run.final.set_index("name")
    assert run.is_finished
    assert list(final.index) == ["winner", "mobilenet_v2", "mnasnet_a1"]
    assert final.accuracy["winner"] == 342 / 360
    assert (final.accuracy_low < final.accuracy).all()
    assert math.isnan(final.latency_ms["mnasnet_a1"])
    assert run.best.number == best.number
    assert run.kernels.time_us.sum() == run.layers.time_us.sum() == 10.0 * len(run.kernels)


def test_a_run_without_a_success(tmp_path):
    make_run(tmp_path / "run", failed)
    run = load_run(tmp_path / "run")
    assert run.best is None
    assert run.front.empty
    assert run.layers.empty


def test_an_unfinished_run(tmp_path):
    make_run(tmp_path / "run", stop_after=3)
    assert len(load_run(tmp_path / "run").trials) == 3


def test_frames_are_ones_own(folder):
    run = load_run(folder)
    frame = run.trials
    frame["accuracy"] = 0.0
    assert (run.trials.accuracy.dropna() > 0).all()


def test_several_devices(tmp_path):
    make_run_on_two_devices(tmp_path / "run")
    run = load_run(tmp_path / "run")
    fronts = fronts_frame(run.record)
    for device in run.devices:
        seen = run.on(device)
        mine = fronts[fronts.device == device]
        assert list(seen.front.number) == list(mine.trial)
        assert list(seen.front.latency_ms) == list(mine.latency_ms)
        assert seen.final.latency_ms.tolist()[:2] == [{"desk": 2.5, "phone": 7.25}[device]] * 2
        assert seen.target_ms == run.record.objectives.by_device[device].target_ms
    with pytest.raises(UserError, match="device 'tablet': this run has desk, phone"):
        run.on("tablet")


def test_one_device_is_the_run_itself(folder):
    run = load_run(folder)
    pd.testing.assert_frame_equal(run.on("local").trials, run.trials)


def test_bad_folders(tmp_path, folder):
    with pytest.raises(UserError, match="no such folder; give the run folder"):
        load_run(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"not a run folder \(no config\.yaml\)"):
        load_run(tmp_path)
    (folder / "final.json").write_text("{")
    with pytest.raises(UserError, match="a damaged file"):
        load_run(str(folder))
    (folder / "final.json").unlink()
    with (folder / "trials.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(UserError, match="a damaged file"):
        load_run(folder)
    (folder / "environment.json").unlink()
    with pytest.raises(UserError, match="stopped before its first trial"):
        load_run(folder)


def test_a_small_set_of_successes(tmp_path):
    make_run(tmp_path / "run", succeeded, stop_after=2)
    assert load_run(tmp_path / "run").trials.status.tolist() == ["ok", "ok"]
