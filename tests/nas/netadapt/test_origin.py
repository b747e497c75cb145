"""What an adaptation begins with: a named network, a run, the newest run, MnasNet-A1."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from nas.errors import UserError
from nas.netadapt.origin import newest_finished_run, origin
from search_spaces.arch_json import arch_to_json
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import get
from tests.nas.netadapt.adapt_runs import make_run
from tests.nas.netadapt.adaptations import ARCH


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(name, time=0.0, *, finished=True, **changes):
    """What `nas train` leaves in ``runs/NAME``, as far as anybody looks here."""
    folder = Path("runs") / name
    (folder / "best").mkdir(parents=True)
    config = {
        "format": "nas-train",
        "version": 1,
        "seed": 5,
        "network": {"name": "small", "arch": ARCH, "training_of": "mobilenet_v2"},
        "data": {"source": "/data/photos.npz", "resolution": 48, "holdout": 0.25},
        "training": {"epochs": 7, "batch_size": 24},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))
    (folder / "best" / "arch.json").write_text(json.dumps(arch_to_json(parse_arch(ARCH))))
    (folder / "best" / "weights.safetensors").write_bytes(b"")
    os.utime(folder / "best" / "weights.safetensors", (time, time))
    if finished:
        (folder / "final.json").write_text("{}")
    return folder


def test_without_any_run_it_is_mnasnet_a1():
    found = origin(None, None, None)
    assert (found.network.name, found.network.arch, found.training_of) == (
        "mnasnet_a1",
        get("mnasnet_a1"),
        "mnasnet_a1",
    )
    assert found.note == "network   mnasnet_a1, for there is no finished run"
    assert (found.weights, found.source, found.holdout, found.latency) == (None, None, None, None)


def test_a_run_brings_its_network_its_data_and_its_training():
    found = origin(None, trained("mine"), None)
    assert (found.network.name, found.network.arch, found.training_of) == ("small", parse_arch(ARCH), "mobilenet_v2")
    assert found.weights == Path("runs/mine/best/weights.safetensors")
    assert (found.source, found.resolution, found.holdout, found.seed) == ("/data/photos.npz", 48, 0.25, 5)
    assert found.training is not None
    assert (found.training.epochs, found.training.batch_size) == (7, 24)
    assert found.note == "network   of runs/mine"


def test_a_run_that_held_nothing_out_has_seen_all():
    data = {"source": "digits", "resolution": 32, "holdout": 0.0}
    assert origin(None, trained("mine", data=data), None).holdout is None


def test_the_newest_finished_run_is_taken():
    trained("old", 1e9)
    trained("new", 2e9)
    trained("unfinished", 3e9, finished=False)
    assert newest_finished_run() == Path("runs/new")
    found = origin(None, None, None)
    assert found.weights == Path("runs/new/best/weights.safetensors")
    assert found.note == "network   of runs/new, the newest finished run"


def test_adaptations_are_not_among_them():
    Path("runs").mkdir()
    make_run(Path("runs/adapted"), trained={"adapted": [700]})
    assert newest_finished_run() is None


def test_a_named_network_goes_before_runs():
    trained("mine")
    found = origin("mobilenet_v2", None, None)
    assert (found.network.arch, found.training_of, found.note) == (get("mobilenet_v2"), "mobilenet_v2", None)
    assert origin("mobilenet_v2", None, Path("w.pth")).weights == Path("w.pth")
    assert origin(ARCH, None, None).training_of is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ARCH, Path("runs/mine"), None), "--run brings its network and its weights; leave out --arch and --weights"),
        ((None, Path("runs/mine"), Path("w")), "--run brings its network and its weights; leave out --arch"),
        ((None, None, Path("w")), "--weights w: of which network? name it with --arch"),
        ((None, Path("runs/none"), None), "runs/none: not a run folder, an exported folder"),
        ((None, Path("runs/begun"), None), "(no best/weights.safetensors); finish it with --resume runs/begun"),
        ((None, Path("runs/mine/best"), None), "(no config.yaml); an exported network is --arch and --weights"),
        ((None, Path("runs/adapted"), None), "an adaptation; take one of its networks: nas adapt pick runs/adapted"),
    ],
)
def test_refused(arguments, message):
    trained("mine")
    (trained("begun", finished=False) / "best" / "weights.safetensors").unlink()
    make_run(Path("runs/adapted"), trained={"adapted": [700]})
    with pytest.raises(UserError) as caught:
        origin(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
