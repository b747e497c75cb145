import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.estimator import Spread
from latency.latency import Latency
from latency.measurement import Measurement
from nas.calibration import Calibration, DeviceCalibration, DeviceState
from nas.config import Config, parse_config
from nas.errors import UserError
from nas.jsonl import read_json_lines
from nas.quote import Quote
from nas.recorded_latency import RecordedLatency
from nas.run import LATENCY_FORMAT, LATENCY_VERSION, Run, best_of_run, read_calibration, read_config, read_environment
from nas.run_folder import write_json
from nas.trial import Trial, read_trials
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import get

ARCH = parse_arch("r1_k3_s11_e1_i32_o16 head_o8")
CONFIG = parse_config("{trials: 3, concurrency: 2, final: null}", "r.yaml")
STATE = DeviceState(2.5, Spread(session_sd=0.01, process_sd=0.004), DeviceInfo.collect(Deployment(resolution=64)))
CALIBRATION = Calibration({"a": DeviceCalibration(3.25, STATE), "b": DeviceCalibration(1.5)}, "a5d88b34f728071a")
SAMPLES = Measurement.failure("no samples", candidate_sha256="c", reference_sha256="r", device="d")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def measured(ms):
    return Latency(ms, (ms, ms), 1.0, (1.0, 1.0), "ok", "measured", num_pairs=2)


def trial(number, reward=0.0, ms=1.0, arch=ARCH):
    return Trial(
        number=number,
        choices={"a": number},
        arch=arch,
        status="ok",
        reward=reward,
        macs=1,
        params=1,
        accuracy=0.5,
        latency=measured(ms),
    )


def test_a_new_run_holds_its_configuration():
    with Run.create(CONFIG, "some", Path("here/and/there")) as run:
        assert run.folder == Path("here/and/there")
        assert run.config == read_config(run.folder) == CONFIG
        assert run.finished_trials() == []
        assert run.calibration() is None
        assert best_of_run(run.folder) is None
    assert sorted(path.name for path in run.folder.iterdir()) == [
        ".lock",
        "config.yaml",
        "latency.jsonl",
        "trials.jsonl",
    ]


def test_runs_are_counted_by_recipe():
    names = []
    for recipe in ("mnas", "mnas", "mnas-1", "mnas", "a.b"):
        with Run.create(CONFIG, recipe, None) as run:
            names.append(str(run.folder))
    assert names == ["runs/mnas-1", "runs/mnas-2", "runs/mnas-1-1", "runs/mnas-3", "runs/a.b-1"]


def test_the_counter_goes_on_after_the_highest():
    for name in ("mnas-7", "mnas-2", "mnas-x", "mnas-9-old", "axb-5"):
        Path("runs", name).mkdir(parents=True)
    for recipe, folder in (("mnas", "runs/mnas-8"), ("a.b", "runs/a.b-1")):
        with Run.create(CONFIG, recipe, None) as run:
            assert run.folder == Path(folder)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_exists_is_not_overwritten(make):
    make(Path("mine"))
    with pytest.raises(
        UserError, match=r"^mine exists; choose another --out, or continue it with nas search --resume mine$"
    ):
        Run.create(CONFIG, "some", Path("mine"))
    assert list(Path().rglob("*")) == [Path("mine")]


def test_a_parent_that_is_no_folder():
    Path("file").touch()
    with pytest.raises(UserError, match=r"^cannot make the run folder file/run: Not a directory$"):
        Run.create(CONFIG, "some", Path("file/run"))


def test_a_parent_that_must_not_be_written(monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # tests may run as root, whom no mode stops
    with pytest.raises(UserError, match=r"^cannot make the run folder run: Permission denied$"):
        Run.create(CONFIG, "some", Path("run"))


def test_a_run_that_must_not_be_written(monkeypatch):
    Run.create(CONFIG, "some", Path("run")).__exit__(None, None, None)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"^run: cannot write there: Permission denied$"):
        Run(Path("run"))


def test_trials_come_back():
    trials = [trial(1, 0.5), trial(0, 0.75), trial(2, 0.75)]
    with Run.create(CONFIG, "some", Path("run")) as run:
        for one in trials:
            run.append(one)
            assert one in read_trials(Path("run/trials.jsonl"))  # at once
    with Run(Path("run")) as again:
        assert again.finished_trials() == trials
    assert best_of_run(Path("run")) == trials[1]


def test_one_process_at_a_time():
    with Run.create(CONFIG, "some", Path("run")):
        with pytest.raises(UserError, match=r"^run: another process is working on this run$"):
            Run(Path("run"))
        code = "from pathlib import Path; from nas.run import Run; Run(Path('run'))"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        other = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert "another process is working on this run" in other.stderr
    with Run(Path("run")):  # and then it is free
        pass


def test_a_lock_ends_with_a_run_that_could_not_be_opened():
    Run.create(CONFIG, "some", Path("run")).__exit__(None, None, None)
    whole = Path("run/latency.jsonl").read_bytes()
    Path("run/latency.jsonl").write_bytes(b'{"format":"other","version":1}\n')
    with pytest.raises(UserError, match="another program or version wrote it"):
        Run(Path("run"))
    Path("run/latency.jsonl").write_bytes(whole)
    with Run(Path("run")):
        pass


def test_measurements_without_their_trial_are_dropped():
    with Run.create(CONFIG, "some", Path("run")) as run:
        run.append_latency(None, "a", get("mobilenet_v2"), measured(4.0), [SAMPLES, SAMPLES])
        run.append_latency(0, "a", ARCH, measured(1.0), [SAMPLES, SAMPLES])
        run.append(trial(0))
        run.append_latency(1, "a", ARCH, measured(2.0), [SAMPLES, SAMPLES])  # killed here
    path = Path("run/latency.jsonl")
    assert [r["trial"] for r in read_json_lines(path, LATENCY_FORMAT, LATENCY_VERSION)] == [None, 0, 1]
    with Run(Path("run")) as run:
        run.append_latency(1, "a", ARCH, measured(3.0), [SAMPLES, SAMPLES])
    records = read_json_lines(path, LATENCY_FORMAT, LATENCY_VERSION)
    assert [(r["trial"], r["latency"]["latency_ms"]) for r in records] == [(None, 4.0), (0, 1.0), (1, 3.0)]
    assert [Measurement.from_dict(m) for m in records[1]["measurements"]] == [SAMPLES, SAMPLES]
    assert records[1]["device"] == "a"
    assert parse_arch(records[0]["arch"]) == get("mobilenet_v2")


def test_latencies_of_a_run_can_be_used_by_another():
    with Run.create(CONFIG, "some", Path("run")) as run:
        run.append_latency(None, "a", get("mobilenet_v2"), measured(4.0), [SAMPLES, SAMPLES])
        run.append_latency(None, "a", get("mobilenet_v2"), measured(5.0), [SAMPLES, SAMPLES])
        run.append_latency(None, "a", ARCH, measured(9.0), [SAMPLES, SAMPLES])
        run.append(trial(0, ms=2.0))
    source = RecordedLatency.of_run(Path("run"), ["any"])
    assert source.find(ARCH) == {"any": measured(2.0)}  # what the trial was rewarded for
    assert source.find(get("mobilenet_v2")) == {"any": measured(4.0)}  # the first: what the target was set by
    assert source.quote(ARCH, []) == Quote({"any": measured(2.0)})
    assert source.find(get("mnasnet_a1")) is None
    missing = source.quote(get("mnasnet_a1"), [])
    assert missing.failure == f"run has no latency of {get('mnasnet_a1')}"
    assert not missing.measures_at_once


def test_latencies_of_several_devices_are_found_by_name():
    on = {"a": measured(2.0), "b": measured(6.0)}
    with Run.create(CONFIG, "some", Path("run")) as run:
        run.append_latency(None, "b", get("mobilenet_v2"), measured(5.0), [])
        run.append(replace(trial(0), device_latencies=on))
    both = RecordedLatency.of_run(Path("run"), ["b", "a"])
    assert both.find(ARCH) == on
    assert both.find(get("mobilenet_v2")) is None  # on one of two devices only
    assert RecordedLatency.of_run(Path("run"), ["b"]).find(get("mobilenet_v2")) == {"b": measured(5.0)}
    with pytest.raises(UserError, match=r"^latency.run = 'run': no latencies of device 'c'; the run has a, b$"):
        RecordedLatency.of_run(Path("run"), ["a", "c"])


def test_one_recorded_device_does_not_stand_for_two():
    with Run.create(CONFIG, "some", Path("run")) as run:
        run.append(trial(0))
    with pytest.raises(UserError, match=r"no latencies of device 'a'; the run is of one device$"):
        RecordedLatency.of_run(Path("run"), ["a", "b"])


@pytest.mark.parametrize("calibration", [CALIBRATION, Calibration({"a": DeviceCalibration(1.0)}, None)])
def test_what_is_frozen_comes_back(calibration):
    with Run.create(CONFIG, "some", Path("run")) as run:
        run.freeze(calibration, seed=5)
        assert run.calibration() == calibration
    environment = read_environment(Path("run"))
    assert (environment["format"], environment["version"], environment["seed"]) == ("nas-environment", 2, 5)
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["packages"]["torch"]
    assert set(environment) == {"format", "version", "seed", "git", "python", "packages", "calibration"}


def test_environments_that_cannot_be_read():
    Run.create(CONFIG, "some", Path("run")).__exit__(None, None, None)
    path = Path("run/environment.json")
    for content, message in (
        (None, r"^run: the run was stopped before its first trial \(no environment.json\)$"),
        ('{"format": "nas-environment", "version": 1}', r"^run/environment.json: version 1; this program reads 2$"),
        ('{"version": 1', r"^run/environment.json: not JSON; restore the file from a copy$"),
    ):
        if content:
            path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_environment(Path("run"))


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        ({"target_ms": 3.0, "reference_ms": 2.5, "device": {}, "data_fingerprint": None}, "'devices'"),
        (
            {
                "devices": {"a": {**CALIBRATION.to_dict()["devices"]["a"], "device": {"cpu": "x"}}},
                "data_fingerprint": "f",
            },
            "DeviceInfo",
        ),
    ],
)
def test_devices_of_another_version_are_refused_in_one_line(calibration, reason):
    with Run.create(CONFIG, "some", Path("run")) as run:
        run.freeze(CALIBRATION, seed=0)
    path = Path("run/environment.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "calibration": calibration}))
    with pytest.raises(UserError, match=rf"^run/environment.json: devices as another version .*{reason}") as refused:
        read_calibration(Path("run"))
    assert "\n" not in str(refused.value)


def test_journals_of_the_version_before_are_refused():
    Run.create(CONFIG, "some", Path("run")).__exit__(None, None, None)
    for name in ("trials", "latency"):
        path = Path(f"run/{name}.jsonl")
        now = path.read_text()
        path.write_text(now.replace('"version":2', '"version":1'))
        with pytest.raises(UserError, match=r"another program or version wrote it$"):
            Run(Path("run"))
        path.write_text(now)


def test_what_is_no_run_lists_the_runs():
    with pytest.raises(UserError, match=r"^nope: not a run folder \(no config.yaml\); runs here: none$"):
        Run(Path("nope"))
    assert not Path("nope").exists()
    for _ in range(2):
        Run.create(CONFIG, "mnas", None).__exit__(None, None, None)
    Path("runs/half").mkdir()  # killed before its config.yaml
    with pytest.raises(UserError, match=r"runs here: runs/mnas-1, runs/mnas-2$"):
        Run(Path("runs/half"))


def test_a_damaged_configuration_says_which():
    Run.create(CONFIG, "some", Path("run")).__exit__(None, None, None)
    Path("run/config.yaml").write_text("trials: many")
    with pytest.raises(UserError, match=r"^run/config.yaml: trials = 'many': input should be a valid integer$"):
        Run(Path("run"))


def test_json_is_written_whole_or_not_at_all():
    path = Path("some.json")
    write_json(path, {"a": [1, None]})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, None]}
    assert list(Path().iterdir()) == [path]


def test_all_defaults_survive_the_folder():
    with Run.create(Config(), "some", Path("run")) as run:
        assert run.config == Config()
