"""`nas adapt` as a user runs it: real processes, real Ray, real training, real kills; a device whose times are a formula."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest
import torch

from latency.latency import Latency
from nas import opened_meter
from nas.data import load_dataset
from nas.data_tensors import image_source
from nas.netadapt.adapt_config import read_adapt_config
from nas.netadapt.adapt_run import kept_network
from nas.netadapt.outcomes import outcomes
from nas.netadapt.treatment import treated
from nas.weights_file import write_state
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.latency.synthetic_runtime import SyntheticMeter
from tests.nas.netadapt.adaptations import (
    ARCH,
    COMMON,
    NUM_HELD_OUT,
    NUM_TEST,
    NUM_TRAIN,
    PLAIN,
    files_of,
    images,
    in_turn,
    steps_of,
    synthetic_table,
)
from tests.nas.searching import Search

pytestmark = pytest.mark.timeout(1200)

RESOLUTION, NUM_CLASSES = 32, 10
NETWORK_FILES = {"arch.json", "model.onnx", "weights.safetensors"}
ALONE = ("--no-baselines", "--trainings", 0)

SYNTHETIC = """
from nas import opened_meter
from tests.latency.synthetic_runtime import SyntheticMeter
opened_meter.MeterProcess = lambda core, deployment: SyntheticMeter(noise=0.002)
"""
WIDTHS_COST_NOTHING = """
from tests.latency import synthetic_runtime
synthetic_runtime.true_us = lambda model: 1000.0
"""
TASKS_DIE = """
import os, signal
from nas.netadapt import adapt_data

class DeadlyImages(adapt_data.ArmImages):
    def to(self, device):
        os.kill(os.getpid(), signal.SIGKILL)

adapt_data.ArmImages = DeadlyImages
"""


def macs(arch):
    return count(lower(parse_arch(arch), RESOLUTION, NUM_CLASSES)).macs


def params(arch):
    return count(lower(parse_arch(arch), RESOLUTION, NUM_CLASSES)).params


@dataclass(frozen=True)
class Runs:
    """Folders and what was printed: exit code and text, of each run by its name."""

    home: Path
    printed: dict[str, tuple[int, str]]

    def folder(self, name):
        return self.home / name

    def read(self, name, document):
        return json.loads((self.home / name / f"{document}.json").read_text())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data set, a latency table."""
    home = tmp_path_factory.mktemp("adapting")
    images(home / "tiny.npz")
    synthetic_table(home / "table.json")
    return home


def begun(home, name, *options, prelude="", cluster):
    """A command that begins with the network that was trained first in the run ``whole``."""
    weights = home / "whole" / "seed" / "best" / "weights.safetensors"
    network = ("--arch", ARCH, "--weights", weights, "--data", home / "tiny.npz")
    return prelude, ("adapt", *network, *COMMON, *options, "--ray-address", cluster, "--out", home / name)


@pytest.fixture(scope="module")
def whole(home, cluster):
    """A run that trains its network first, and all that comes of it."""
    command = ("adapt", "--arch", ARCH, "--data", home / "tiny.npz", *COMMON, "--cost", "macs", "--target", "0.8L")
    [printed] = in_turn(("", (*command, "--ray-address", cluster, "--out", home / "whole")))
    assert printed[0] == 0, printed[1]
    return Runs(home, {"whole": printed})


def each(home, commands):
    """Runs, one after the other in a process of their own."""
    return Runs(home, dict(zip(commands, in_turn(*commands.values()), strict=True)))


@pytest.fixture(scope="module")
def others(whole, cluster):
    """Runs that begin with its network and come to an end."""
    home, table = whole.home, whole.home / "table.json"
    published = ("--exact", "--steps", 2, "--cost", "macs", "--target", "0.9L", "--set", "ema_decay=0.5")
    budgets = ("--budget", "macs=0.85L", "--budget", "params=0.7L")
    measured = ("--table", table, "--trainings", 0)
    commands = {
        "exact": begun(home, "exact", *published, *ALONE, cluster=cluster),
        "budgets": begun(home, "budgets", *budgets, *ALONE, cluster=cluster),
        "latency": begun(home, "latency", *measured, cluster=cluster, prelude=SYNTHETIC),
    }
    return each(home, commands)


@pytest.fixture(scope="module")
def failed(whole, cluster):
    """Runs that do not: see the tests."""
    home, table, guesses = whole.home, whole.home / "table.json", whole.home / "guesses.safetensors"
    write_state(guesses, build_module(lower(parse_arch(ARCH), RESOLUTION, NUM_CLASSES), seed=0).state_dict())
    in_vain = ("--table", table, "--schedule", "0.2L", "--steps", 0)
    prelude = SYNTHETIC + WIDTHS_COST_NOTHING
    commands = {
        "unreachable": begun(home, "unreachable", *in_vain, *ALONE, cluster=cluster, prelude=prelude),
        "guessing": begun(home, "guessing", "--weights", guesses, "--cost", "macs", *ALONE, cluster=cluster),
        "deadly": begun(home, "deadly", "--cost", "macs", *ALONE, cluster=cluster, prelude=TASKS_DIE),
    }
    return each(home, commands)


def test_a_replay_takes_the_same_steps(whole, others, nas):
    """By multiply-adds with random steps beside, by all the published training, by two budgets, by measured latencies."""
    for runs, name in ((whole, "whole"), (others, "exact"), (others, "budgets"), (others, "latency")):
        folder = runs.folder(name)
        code, printed, _ = nas("replay", folder, "--json")
        assert code == 0, printed
        found = json.loads(printed)
        steps = steps_of(folder)
        assert found["identical"]
        assert found["num_steps"] == len(steps)
        assert found["arch"] == steps[-1]["arch"]
        assert found["num_proposals"] >= sum(len(step["candidates"]) for step in steps)
        random = steps_of(folder / "random")
        assert found["num_random_steps"] == len(random)
        assert bool(random) == (name in ("whole", "latency"))


def _changed(folder, copy, number, change):
    """A copy of a run in whose journal one step is another."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("steps", "final", "uniform", "seed"))
    path = copy / "steps.jsonl"
    lines = path.read_text().splitlines()
    step = json.loads(lines[number])
    change(step)
    path.write_text("\n".join([*lines[:number], json.dumps(step), *lines[number + 1 :]]) + "\n")
    return copy


def test_a_replay_finds_what_was_changed(whole, others, nas, tmp_path):
    def other_winner(step):
        step["accepted"] = next(c["group"] for c in step["candidates"] if c["group"] != step["accepted"])

    def better_loser(step):
        loser = next(c for c in step["candidates"] if c["group"] != step["accepted"] and not c["eliminated"])
        loser["accuracy_change"] = loser["accuracy"] = 1.0

    def other_latency(step):
        step["latency"]["latency_ms"] *= 1.01
        step["latency"]["interval_ms"] = [1.01 * end for end in step["latency"]["interval_ms"]]

    for runs, name, change in (
        (whole, "whole", other_winner),
        (whole, "whole", better_loser),
        (others, "latency", other_latency),
    ):
        copy = _changed(runs.folder(name), tmp_path / change.__name__, 1, change)
        code, printed, _ = nas("replay", copy)
        assert code == 1, change.__name__
        assert "step 1" in printed or "step 2" in printed, printed


def test_a_replay_by_latency_needs_the_table(others, nas, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(others.folder("latency"), copy, ignore=shutil.ignore_patterns("steps", "latency_table.json"))
    code, _, error = nas("replay", copy)
    assert code == 2
    assert "latency_table.json" in error


def test_a_finished_run_has_all_that_it_promises(whole):
    folder = whole.folder("whole")
    names = {path.name for path in folder.iterdir()} - {"trajectory.csv", ".lock"}  # no scores: no step is under way
    assert names == {
        *("config.yaml", "environment.json", "split.json", "seed", "seed.json", "steps.jsonl", "steps"),
        *("random", "uniform.json", "uniform", "final", "final.json", "report.html"),
    }
    num_steps = len(steps_of(folder))
    assert num_steps >= 2
    assert sorted(path.name for path in (folder / "steps").iterdir()) == [f"{n:02d}" for n in range(num_steps + 1)]
    trainings = {path.name for path in (folder / "final").iterdir()}
    equal = steps_of(folder)[-1]["arch"] == steps_of(folder / "random")[-1]["arch"]  # is trained once then
    assert trainings == {"seed-0", "adapted-0", "uniform-0"} | (set() if equal else {"random-0"})
    assert (folder / "report.html").read_text().startswith("<!")


def test_each_step_can_be_deployed(whole):
    folder, dataset = whole.folder("whole"), load_dataset(str(whole.home / "tiny.npz"))
    split = whole.read("whole", "split")
    held_out = image_source(dataset, RESOLUTION, indices=np.array(split["holdout"]))
    records = {0: whole.read("whole", "seed")} | {step["step"]: step for step in steps_of(folder)}
    for number, record in records.items():
        at = folder / "steps" / f"{number:02d}"
        assert {path.name for path in at.iterdir()} == NETWORK_FILES
        network = kept_network(at, RESOLUTION, NUM_CLASSES)
        assert str(network.arch) == record["arch"]
        right = outcomes(network.module(), held_out, "accuracy")
        assert (right.mean(), len(right)) == (record["accuracy"], record["num_images"])
        batch = held_out.normalised(held_out.images[:4]).contiguous()
        session = onnxruntime.InferenceSession(at / "model.onnx", providers=["CPUExecutionProvider"])
        found = np.concatenate([session.run(None, {"input": image[None].numpy()})[0] for image in batch])
        with torch.no_grad():
            expected = network.module()(batch).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_steps_add_up(whole):
    seed, parent = whole.read("whole", "seed"), PLAIN
    cost = macs(PLAIN)
    assert (seed["arch"], seed["cost"], seed["target"], seed["unit"]) == (PLAIN, cost, 0.8 * cost, "MACs")
    assert (seed["num_images"], seed["weights"]) == (NUM_HELD_OUT, "trained first")
    steps = steps_of(whole.folder("whole"))
    for number, step in enumerate(steps, 1):
        assert (step["step"], step["parent"], step["cost"]) == (number, parent, macs(step["arch"]))
        assert step["asked"] == pytest.approx(min(0.08 * seed["cost"], cost - seed["target"]))
        [choice] = [c for c in step["candidates"] if c["group"] == step["accepted"]]
        assert not choice["eliminated"]
        assert choice["saving"] == pytest.approx(cost - step["cost"])
        assert choice["saving"] >= step["reduction"]
        assert (step["latency"], step["change"], step["num_images"]) == (None, None, NUM_HELD_OUT)
        parent, cost = step["arch"], step["cost"]
    assert steps[-1]["cost"] <= seed["target"] < steps[-2]["cost"]
    for step in steps_of(whole.folder("whole") / "random"):
        assert [candidate["group"] for candidate in step["candidates"]] == [step["accepted"]]


def test_the_end_says_what_the_steps_came_to(whole):
    final, seed = whole.read("whole", "final"), whole.read("whole", "seed")
    networks = {network["name"]: network for network in final["networks"]}
    assert list(networks) == ["seed", "adapted", "uniform", "random"]
    assert (final["unit"], final["target"]) == ("MACs", seed["target"])
    last = {"adapted": "", "random": "random"}
    for name, folder in last.items():
        step = steps_of(whole.folder("whole") / folder)[-1]
        assert (networks[name]["arch"], networks[name]["cost"]) == (step["arch"], step["cost"])
    uniform = whole.read("whole", "uniform")
    assert (networks["uniform"]["arch"], networks["uniform"]["cost"]) == (uniform["arch"], uniform["cost"])
    test = image_source(load_dataset(str(whole.home / "tiny.npz")), RESOLUTION, "test")
    for name, network in networks.items():
        assert (network["macs"], network["params"]) == (macs(network["arch"]), params(network["arch"]))
        assert network["cost"] == network["macs"]
        assert (network["num_test"], network["latency"]) == (NUM_TEST, None)
        assert [training["seed"] for training in network["trained"]] == [0]
        if name != "seed":
            assert network["cost"] <= final["target"]
    kept = kept_network(whole.folder("whole") / "uniform", RESOLUTION, NUM_CLASSES)
    assert outcomes(kept.module(), test, "accuracy").sum() == networks["uniform"]["fine_tuned_correct"]
    # the seed was trained by the recipe of the comparison, so that training it again comes to the same
    assert networks["seed"]["trained"][0]["num_correct"] == networks["seed"]["fine_tuned_correct"]


def test_images_have_one_use(whole):
    split = whole.read("whole", "split")
    held_out, calibrating = set(split["holdout"]), set(split["calibration"])
    assert len(split["holdout"]) == len(held_out) == NUM_HELD_OUT
    assert len(split["calibration"]) == len(calibrating) == NUM_TRAIN - NUM_HELD_OUT  # fewer than are wanted
    assert held_out.isdisjoint(calibrating)
    assert held_out | calibrating == set(range(NUM_TRAIN))
    labels = load_dataset(str(whole.home / "tiny.npz")).y_train
    assert np.bincount(labels[split["holdout"]]).tolist() == [8] * 10
    assert len(set(labels[split["holdout"][:20]].tolist())) >= 6  # the first ones are of all classes, by chance


def test_a_finished_run_is_not_carried_on(whole, nas):
    before = files_of(whole.folder("whole"))
    code, out, err = nas("adapt", "--resume", whole.folder("whole"))
    assert (code, err) == (0, "")
    assert "came down from 1.13 M MACs to" in out
    assert files_of(whole.folder("whole")) == before
    code, out, _ = nas("adapt", "--resume", whole.folder("whole"), "--json")
    assert (code, json.loads(out)) == (0, whole.read("whole", "final"))


def test_a_report_is_written_again(whole, nas):
    report = whole.folder("whole") / "report.html"
    before = report.read_bytes()
    report.unlink()
    code, out, err = nas("report", whole.folder("whole"))
    assert (code, err) == (0, "")
    assert str(report) in out
    assert report.read_bytes() == before


def test_pick(whole, nas, tmp_path):
    steps = steps_of(whole.folder("whole"))
    code, out, _ = nas(
        "adapt", "pick", whole.folder("whole"), "--cost", steps[0]["cost"], "--out", tmp_path / "p", "--json"
    )
    picked = json.loads(out)
    best = max((step for step in steps), key=lambda step: (step["accuracy"], -step["cost"]))
    assert (code, picked["step"], picked["accuracy"]) == (0, best["step"], best["accuracy"])
    assert files_of(tmp_path / "p") == files_of(whole.folder("whole") / "steps" / f"{best['step']:02d}")
    code, _, err = nas("adapt", "pick", whole.folder("whole"), "--cost", "0.1L")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = nas("adapt", "pick", whole.folder("whole"), "--latency", "0.9L")
    assert (code, err.count("\n")) == (2, 1)
    assert "measured no latencies; pick by what it reduced, as --cost 0.85L" in err


def kill_a_task(search, title):
    """SIGKILL to a worker of `search` with a task of that title."""
    workers: list[psutil.Process] = []

    def killed():
        workers[:] = [process for process in search.processes() if "ray::" in " ".join(_words(process))]
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            for process in workers:
                if title in " ".join(_words(process)):
                    process.kill()
                    return True
            time.sleep(0.002)
        return False

    search.wait_until(killed)


def _words(process):
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def test_killed_anywhere_it_ends_as_if_nothing_had_happened(whole, cluster):
    """A worker in the last round of step 1 (four proposals skip the second), then everything in the midst of step 2."""
    home, killed = whole.home, whole.home / "killed"
    _, arguments = begun(home, "killed", "--cost", "macs", "--trainings", 0, cluster=cluster)
    alone = [str(word) for word in arguments if word not in ("--ray-address", cluster)]
    search = Search(*alone, "--workers", "1", variables={"OMP_NUM_THREADS": "1"})
    try:
        kill_a_task(search, "step 1 round 3")

        def in_step_2():
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                if list((killed / "scores" / "2").glob("*.npy")):
                    search.process.kill()
                    return True
                time.sleep(0.002)
            return False

        search.wait_until(in_step_2)
    finally:
        search.kill_everything()
    journal = (killed / "steps.jsonl").read_bytes()
    assert steps_of(killed) == steps_of(whole.folder("whole"))[:1]
    scores = files_of(killed / "scores" / "2")
    assert scores
    [(code, output)] = in_turn(("", ("adapt", "--resume", killed, "--ray-address", cluster)))
    assert code == 0, output
    assert (killed / "steps.jsonl").read_bytes().startswith(journal)
    for name in (".", "random"):
        assert steps_of(killed / name) == steps_of(whole.folder("whole") / name)
    for name in ("steps", "random/steps", "uniform"):
        assert files_of(killed / name) == files_of(whole.folder("whole") / name)
    kept = ("arch", "cost", "fine_tuned_correct", "macs", "name")
    found, expected = (
        [[network[key] for key in kept] for network in whole.read(name, "final")["networks"]]
        for name in ("killed", "whole")
    )
    assert found == expected


def test_a_task_whose_worker_dies_twice_ends_the_run(failed):
    code, output = failed.printed["deadly"]
    *_, line = output.splitlines()
    assert code == 2
    assert line.startswith("nas: training or scoring stem_")  # whichever network of the round it was
    assert " failed: The worker died" in line
    assert steps_of(failed.folder("deadly")) == []


def test_a_network_that_guesses_has_nothing_to_lose(failed):
    code, output = failed.printed["guessing"]
    *_, line = output.splitlines()
    assert code == 2
    assert line.startswith(f"nas: {ARCH} is right about ")
    assert "of the held-out images, guessing about 10.0%: train it for longer (--epochs), or give better" in line
    assert not (failed.folder("guessing") / "seed.json").exists()


def test_the_published_loop_has_one_round(whole, others):
    """Every proposal and the parent beside them, trained alike; accuracies, not probabilities."""
    code, output = others.printed["exact"]
    assert code == 0, output
    folder = others.folder("exact")
    assert read_adapt_config(folder).training.training.ema_decay == 0.5
    config, dataset = read_adapt_config(folder), load_dataset(str(others.home / "tiny.npz"))
    assert [round_.num_steps for round_ in config.judging.rounds] == [2]
    split = others.read("exact", "split")
    training = image_source(dataset, RESOLUTION, indices=np.setdiff1d(np.arange(NUM_TRAIN), split["holdout"]))
    held_out = image_source(dataset, RESOLUTION, indices=np.array(split["holdout"]))
    step, *_ = steps_of(folder)
    assert not any(candidate["eliminated"] for candidate in step["candidates"])
    seed = kept_network(folder / "steps" / "00", RESOLUTION, NUM_CLASSES)
    first_seed = config.seed + 1_000_003

    def accuracy(network):
        module = treated(network, training, training, config.treatment, 2, first_seed)
        return outcomes(module, held_out, "accuracy").mean()

    assert step["control"] == accuracy(seed)
    assert step["accuracy"] == accuracy(seed.narrowed(parse_arch(step["arch"])))
    [chosen] = [c for c in step["candidates"] if c["group"] == step["accepted"]]
    assert chosen["accuracy"] == step["accuracy"]  # the accepted network is trained as it was when it was judged
    assert chosen["accuracy_change"] == pytest.approx(step["accuracy"] - step["control"])
    assert [network["name"] for network in others.read("exact", "final")["networks"]] == ["seed", "adapted"]


def test_several_budgets_are_all_met(others):
    code, output = others.printed["budgets"]
    assert code == 0, output
    last = steps_of(others.folder("budgets"))[-1]
    assert macs(last["arch"]) <= 0.85 * macs(PLAIN)
    assert params(last["arch"]) <= 0.7 * params(PLAIN)
    cost = max(macs(last["arch"]) / (0.85 * macs(PLAIN)), params(last["arch"]) / (0.7 * params(PLAIN)))
    assert last["cost"] == pytest.approx(cost)
    assert (others.read("budgets", "seed")["unit"], others.read("budgets", "seed")["target"]) == ("x budget", 1.0)


def test_latencies_are_measured_and_count(others):
    code, output = others.printed["latency"]
    assert code == 0, output
    seed, steps = others.read("latency", "seed"), steps_of(others.folder("latency"))
    seed_ms = Latency.from_dict(seed["latency"]).latency_ms
    assert (seed["unit"], seed["cost"], seed["target"]) == ("ms", seed_ms, pytest.approx(0.8 * seed_ms))
    for step in steps:
        latency, change = (Latency.from_dict(step[key]) for key in ("latency", "change"))
        assert step["cost"] == latency.latency_ms
        assert change.ratio < 1
        assert step["predicted_ratio"] == pytest.approx(change.ratio, rel=0.02)
        low, high = change.ratio_interval
        assert low <= change.ratio <= high
    assert steps[-1]["cost"] <= seed["target"]
    uniform = others.read("latency", "uniform")
    assert uniform["cost"] == uniform["latency"]["latency_ms"] <= seed["target"]
    networks = others.read("latency", "final")["networks"]
    assert [network["cost"] for network in networks] == [network["latency"]["latency_ms"] for network in networks]


def test_on_another_device_it_is_not_gone_on_with(others, tmp_path, monkeypatch, nas):
    folder = shutil.copytree(others.folder("latency"), tmp_path / "moved")
    (folder / "final.json").unlink()
    before = files_of(folder)
    monkeypatch.setattr(opened_meter, "MeterProcess", lambda core, deployment: SyntheticMeter(cpu="another"))
    code, out, err = nas("adapt", "--resume", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "of another device than this one" in err
    assert "another" in err
    assert files_of(folder) == before


def test_a_target_that_measurements_do_not_reach(failed, nas):
    code, output = failed.printed["unreachable"]
    assert code == 3, output
    folder, seed = failed.folder("unreachable"), failed.read("unreachable", "seed")
    steps = steps_of(folder)
    assert f"the steps are in {folder}/steps: nas adapt pick {folder} --cost 1L" in output
    assert steps
    for number in range(len(steps) + 1):
        assert {path.name for path in (folder / "steps" / f"{number:02d}").iterdir()} == NETWORK_FILES
    assert (folder / "report.html").is_file()
    assert not (folder / "final.json").exists()
    code, out, _ = nas("adapt", "pick", folder, "--latency", "1.1L", "--json")
    assert (code, json.loads(out)["accuracy"]) == (0, max(record["accuracy"] for record in (seed, *steps)))


def test_what_a_copy_of_a_run_refuses(whole, tmp_path, nas):
    """Options beside --resume, a configuration that was edited, data that changed."""
    folder = shutil.copytree(whole.folder("whole"), tmp_path / "copy")
    data = whole.home / "tiny.npz"

    def refusal(*arguments):
        code, _, err = nas("adapt", "--resume", folder, *arguments)
        assert (code, err.count("\n")) == (2, 1), err
        return err

    assert "--resume continues a run as it began; leave out --cost, --steps" in refusal("--steps", 5, "--cost", "macs")
    (folder / "final.json").unlink()
    text, pixels = (folder / "config.yaml").read_text(), data.read_bytes()
    (folder / "config.yaml").write_text(text.replace("0.08L", "0.07L"))
    assert "config.yaml was changed since the run began" in refusal()
    (folder / "config.yaml").write_text(text)
    try:
        images(data, seed=1)
        assert "tiny.npz has changed since the run began; restore it" in refusal()
    finally:
        data.write_bytes(pixels)
