"""`nas train --workers 2`: real processes that share batches, one that dies, Ctrl-C, and runs that others carry on."""

import json
import shutil
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from nas import ray_train
from nas.errors import UserError
from nas.jsonl import read_json_lines
from nas.run_training import take_up, train_epochs
from nas.train import carry_on
from nas.train_config import read_train_config
from nas.train_data import data_of
from nas.train_progress import TrainProgress
from nas.train_run import TrainRun
from tests.nas.searching import OPEN, Search

ARCH = "nonorm stem_k3_s22_o8 r1_k3_s22_e2_i8_o16_se0.25 head_o16_d0"
TRAIN = ("train", ARCH, "--data", "tiny.npz", "--epochs", "3", "--batch-size", "15", "--max-shift", "1", "--flip")

SECOND_WORKER = """
from nas import ray_train

def train_share(work, num_threads):
    import os, signal, time
    import ray.train
    from nas.ray_train import _train_share
    from nas.run_training import RunTraining

    next_epoch = RunTraining.next_epoch

    def second(self):
        if self.training.num_epochs == {num_epochs}:
            lines = 1 + {num_epochs}  # the first worker writes down the epoch before it takes up the next
            while (self.folder.folder / "epochs.jsonl").read_bytes().count(b"\\n") < lines:
                time.sleep(0.05)
            time.sleep(0.5)  # and its checkpoint
            {does}
        return next_epoch(self)

    if ray.train.get_context().get_world_rank() == 1:
        RunTraining.next_epoch = second
    _train_share(work, num_threads)

ray_train._train_share = train_share
"""
DIES_AFTER_ONE = SECOND_WORKER.format(num_epochs=1, does="os.kill(os.getpid(), signal.SIGKILL)")
HANGS_AFTER_TWO = SECOND_WORKER.format(num_epochs=2, does="time.sleep(10_000)")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images whose brightness tells the class, and a run of a single process."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 60), ("test", 20)):
        y = np.arange(n) % 3
        arrays[f"x_{part}"] = (rng.integers(0, 60, (n, 8, 8, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
        arrays[f"y_{part}"] = y
    np.savez(folder / "tiny.npz", **arrays)
    command(folder, *TRAIN, "--out", "alone").finish()
    return folder


def command(place, *arguments, prelude=""):
    return Search(*arguments, cwd=place, prelude=prelude, variables={**OPEN, "TMPDIR": tempfile.gettempdir()})


def epochs(run):
    return read_json_lines(run / "epochs.jsonl", "nas-epochs", 1)


def check_as_alone(run, alone):
    """Epochs and weights are those of a single process, up to rounding."""
    for ours, theirs in zip(epochs(run), epochs(alone), strict=True):
        assert (ours["epoch"], ours["accuracy"]) == (theirs["epoch"], theirs["accuracy"])
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    one, other = (load_file(folder / "checkpoint.safetensors") for folder in (run, alone))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-5)
    finals = [json.loads((folder / "final.json").read_text()) for folder in (run, alone)]
    assert finals[0]["num_correct"] == finals[1]["num_correct"]


def test_whatever_stops_workers_others_carry_on(place, cluster):
    """The second worker dies in the second epoch; Ctrl-C in the third, of a Ray of our own; one process does the rest."""
    run = place / "shared"
    there = ("--ray-address", cluster)
    status, output = command(
        place, *TRAIN, "--workers", "2", *there, "--out", "shared", prelude=DIES_AFTER_ONE
    ).finish()
    assert status == 2
    assert output.splitlines()[-1].startswith("nas: shared: worker ")
    assert output.splitlines()[-1].endswith("; continue with: nas train --resume shared")
    assert [record["epoch"] for record in epochs(run)] == [1], output
    assert not (run / ray_train.RAYS_OWN).exists()

    resumed = command(place, "train", "--resume", "shared", prelude=HANGS_AFTER_TWO)
    resumed.wait_until(lambda: len((run / "epochs.jsonl").read_text().splitlines()) == 3)
    resumed.interrupt()
    status, output = resumed.finish()
    assert status == 130, output
    assert output.splitlines()[-1] == "interrupted; continue with: nas train --resume shared"
    assert sum("epoch 2/3" in line for line in output.splitlines()) == 1

    status, output = command(place, "train", "--resume", "shared", "--workers", "1").finish()
    assert status == 0, output
    assert read_train_config(run).scaling.workers == 2
    check_as_alone(run, place / "alone")


class Here:
    """Workers that are this process alone."""

    num_workers = 2

    def train(self, folder, dataset):
        with TrainRun(folder) as run:
            taken = take_up(run, dataset, torch.device("cpu"))
            train_epochs(run, taken, TrainProgress(Console(quiet=True), "", 3, taken.training.steps_per_epoch, 0))


def test_what_workers_have_trained_is_finished_here(place):
    """The run is theirs while they train, then taken back and tested."""
    stopped = place / "copy"
    shutil.copytree(place / "alone", stopped, ignore=shutil.ignore_patterns("best", "final.json", "checkpoint*"))
    with TrainRun(stopped) as run:
        final = carry_on(run, data_of(stopped, Console(quiet=True)), Console(quiet=True), Here())
        assert run.training_s == pytest.approx(final["training_s"], abs=1e-3)
        with pytest.raises(UserError, match="another process is working on this run"):
            TrainRun(stopped)
    check_as_alone(stopped, place / "alone")


NODES = {
    "a laptop": [{"CPU": 8.0}],
    "two GPUs": [{"CPU": 16.0, "GPU": 2.0}],
    "three machines": [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 8.0}, {"CPU": 2.0}],
}


@pytest.mark.parametrize(
    ("nodes", "num_workers", "started_here", "expected"),
    [
        ("a laptop", 2, True, {"CPU": 4}),
        ("a laptop", 3, True, {"CPU": 2}),
        ("a laptop", 8, True, {"CPU": 1}),
        ("a laptop", 2, False, {"CPU": 1}),
        ("two GPUs", 2, True, {"CPU": 8, "GPU": 1}),
        ("three machines", 9, False, {"CPU": 1, "GPU": 1}),
        ("a laptop", 9, True, "--workers 9: each wants a core, and this machine has room for 8"),
        ("two GPUs", 3, True, "--workers 3: each wants a GPU and a core, and this machine has room for 2"),
        ("three machines", 10, False, "--workers 10: each wants a GPU and a core, and the cluster has room for 9"),
    ],
)
def test_what_a_worker_gets(monkeypatch, nodes, num_workers, started_here, expected):
    found = [{"Alive": True, "Resources": node} for node in NODES[nodes]]
    dead = {"Alive": False, "Resources": {"CPU": 100.0, "GPU": 100.0}}
    monkeypatch.setattr(ray_train.ray, "nodes", lambda: [*found, dead])
    cluster = SimpleNamespace(started_here=started_here)
    if isinstance(expected, dict):
        assert ray_train._resources(num_workers, cluster) == expected
        return
    with pytest.raises(UserError) as error:
        ray_train._resources(num_workers, cluster)
    assert str(error.value) == expected
