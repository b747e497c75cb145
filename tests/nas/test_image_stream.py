"""Image folders that are streamed: the same pixels, figures and losses as in memory; what is broken; what is chosen."""

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from nas.cli import main
from nas.data import DataError, Dataset
from nas.data_tensors import image_source
from nas.errors import UserError
from nas.image_folder import list_image_folder
from nas.jsonl import read_json_lines
from nas.network import resolve
from nas.streamed_dataset import StreamedDataset, stream_image_folder
from nas.train_config import TrainRequest
from nas.train_data import load_for
from nas.training import Training, num_correct, own_randomness
from nas.training_recipe import TrainingRecipe
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

ROOT = Path(__file__).parents[2]
SIDE = 16
ARCH = "stem_k3_s22_o8 r1_k3_s22_e2_i8_o16_se0.25 head_o16_d0.5"


def photos(root, count, side, suffix):
    """Noise of several shapes in two classes; `count` for training, 3 for validation, each class."""
    rng = np.random.default_rng(0)
    for split, number in (("train", count), ("val", 3)):
        for label in range(2):
            (root / split / f"c{label}").mkdir(parents=True)
            for index in range(number):
                shape = (side + index % 3, side + label, 3)
                values = rng.integers(100 * label, 156 + 100 * label, shape).astype(np.uint8)
                Image.fromarray(values).save(root / split / f"c{label}" / f"{index}.{suffix}")
    return root


@pytest.fixture(scope="module", autouse=True)
def _own_locks(tmp_path_factory):
    """No rest for others' measurements, in this process and in those that it starts."""
    folder = str(tmp_path_factory.mktemp("locks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        patch.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", 11, 40, "jpg")


@pytest.fixture(scope="module")
def in_memory(root):
    return list_image_folder(root).decoded(SIDE)


@pytest.fixture(scope="module")
def streamed(root):
    return stream_image_folder(list_image_folder(root), SIDE)


def test_the_figures_are_those_of_the_images_in_memory(in_memory, streamed):
    """Fingerprint too: a run may be continued either way."""
    for name in ("name", "source", "class_names", "num_classes", "empty_classes", "statistics", "fingerprint"):
        assert getattr(streamed, name) == getattr(in_memory, name)
    assert np.array_equal(streamed.y_train, in_memory.y_train)
    assert np.array_equal(streamed.y_test, in_memory.y_test)


@pytest.mark.parametrize("part", ["train", "test"])
def test_any_order_of_any_part(in_memory, streamed, part):
    indices = np.flatnonzero(np.arange(len(in_memory.labels(part))) % 5 != 2)
    sources = [image_source(dataset, SIDE, part, indices) for dataset in (in_memory, streamed)]
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(0))
    batches = [list(source.batches(order, 4)) for source in sources]
    assert [len(labels) for _, labels in batches[1]] == [4] * (len(indices) // 4) + [len(indices) % 4]
    for (images, labels), (others, other_labels) in zip(*batches, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)
        assert others.is_contiguous(memory_format=torch.channels_last)


def test_only_at_its_own_resolution(streamed):
    with pytest.raises(ValueError, match="streamed at 16 px, wanted at 32 px"):
        image_source(streamed, 32)


def test_an_order_that_was_given_up_does_not_show_in_the_next(in_memory, streamed):
    images = streamed.images()
    given_up = images.batches(torch.arange(22), 2)
    next(given_up)
    (last, _), *_ = images.batches(torch.tensor([21]), 2)
    assert np.array_equal(last[0].permute(1, 2, 0).numpy(), in_memory.x_train[21])
    with pytest.raises(AssertionError, match="one order at a time"):
        next(given_up)


def test_losses_are_equal_bit_for_bit(in_memory, streamed):
    """With everything that draws: order, shifts, flips, dropout."""
    recipe = TrainingRecipe(epochs=2, batch_size=6, max_shift=2, flip=True, ema_decay=0.9)
    losses, states = [], []
    for dataset in (in_memory, streamed):
        data = image_source(dataset, SIDE)
        module = build_module(lower(parse_arch(ARCH), SIDE, 2, training=True), 0)
        training = Training(module, data, recipe, seed=3)
        for epoch in range(2):
            with own_randomness(epoch):
                losses.append(training.next_epoch().loss)
            losses.append(num_correct(module, data))
        states.append(training.tensors())
    assert losses[:4] == losses[4:]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_all_broken_files_are_found_before_anything_trains(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "photos")
    for index in range(5):
        (copy / "train" / "c1" / f"{index}.jpg").write_bytes(b"no image")
    half = copy / "train" / "c0" / "3.jpg"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (copy / "val" / "c0" / "0.jpg").unlink()
    (copy / "val" / "c0" / "0.jpg").symlink_to("nowhere.jpg")
    read = []
    with pytest.raises(DataError) as caught:
        stream_image_folder(list_image_folder(copy), SIDE, read.append)
    names = "train/c0/3.jpg, train/c1/0.jpg, train/c1/1.jpg, train/c1/2.jpg, train/c1/3.jpg, ..."
    assert str(caught.value).startswith(f"{copy}: 7 of 28 images cannot be read: {names} (the first: OSError: ")
    assert "\n" not in str(caught.value)
    assert sum(read) == 28

    with pytest.raises(DataError) as in_memory:
        list_image_folder(copy).decoded(SIDE)
    assert str(in_memory.value) == str(caught.value)


def test_what_goes_wrong_later(root, tmp_path):
    """A file that vanishes, then a worker process that is killed."""
    copy = shutil.copytree(root, tmp_path / "photos")
    images = stream_image_folder(list_image_folder(copy), SIDE).images()
    (copy / "train" / "c1" / "2.jpg").unlink()
    with pytest.raises(DataError, match=r"c1/2\.jpg cannot be read any more \(FileNotFoundError: .*then resume"):
        list(images.batches(torch.arange(22), 4))
    for worker in images.stream._loader._iterator._workers:
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="photos: a process that decodes images was ended from outside") as caught:
        list(images.batches(torch.arange(22).repeat(100), 4))
    assert "\n" not in str(caught.value)


ENDLESS = """
import sys, torch
from pathlib import Path
from nas.image_folder import list_image_folder
from nas.image_stream import ImageStream

folder = list_image_folder(Path(sys.argv[1]))
stream = ImageStream(folder.root, folder.files, 16)
for batch in stream.decoded(torch.arange(28).repeat(10**5), 4):
    print(*(worker.pid for worker in stream._loader._iterator._workers), flush=True)
"""


def test_workers_end_with_the_process_that_they_work_for(root):
    command = [sys.executable, "-c", ENDLESS, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True) as process:
        workers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        process.kill()
    assert workers
    _, left = psutil.wait_procs(workers, timeout=60)
    assert all(worker.status() == psutil.STATUS_ZOMBIE for worker in left)


def request(stream=None):
    return TrainRequest(network=resolve(ARCH), training_of=None, resolution=SIDE, stream=stream)


@pytest.mark.parametrize(
    ("stream", "free_bytes", "kind"),
    [
        (None, 2 * 28 * SIDE * SIDE * 3 * 2, Dataset),  # two copies in half of what is free
        (None, 2 * 28 * SIDE * SIDE * 3 * 2 - 2, StreamedDataset),
        (True, 2**40, StreamedDataset),
        (False, 28 * SIDE * SIDE * 3 * 2, Dataset),
    ],
)
def test_where_the_images_are(root, monkeypatch, stream, free_bytes, kind):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_bytes))
    said = io.StringIO()
    dataset, resolution = load_for(request(stream), str(root), Console(file=said))
    assert type(dataset) is kind
    assert resolution == SIDE
    assert ("28 images checked in" in said.getvalue()) == (kind is StreamedDataset)


def test_what_cannot_be(root, in_memory, tmp_path, monkeypatch):
    arrays = {name: getattr(in_memory, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(
        UserError, match=r"--stream: only a folder of images is streamed; .*set\.npz is read as a whole"
    ):
        load_for(request(stream=True), str(tmp_path / "set.npz"), Console(file=io.StringIO()))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(DataError, match=r"28 images of 16 pixels need 0\.0 GiB .* are free; leave out --no-stream"):
        load_for(request(stream=False), str(root), Console(file=io.StringIO()))


def test_the_command(root, tmp_path, monkeypatch, capsys):
    """From the folder to the exported weights, which are the same; a run goes on either way."""
    monkeypatch.chdir(tmp_path)
    arguments = ["nas", "train", ARCH, "--data", str(root), "--resolution", str(SIDE), "--batch-size", "8", "--flip"]
    for stream in ("--stream", "--no-stream"):
        monkeypatch.setattr(sys, "argv", [*arguments, "--epochs", "2", stream, "--out", stream[2:]])
        with pytest.raises(SystemExit, match="0"):
            main()
        assert ("28 images checked in" in capsys.readouterr().out) == (stream == "--stream")
    one, other = (tmp_path / name for name in ("stream", "no-stream"))
    weights, others = (load_file(folder / "best/weights.safetensors") for folder in (one, other))
    assert all(torch.equal(weights[name], others[name]) for name in weights | others)
    lines = [read_json_lines(folder / "epochs.jsonl", "nas-epochs", 1) for folder in (one, other)]
    figures = [[(line["loss"], line["accuracy"]) for line in epochs] for epochs in lines]
    assert figures[0] == figures[1]
    assert list(itertools.chain.from_iterable(figures))
