"""`nas train` and `nas export` on tiny networks and images: folders, resuming after a kill, teachers, refusals."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nas import run_training
from nas.accuracy import wilson_interval
from nas.cli import main
from nas.data import load_dataset
from nas.data_tensors import prepare
from nas.jsonl import read_json_lines
from nas.train_config import read_train_config
from nas.training import num_correct
from search_spaces.arch_json import arch_from_json
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

ROOT = str(Path(__file__).parents[2])
ARCH = "stem_k3_s22_o8 r1_k3_s22_e2_i8_o16_se0.25 r1_k3_s11_e1_i16_o16 head_o16_d0.5 aux_b1_w0.3_o8"
TEACHER = "stem_k3_s22_o8 r1_k3_s22_e2_i8_o16 head_o32_d0"
EVERYTHING = ["--max-shift", "1", "--flip", "--ema-decay", "0.9", "--optimizer", "rmsprop", "--learning-rate", "0.01"]
FILES = {"arch.json", "model.onnx", "weights.safetensors"}
Result = namedtuple("Result", "code out err")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))  # no rest for others' measurements
    monkeypatch.setenv("TMPDIR", tempfile.tempdir)
    for name in ("RAY_USAGE_STATS_ENABLED", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "RAY_AIR_NEW_OUTPUT"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))  # which `main` sets, if it is not set
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny("tiny.npz")
    yield
    torch.set_num_threads(threads)


def tiny(path, num_classes=3, num_train=60, side=8, seed=0):
    """Images whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, n in (("train", num_train), ("test", 20)):
        y = np.arange(n) % num_classes
        arrays[f"x_{part}"] = (rng.integers(0, 60, (n, side, side, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
        arrays[f"y_{part}"] = y
    np.savez(path, **arrays)


@pytest.fixture
def run(monkeypatch, capfd):
    """`nas ARGUMENTS` in this process."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def trained(run):
    """`nas train ARCH ... --out OUT`, which must end well."""

    def trained(out, *arguments, arch=ARCH, epochs=2):
        result = run(
            "train", arch, "--data", "tiny.npz", "--epochs", epochs, "--batch-size", 16, *arguments, "--out", out
        )
        assert result.code == 0, result.err
        return Path(out)

    return trained


def refusal(result):
    """The one line of a user error."""
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("nas: ")
    return line.removeprefix("nas: ")


def weights(folder):
    return (folder / "best" / "weights.safetensors").read_bytes()


def accuracy_of(folder, resolution, num_classes):
    """Of the exported weights on the test split, and that split's size."""
    arch = arch_from_json(json.loads((folder / "best" / "arch.json").read_text()))
    module = build_module(lower(arch, resolution, num_classes, training=True), seed=1)
    module.load_state_dict(load_file(folder / "best" / "weights.safetensors"))
    test = prepare(load_dataset("tiny.npz"), resolution, "test")
    return num_correct(module, test), len(test)


def test_a_training(run, trained):
    folder = trained("run", "--json", *EVERYTHING)
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "best",
        "checkpoint.safetensors",
        "config.yaml",
        "environment.json",
        "epochs.jsonl",
        "final.json",
    }
    assert {path.name for path in (folder / "best").iterdir()} == FILES
    final = json.loads((folder / "final.json").read_text())
    correct, total = accuracy_of(folder, 32, 3)
    assert (final["num_correct"], final["num_test"]) == (correct, total) == (correct, 20)
    assert final["accuracy"] == correct / 20
    assert final["accuracy_interval"] == list(wilson_interval(correct, 20))
    counts = count(lower(parse_arch(ARCH), 32, 3))
    assert (final["params"], final["macs"], final["resolution"]) == (counts.params, counts.macs, 32)
    assert final["onnx_max_relative_difference"] <= 1e-4
    epochs = read_json_lines(folder / "epochs.jsonl", "nas-epochs", 1)
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert all(record["accuracy"] * 6 == round(record["accuracy"] * 6) for record in epochs)  # a tenth of 60
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["data_fingerprint"] == load_dataset("tiny.npz").fingerprint
    assert environment["packages"]["torch"] == torch.__version__


def test_what_is_printed(run):
    arguments = ["train", ARCH, "--data", "tiny.npz", "--epochs", "2", "--out"]
    plain = run(*arguments, "run")
    lines = plain.out.splitlines()
    assert lines[0].startswith("network   ")
    assert lines[1] == "data      tiny: 60 training and 20 test images"
    assert lines[2] == "recipe    2 epochs of sgd, learning rate 0.1 at batch size 64, cosine decay"
    assert lines[3] == "run       run"
    assert "epoch 1/2  loss " in lines[4]
    assert "held-out" in lines[5]
    assert lines[6].startswith("test      ")
    assert "of 20 images right (95 % interval" in lines[6]
    assert lines[7].startswith(
        "exported  run/best: arch.json, model.onnx, weights.safetensors; ONNX Runtime differs by"
    )
    assert plain.err == ""
    document = run(*arguments, "other", "--json", "--holdout", "0")
    assert json.loads(document.out) == json.loads(Path("other/final.json").read_text())
    assert "held-out" not in document.err
    assert "epoch 2/2" in document.err


def test_a_finished_run_is_not_trained_again(run, trained):
    folder = trained("run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = run("train", "--resume", "run")
    assert (result.code, result.err) == (0, "")
    assert "of 20 images right" in result.out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


KILLER = """
import os, signal, sys, torch
import nas.run_training as run_training
import nas.train as train
from nas.cli import main

torch.set_num_threads(1)
where, epoch = sys.argv.pop(1), int(sys.argv.pop(1))
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
write, export = run_training.write_checkpoint, train.export

def write_checkpoint(path, training):
    if training.num_epochs == epoch and where == "before":
        kill()
    write(path, training)
    if training.num_epochs == epoch and where == "after":
        kill()
    if training.num_epochs == epoch and where == "step":
        training.stepped = kill

def exported(*arguments):
    export(*arguments)
    if where == "export":
        kill()

run_training.write_checkpoint, train.export = write_checkpoint, exported
main()
"""


def killed(where, epoch, *arguments):
    """`nas ARGUMENTS` in a process that SIGKILL ends at that place."""
    command = [sys.executable, "-c", KILLER, where, str(epoch), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_again_and_again_it_ends_with_the_same_weights(run, trained):
    """In the middle of an epoch, between journal and checkpoint, and between export and ``final.json``."""
    undisturbed = trained("undisturbed", *EVERYTHING, epochs=4)
    arguments = ["train", ARCH, "--data", "tiny.npz", "--epochs", 4, "--batch-size", 16, *EVERYTHING, "--out", "run"]
    killed("step", 1, *arguments)  # in the second epoch
    killed("before", 3, "train", "--resume", "run")
    records = read_json_lines(Path("run/epochs.jsonl"), "nas-epochs", 1)
    assert [record["epoch"] for record in records] == [1, 2, 3]  # the third has no checkpoint
    killed("export", 0, "train", "--resume", "run")
    assert not Path("run/final.json").exists()
    assert run("train", "--resume", "run").code == 0
    assert weights(Path("run")) == weights(undisturbed)
    one, other = (load_file(path / "checkpoint.safetensors") for path in (Path("run"), undisturbed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    records = [read_json_lines(p / "epochs.jsonl", "nas-epochs", 1) for p in (Path("run"), undisturbed)]
    losses = [[(record["epoch"], record["loss"], record["accuracy"]) for record in part] for part in records]
    assert losses[0] == losses[1]
    finals = [json.loads((p / "final.json").read_text()) for p in (Path("run"), undisturbed)]
    assert finals[0]["num_correct"] == finals[1]["num_correct"]


def test_interrupted(run, trained, monkeypatch):
    """Ctrl-C says how to go on, and going on ends as if nothing had happened; here in the training of a teacher."""
    undisturbed = trained("undisturbed", "--teacher", TEACHER)
    write = run_training.write_checkpoint

    def interrupt(path, training):
        write(path, training)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_training, "write_checkpoint", interrupt)
    arguments = ["train", ARCH, "--data", "tiny.npz", "--epochs", 2, "--batch-size", 16, "--teacher", TEACHER]
    for again in ([*arguments, "--out", "run"], ["train", "--resume", "run"], ["train", "--resume", "run"]):
        result = run(*again)
        assert result.code == 130
        assert result.out.splitlines()[-1] == "interrupted; continue with: nas train --resume run"
    assert len(read_json_lines(Path("run/teacher/epochs.jsonl"), "nas-epochs", 1)) == 2
    assert len(read_json_lines(Path("run/epochs.jsonl"), "nas-epochs", 1)) == 1
    monkeypatch.setattr(run_training, "write_checkpoint", write)
    assert run("train", "--resume", "run").code == 0
    assert weights(Path("run")) == weights(undisturbed)
    assert weights(Path("run/teacher")) == weights(undisturbed / "teacher")


def test_teachers(run, trained):
    """One that is trained first, and the same one trained already, make the same student; without one it is another."""
    first = trained("first", "--teacher", TEACHER, "--distill-weight", "0.8", "--temperature", "2")
    assert read_train_config(first).teacher.weight == 0.8
    theirs = json.loads((first / "teacher/final.json").read_text())
    ours = json.loads((first / "final.json").read_text())
    assert theirs["arch"] == TEACHER
    assert (ours["teacher"], ours["teacher_accuracy"]) == (TEACHER, theirs["accuracy"])
    assert (theirs["teacher"], theirs["teacher_accuracy"]) == (None, None)
    trained("teacher", arch=TEACHER)
    assert weights(Path("teacher")) == weights(first / "teacher")
    common = ["--distill-weight", "0.8", "--temperature", "2", "--teacher"]
    for number, given in enumerate(["teacher", "teacher/best", "teacher/best/weights.safetensors"]):
        assert weights(trained(f"student{number}", *common, given)) == weights(first)
    assert weights(trained("alone")) != weights(first)


def test_starting_from_weights(run, trained):
    """A network that keeps its classifier starts as good as it was; with other classes that begins afresh."""
    folder = trained("run", epochs=8)
    known, _ = accuracy_of(folder, 32, 3)
    assert known >= 15
    given = ["--weights", "run/best/weights.safetensors"]
    again = trained("again", *given, "--learning-rate", "1e-9", "--ema-decay", "0.5", epochs=1)
    assert accuracy_of(again, 32, 3)[0] >= 15
    tiny("other.npz", num_classes=2)
    arguments = ["train", ARCH, "--data", "other.npz", "--epochs", 1, *given, "--out", "other"]
    result = run(*arguments)
    assert result.out.splitlines()[0] == (
        "weights   run/best/weights.safetensors, names of nas; afresh: aux1.classifier, classifier"
    )
    initial, trained_ones = load_file("other/initial.safetensors"), load_file("run/best/weights.safetensors")
    same = {name for name in initial if torch.equal(initial[name], trained_ones[name])}
    assert {name for name in initial if "classifier" not in name} <= same
    assert initial["classifier.linear.weight"].shape[0] == 2


def test_what_belongs_to_the_network(run):
    """BN statistics that a short training can warm up, the network's own recipe, --se, and the resolution in a name."""
    arguments = ["--data", "tiny.npz", "--epochs", 1, "--holdout", "0", "--recipe", "published", "--se", "0.25"]
    assert run("train", "mobilenet_v1@0.05/16", *arguments, "--out", "run").code == 0
    config = read_train_config(Path("run"))
    assert config.network.name == "mobilenet_v1@0.05/16 + SE 0.25"
    assert config.network.training_of == "mobilenet_v1"
    assert config.data.resolution == 16
    assert config.recipe.optimizer == "rmsprop"
    assert not config.recipe.decays_depthwise
    assert config.recipe.learning_rate == 0.045
    state = load_file("run/best/weights.safetensors")
    assert "b1.l1.se.reduce.conv.weight" in state
    assert int(state["stem.norm.num_batches_tracked"]) == 1  # 60 images, one batch
    assert float(state["stem.norm.running_mean"].abs().max()) > 0


ARGUMENTS = ["--data", "tiny.npz", "--out", "run", "--epochs", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilenet_v9"], "'mobilenet_v9': not NAME[@WIDTH][/RESOLUTION] of the zoo"),
        ([], "which network? name one (nas zoo list shows them), or continue a run with --resume RUN"),
        (
            ["inception_v3", "--resolution", "40"],
            "the input resolution is too small for this network; the next that fits is 75",
        ),
        ([ARCH, "--recipe", "published"], "is not of the zoo; use --recipe short"),
        ([ARCH, "--learning-rate", "-1"], "training options: learning_rate = -1.0: input should be greater than 0"),
        ([ARCH, "--batch-size", "1"], "training options: batch_size = 1: input should be greater than or equal to 2"),
        ([ARCH, "--learning-rate", "nan"], "training options: learning_rate = nan: input should be a finite number"),
        ([ARCH, "--data", "nothing.npz"], "data set 'nothing.npz': no such file or folder"),
        ([ARCH, "--weights", "nothing.safetensors"], "nothing.safetensors: no such file"),
        ([ARCH, "--teacher", "nothing.safetensors"], "nothing.safetensors: not a run folder, an exported folder"),
        ([ARCH, "--teacher", "mobilenet_v9"], "'mobilenet_v9': not NAME[@WIDTH][/RESOLUTION] of the zoo"),
        (
            [ARCH, "--teacher", "inception_v3"],
            "--teacher inception_v3: does not fit the student's 32 px: ",
        ),
        ([ARCH, "--out", "."], ". exists; choose another --out, or continue it with nas train --resume ."),
    ],
)
def test_trainings_that_are_refused_before_anything_is_made(run, arguments, message):
    assert message in refusal(run("train", *ARGUMENTS, *arguments))
    assert {path.name for path in Path().iterdir()} == {"tiny.npz"}


def test_a_class_with_a_single_image_is_not_held_out(run):
    tiny("tiny.npz", num_train=4)  # 2, 1 and 1 images
    assert "take more training images, or hold none out (--holdout 0)" in refusal(run("train", ARCH, *ARGUMENTS))
    assert run("train", ARCH, *ARGUMENTS, "--holdout", "0").code == 0


def test_teachers_that_are_refused(run, trained):
    trained("teacher", arch=TEACHER, epochs=1)
    tiny("other.npz", num_classes=2)
    arguments = ["train", ARCH, "--data", "other.npz", "--out", "run", "--teacher", "teacher"]
    assert refusal(run(*arguments)) == (
        "--teacher teacher: it tells 3 classes apart and other.npz has 2; train one with nas train NAME --data other.npz"
    )
    arrays = dict(np.load("tiny.npz"))
    np.savez("named.npz", **arrays, class_names=np.array(["a", "b", "c"]))
    arguments[3] = "named.npz"
    assert refusal(run(*arguments)) == "--teacher teacher: its classes are others than those of named.npz"
    assert not Path("run").exists()


def test_an_unfinished_run_is_no_teacher(run, trained):
    folder = trained("teacher", arch=TEACHER, epochs=1)
    (folder / "best/weights.safetensors").unlink()
    message = refusal(run("train", ARCH, "--data", "tiny.npz", "--out", "run", "--teacher", "teacher"))
    assert message.startswith("teacher: this run has no trained network yet")


def test_runs_that_are_not_resumed(run, trained):
    assert "not a run folder of nas train (no config.yaml)" in refusal(run("train", "--resume", "nowhere"))
    message = refusal(run("train", ARCH, "--resume", "run", "--epochs", "3"))
    assert message == "--resume continues a run as it began; leave out NAME, --epochs"
    Path("search").mkdir()
    Path("search/config.yaml").write_text("trials: 3")
    assert "continue it with nas search --resume search" in refusal(run("train", "--resume", "search"))

    folder = trained("run")
    (folder / "final.json").unlink()
    config, data = (folder / "config.yaml").read_text(), Path("tiny.npz").read_bytes()
    (folder / "config.yaml").write_text(config.replace("epochs: 2", "epochs: 3"))
    assert "config.yaml was changed since the run began" in refusal(run("train", "--resume", "run"))
    (folder / "config.yaml").write_text(config)
    tiny("tiny.npz", seed=1)
    assert "tiny.npz has changed since the run began" in refusal(run("train", "--resume", "run"))
    Path("tiny.npz").write_bytes(data)
    checkpoint = folder / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    assert "delete it to begin the training again" in refusal(run("train", "--resume", "run"))
    before = weights(folder)
    checkpoint.unlink()
    assert run("train", "--resume", "run").code == 0
    assert weights(folder) == before


def test_a_training_that_diverges(run):
    result = run("train", ARCH, *ARGUMENTS, "--learning-rate", "1e30", "--epochs", "3", "--batch-size", "16")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("nas: run: training loss is ")
    assert line.endswith("; begin a new run with a --learning-rate below 1e+30")


def test_export(run, trained):
    trained("run", epochs=1)
    result = run("export", "run", "--out", "files")
    assert result.code == 0
    assert {path.name for path in Path("files").iterdir()} == FILES
    assert result.out.splitlines()[0] == f"network   {ARCH}, 32 px, 3 classes"
    assert "files: arch.json, model.onnx, weights.safetensors; ONNX Runtime differs by " in result.out
    again = run("export", "mobilenet_v1@0.05/32", "--random-weights", "--num-classes", "7", "--json")
    document = json.loads(again.out)
    assert document["folder"] == "exports/mobilenet_v1@0.05-32"
    assert (document["num_classes"], document["resolution"]) == (7, 32)
    assert document["onnx_max_relative_difference"] <= 1e-4
    assert {path.name for path in Path(document["folder"]).iterdir()} == FILES
    assert refusal(run("export", "mobilenet_v1@0.05/32")).startswith("mobilenet_v1@0.05/32: no weights to export")
    assert "exists; choose another folder" in refusal(run("export", "run", "--out", "files"))
