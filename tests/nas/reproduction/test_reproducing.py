"""`nas reproduce` as a user runs it: real processes, Ray, trainings, a real kill; a device whose times are a formula."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from latency.deployment import Deployment
from latency.latency import Latency
from latency.metered import MeteredLatency
from nas import load_run
from nas.config import parse_config
from nas.netadapt.adapt_record import AdaptRecord
from nas.reproduction.redesign import EDITS, all_edits
from nas.reproduction.reproduce_frames import ReproduceFrames
from nas.reproduction.reproduce_record import ReproduceRecord
from nas.space_section import SpaceSection
from nas.trial import FORMAT as TRIALS_FORMAT
from nas.trial import VERSION as TRIALS_VERSION
from nas.trial import Trial, read_trials
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import get
from tests.latency.synthetic_runtime import SyntheticMeter
from tests.nas.netadapt.adaptations import NUM_TRAIN, images
from tests.nas.searching import OPEN, Search

pytestmark = pytest.mark.timeout(900)

RESOLUTION, NUM_CLASSES = 32, 10
REFERENCE = "mobilenet_v3_small"
SPACE = {
    "name": "tiny",
    "stem": {"channels": 16},
    "head": {"channels": 128},
    "stages": [
        {"filters": 24, "kernel": [3, 5], "expand": 3, "stride": 2},
        {"filters": 32, "expand": [3, 6], "se": 0.25, "stride": 2},
        {"filters": 48, "expand": 3, "stride": 2},
        {"filters": 64, "expand": 6},
    ],
}
SYNTHETIC = """
from nas import opened_meter
from tests.latency.synthetic_runtime import SyntheticMeter
opened_meter.MeterProcess = lambda core, deployment: SyntheticMeter(**deployment.to_dict())
"""
DIES_AFTER_ONE_EDIT = """
import os, signal
from nas.reproduction import reproducing
write = reproducing.ReproduceRun.write
def dies(run, name, document):
    write(run, name, document)
    if name == "redesign":
        os.kill(os.getpid(), signal.SIGKILL)
reproducing.ReproduceRun.write = dies
"""


def _metered() -> MeteredLatency:
    meter = SyntheticMeter(**Deployment(resolution=RESOLUTION).to_dict())
    return MeteredLatency(meter, get(REFERENCE), num_classes=NUM_CLASSES)


def _networks() -> list[tuple[dict[str, object], ArchSpec]]:
    space = SpaceSection(**SPACE).space()
    first, second = space.choices
    choices = [{first.name: a, second.name: b} for a in first.options for b in second.options]
    return [(chosen, space.decode(chosen)) for chosen in choices]


def _record(folder: Path) -> None:
    """Latencies of all networks of the space, as the formula has them."""
    folder.mkdir()
    metered = _metered()
    lines = [{"format": TRIALS_FORMAT, "version": TRIALS_VERSION}]
    for number, (choices, arch) in enumerate(_networks()):
        latency = metered.latency(arch)
        known = {"status": "ok", "reward": 0.5, "macs": 1, "params": 1, "accuracy": 0.5}
        lines.append(Trial(number=number, choices=choices, arch=arch, latency=latency, **known).to_dict())
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.yaml").write_text(parse_config("trials: 4", "record").dump())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, recorded latencies, a recipe whose target all networks of the space are slower than."""
    home = tmp_path_factory.mktemp("reproducing")
    images(home / "tiny.npz")
    _record(home / "record")
    metered = _metered()
    variants = [v for _, arch in _networks() for v in (arch, all_edits(arch, list(EDITS)))]
    target_ms = 0.9 * min(metered.latency(arch).latency_ms for arch in variants)
    training = {"batch_size": 16, "epochs": 1}
    recipe = {
        "format": "nas-reproduce",
        "target": f"{target_ms:.6f}ms",
        "search": {
            "space": SPACE,
            "trials": 3,
            "concurrency": 2,
            "data": {"source": str(home / "tiny.npz"), "resolution": RESOLUTION, "holdout": 0.2},
            "evaluator": {"name": "train", "training": training},
            "latency": {
                "name": "recorded",
                "run": str(home / "record"),
                "resolution": RESOLUTION,
                "num_classes": NUM_CLASSES,
                "reference": REFERENCE,
            },
            "controller": {"name": "ppo", "options": {"batch_size": 2}},
            "objective": {"target": f"{2 * target_ms:.6f}ms"},
        },
        "shortlist": 2,
        "adapt": {"schedule": "0.06L", "num_steps": 4},
        "redesign": {"num_seeds": 1},
        "comparison": {"networks": ["mobilenet_v3_small"], "num_trainings": 2, "training": training},
    }
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return home


@dataclass(frozen=True)
class Finished:
    run: Path
    output: str


def _reproduce(run: Path, cluster: str, *arguments: str) -> Finished:
    """`nas reproduce` in a process of its own, to its end."""
    command = ("reproduce", *arguments, "--ray-address", cluster)
    code, output = Search(*command, prelude=SYNTHETIC, variables=OPEN | _own(run.parent)).finish()
    assert code == 0, output
    return Finished(run, output)


def _own(home: Path) -> dict[str, str]:
    """Tables are kept apart from the user's."""
    return {"XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def finished(home: Path, cluster: str) -> Finished:
    """A whole reproduction in the paper's order, killed once among the edits."""
    run = home / "paper"
    command = ("reproduce", str(home / "recipe.yaml"), "--out", str(run), "--ray-address", cluster)
    program = Search(*command, prelude=SYNTHETIC + DIES_AFTER_ONE_EDIT, variables=OPEN | _own(home))
    try:
        output, _ = program.process.communicate(timeout=600)
        assert program.process.returncode == -signal.SIGKILL, output
    finally:
        program.kill_everything()
    assert len(json.loads((run / "redesign.json").read_text())["trials"]) == 1
    return _reproduce(run, cluster, "--resume", str(run))


def test_it_comes_down_to_the_target_through_all_stages(finished: Finished) -> None:
    record = ReproduceRecord.read(finished.run)
    assert [stage.name for stage in record.stages] == ["seed", "adapt", "redesign", "landing"]
    assert record.latency is not None
    assert record.target_ms is not None
    assert 0.9 * record.target_ms < record.latency.latency_ms <= record.target_ms
    assert record.arch is not None
    assert record.latency.latency_ms == pytest.approx(_metered().latency(parse_arch(record.arch)).latency_ms)
    names = [network.name for network in record.networks]
    assert names == ["found", "mobilenet_v3_small", "uniform", "random"]
    for network in record.networks:
        assert [training.seed for training in network.trained] == [0, 1]
        assert network.name in record.int8
    for name in ("uniform", "random"):
        other = record.network(name)
        assert other is not None
        assert other.cost <= record.target_ms
    assert len(read_trials(finished.run / "search" / "trials.jsonl")) >= 3


def test_the_best_trials_were_trained_again_and_the_best_of_them_is_the_seed(finished: Finished) -> None:
    record = ReproduceRecord.read(finished.run)
    trials = {trial.number: trial for trial in read_trials(finished.run / "search" / "trials.jsonl")}
    assert record.target_ms is not None
    assert len(record.shortlist) == len(record.random_shortlist) == 2
    assert record.seed_trial == max(record.shortlist, key=lambda entry: entry.accuracy).trial
    for entry in record.shortlist:
        assert entry.searched_accuracy == trials[entry.trial].accuracy
        assert entry.arch == str(trials[entry.trial].arch)
        assert entry.fitted_ms == pytest.approx(_metered().latency(parse_arch(entry.fitted)).latency_ms)
        assert entry.fitted_ms <= record.target_ms
        kept = json.loads((finished.run / "shortlist" / f"trial-{entry.trial}.json").read_text())
        assert (kept["arch"], kept["num_correct"]) == (entry.fitted, entry.num_correct)
        assert entry.accuracy == entry.num_correct / kept["num_test"]
    rewards = [trials[entry.trial].reward for entry in record.shortlist]
    assert rewards == sorted(rewards, reverse=True)
    assert json.loads((finished.run / "shortlist.json").read_text())["num_holdout"] == round(0.2 * NUM_TRAIN)


def test_the_edits_were_tried_on_what_the_stages_before_have_left(finished: Finished) -> None:
    record = ReproduceRecord.read(finished.run)
    assert [trial.edit for trial in record.edits] == list(EDITS)
    arch = parse_arch(record.stages[1].arch)
    for trial in record.edits:
        if trial.arch is not None:
            assert parse_arch(trial.arch) == all_edits(arch, [trial.edit])
            assert trial.latency is not None
            measured = Latency.from_dict(dict(trial.latency))
            assert measured.latency_ms == pytest.approx(_metered().latency(parse_arch(trial.arch)).latency_ms)
        if trial.kept and trial.arch:
            arch = parse_arch(trial.arch)
    assert str(arch) == record.stages[2].arch


def test_its_report_and_its_summary_say_the_same(finished: Finished) -> None:
    report = (finished.run / "report.html").read_text()
    for text in ("Final comparison", "Stage by stage", "Which trial is the seed", "The edits by hand", "Quantised"):
        assert text in report
    assert "Found:" in finished.output
    sentence = next(line for line in finished.output.splitlines() if line.startswith("Found:"))
    assert sentence.split(", trained alike")[0].replace(" %", "&nbsp;%") in report
    for stage in ("search", "random", "adapt", "landing"):
        assert f"{stage}/report.html" in report
        assert (finished.run / stage / "report.html").is_file()


def test_a_replay_arrives_at_the_same_network(finished: Finished, nas: Callable[..., tuple[int, str, str]]) -> None:
    code, printed, _ = nas("replay", finished.run, "--json")
    assert code == 0, printed
    found, record = json.loads(printed), ReproduceRecord.read(finished.run)
    assert found["identical"]
    assert found["arch"] == record.arch
    assert found["num_edits"] == len(EDITS)
    steps = [len(AdaptRecord.read(finished.run / stage).steps) for stage in ("adapt", "landing")]
    assert found["num_steps"] == sum(steps) > 0


@pytest.mark.parametrize("what", ["seed", "shortlist", "edit", "accuracy", "latency"])
def test_a_replay_finds_what_was_changed(
    finished: Finished, what: str, tmp_path: Path, nas: Callable[..., tuple[int, str, str]]
) -> None:
    copy = tmp_path / "copy"
    left_out = shutil.ignore_patterns("ray", "final", "steps", "seed", "*.safetensors", "*.onnx")
    shutil.copytree(finished.run, copy, ignore=left_out)

    def change(name: str, edit: Callable[[dict[str, object]], None]) -> None:
        document = json.loads((copy / f"{name}.json").read_text())
        edit(document)
        (copy / f"{name}.json").write_text(json.dumps(document))

    first = next(i for i, t in enumerate(json.loads((copy / "redesign.json").read_text())["trials"]) if t["arch"])
    match what:
        case "seed":
            change("seed", lambda document: document.update(trial=99))
        case "shortlist":
            change("shortlist", lambda d: d["trials"][1].update(num_correct=d["trials"][1]["num_correct"] - 1))
        case "edit":
            change("redesign", lambda d: d["trials"][first].update(kept=not d["trials"][first]["kept"]))
        case "accuracy":
            change("redesign", lambda d: d["trials"][first].update(accuracy=0.123))
        case "latency":
            change("latencies", lambda d: d.update(networks={}))
    code, printed, _ = nas("replay", copy)
    assert code == 1, printed


@pytest.mark.slow
def test_without_a_search_and_with_the_edits_first(home: Path, finished: Finished, cluster: str) -> None:
    """The historical route: from a network, edits first; no random search to compare with."""
    arch = str(_networks()[3][1])
    fewer = ("--set", "comparison.num_trainings=1", "--set", "comparison.int8=false")
    options = ("--from", arch, "--order", "edits_first", "--out", str(home / "short"), *fewer)
    short = _reproduce(home / "short", cluster, str(home / "recipe.yaml"), *options)
    record = ReproduceRecord.read(short.run)
    assert [stage.name for stage in record.stages] == ["seed", "redesign", "landing"]
    assert record.stages[0].arch == arch
    assert [network.name for network in record.networks] == ["found", "mobilenet_v3_small", "uniform"]
    assert not record.int8
    assert not (short.run / "search").exists()
    assert record.differences[0][1].over == "images"


def test_what_it_cannot_begin_with(home: Path, finished: Finished, nas: Callable[..., tuple[int, str, str]]) -> None:
    for arguments, message in (
        (("reproduce",), "which recipe?"),
        (("reproduce", "mobilenet_v3_large"), "which photos?"),
        (("reproduce", "nothing"), "no such file"),
        (("reproduce", home / "recipe.yaml", "--out", finished.run), "exists"),
        (("reproduce", "--resume", home), "not a run folder of nas reproduce"),
        (("reproduce", "mobilenet_v3_large", "--resume", finished.run), "leave out"),
        (("reproduce", home / "recipe.yaml", "--from", "no_such_network"), "no_such_network"),
    ):
        code, _, error = nas(*arguments)
        assert code == 2, arguments
        assert message in error
        assert error.count("\n") == 1


def test_what_was_found_is_measured_and_trained_again(finished: Finished, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.run, copy, ignore=shutil.ignore_patterns("ray"))
    before = {name: (copy / f"{name}.json").read_bytes() for name in ("final", "latencies", "found")}
    code, output = Search("replay", str(copy), "--remeasure", "--json", prelude=SYNTHETIC).finish()
    assert code == 0, output
    document, record = json.loads(output[output.index("{") :]), ReproduceRecord.read(copy)
    found = record.network("found")
    assert found is not None
    assert document["arch"] == found.arch
    assert [document[name]["seed"] for name in ("recorded", "again")] == [0, 2]
    assert document["recorded"]["num_correct"] == found.trained[0].num_correct
    assert 0 <= document["again"]["num_correct"] <= found.num_test
    assert abs(document["latency_change"]) < 0.05
    assert {name: (copy / f"{name}.json").read_bytes() for name in before} == before
    assert [path.name for path in (copy / "remeasured").iterdir()] == ["seed-2"]


def test_as_frames(finished: Finished) -> None:
    run, record = load_run(finished.run), ReproduceRecord.read(finished.run)
    assert isinstance(run, ReproduceFrames)
    assert run.is_finished
    assert list(run.stages["stage"]) == [stage.name for stage in record.stages]
    assert list(run.shortlist["trial"]) == [entry.trial for entry in record.shortlist]
    assert list(run.edits["kept"]) == [trial.kept for trial in record.edits]
    assert list(run.final["name"]) == [network.name for network in record.networks]
    assert run.final["int8_accuracy"].between(0, 1).all()
    assert (run.differences["difference_low"] <= run.differences["difference"]).all()
    assert run.search is not None
    assert run.random_search is not None
    assert len(run.search.trials) >= 3
    assert set(run.adaptations) == {"adapt", "landing"}
    assert run.adaptations["landing"].steps["arch"].iloc[-1] is not None


def test_it_is_watched_from_its_folder_alone(
    finished: Finished, tmp_path: Path, nas: Callable[..., tuple[int, str, str]]
) -> None:
    code, printed, _ = nas("watch", finished.run, "--once")
    assert code == 0
    assert "Found:" in printed
    half = tmp_path / "half"
    left_out = shutil.ignore_patterns("ray", "final.json", "random", "seed-1", "*.safetensors", "*.onnx")
    shutil.copytree(finished.run, half, ignore=left_out)
    code, printed, _ = nas("watch", half, "--once")
    assert code == 0
    assert "last stage that began: landing" in printed
    assert "redesign  last_stage:" in printed
    assert "trained   found, seed 0" in printed
    assert f"trained   trial-{ReproduceRecord.read(half).seed_trial}, shortlist" in printed
