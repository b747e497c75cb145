"""The run folder: made whole, kept from others, and nothing in it torn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nas.errors import UserError
from nas.netadapt.adapt_run import AdaptRun, Trajectory, create_run, keep_network, kept_network
from nas.netadapt.weighted_network import WeightedNetwork
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.nas.netadapt.adapt_runs import config, made_steps

ARCH = parse_arch("stem_k3_s22_o8 r1_k3_s11_e2_i8_o16 head_o16")
RESOLUTION, NUM_CLASSES = 16, 3
SAMPLE = torch.rand(2, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    create_run(tmp_path / "deep" / "run", config(), "of the data")
    return tmp_path / "deep" / "run"


def network(seed=0):
    return WeightedNetwork.of(ARCH, build_module(lower(ARCH, RESOLUTION, NUM_CLASSES), seed=seed))


def test_a_new_run_has_nothing_but_what_was_asked_for(folder):
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "environment.json"}
    environment = json.loads((folder / "environment.json").read_text())
    assert (environment["format"], environment["data_fingerprint"]) == ("nas-adapt-environment", "of the data")
    assert environment["packages"]["torch"] == torch.__version__
    with AdaptRun(folder) as run:
        assert run.config == config()
        assert (run.steps.records, run.random_steps.records) == ([], [])


def test_a_folder_that_exists_is_left_alone(folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="exists; choose another --out, or continue it with nas adapt --resume"):
        create_run(folder, config(), "of other data")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot make the run folder {tmp_path}/file/run: Not a directory"):
        create_run(tmp_path / "file" / "run", config(), "of the data")


def test_two_programs_do_not_write_to_one(folder):
    with AdaptRun(folder), pytest.raises(UserError) as caught:
        AdaptRun(folder)
    assert str(folder) in str(caught.value)
    with AdaptRun(folder):
        pass  # the first one is over


def test_a_configuration_that_was_edited_is_refused_and_the_lock_is_free(folder):
    path = folder / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("0.05L", "0.06L"))
    with pytest.raises(UserError, match=r"config\.yaml was changed since the run began; restore it"):
        AdaptRun(folder)
    path.write_text(text)
    with AdaptRun(folder):
        pass


def test_a_damaged_journal_frees_the_lock(folder):
    (folder / "steps.jsonl").write_text('{"format": "another"}\n')
    with pytest.raises(UserError):
        AdaptRun(folder)
    (folder / "steps.jsonl").unlink()
    with AdaptRun(folder):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "not a run folder of nas adapt"), ("format: nas-train\n", "a run of another command than nas adapt")],
)
def test_other_folders(tmp_path, text, message):
    if text:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        AdaptRun(tmp_path)


def test_the_data_are_those_that_it_began_with(folder):
    with AdaptRun(folder) as run:
        run.check_data("of the data")
        with pytest.raises(UserError, match="has changed since the run began"):
            run.check_data("of other data")


def test_the_division_is_that_which_it_began_with(folder):
    with AdaptRun(folder) as run:
        run.check_split({"sha256": "a", "holdout": [1]})
        run.check_split({"sha256": "a", "holdout": [1]})
        with pytest.raises(UserError, match="images are held out otherwise than when the run began"):
            run.check_split({"sha256": "b", "holdout": [2]})
        assert run.read("split") == {"sha256": "a", "holdout": [1]}


def test_documents(folder):
    with AdaptRun(folder) as run:
        assert run.read("seed") is None
        run.write("seed", {"cost": 1.5})
        run.write("seed", {"cost": 2.5})
        assert run.read("seed") == {"cost": 2.5}


@pytest.mark.parametrize("measured", [True, False])
def test_steps_come_back_as_they_were(folder, measured):
    steps = made_steps(measured=measured)
    with AdaptRun(folder) as run:
        for step in steps:
            run.steps.append(step)
        run.random_steps.append(steps[0])
    with AdaptRun(folder) as run:
        assert run.steps.records == list(steps)
        assert run.random_steps.records == [steps[0]]
    assert (folder / "random" / "steps.jsonl").is_file()


def test_a_torn_last_line_is_a_step_that_was_not_kept(folder):
    with AdaptRun(folder) as run:
        for step in made_steps()[:2]:
            run.steps.append(step)
    whole = (folder / "steps.jsonl").read_bytes()
    with (folder / "steps.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "par')
    with pytest.warns(UserWarning, match="cut short"):
        run = AdaptRun(folder)
    with run:
        assert run.steps.records == list(made_steps()[:2])
        run.steps.append(made_steps()[2])
    assert (folder / "steps.jsonl").read_bytes().startswith(whole)
    with AdaptRun(folder) as run:
        assert run.steps.records == list(made_steps()[:3])


def test_a_network_is_kept_with_its_weights(tmp_path):
    with Trajectory(tmp_path) as trajectory:
        trajectory.keep(7, network(), SAMPLE, {"classes": "[]"})
        assert trajectory.network_folder(7) == tmp_path / "steps" / "07"
        found = trajectory.network(7, RESOLUTION, NUM_CLASSES)
    assert (found.arch, found.resolution, found.num_classes) == (ARCH, RESOLUTION, NUM_CLASSES)
    own = network().state
    assert found.state.keys() == own.keys()
    assert all(torch.equal(found.state[name], own[name]) for name in own)


def test_a_network_takes_the_place_of_what_a_kill_has_left(tmp_path):
    folder = tmp_path / "steps" / "01"
    for left in (folder, Path(f"{folder}.tmp")):
        left.mkdir(parents=True)
        (left / "weights.safetensors").write_bytes(b"torn")
        (left / "more").write_bytes(b"")
    keep_network(folder, network(1), SAMPLE, {})
    assert {path.name for path in folder.iterdir()} == {"arch.json", "model.onnx", "weights.safetensors"}
    assert [path.name for path in folder.parent.iterdir()] == ["01"]
    state = kept_network(folder, RESOLUTION, NUM_CLASSES).state
    assert all(torch.equal(state[name], tensor) for name, tensor in network(1).state.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory; restore the file from a copy"),
        ('{"format":', "not JSON; restore the file from a copy"),
        ("[]", "not a nas-adapt-environment file; restore the file from a copy"),
        ('{"format": "nas-adapt-environment", "version": 9}', "version 9; this program reads 1"),
    ],
)
def test_a_damaged_environment_is_said_in_a_line(folder, text, message):
    file = folder / "environment.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(UserError) as caught:
        AdaptRun(folder)
    assert str(caught.value) == f"{file}: {message}"


def test_a_damaged_result_is_said_in_a_line(folder):
    with AdaptRun(folder) as run:
        assert run.read("device") is None
        (folder / "device.json").write_text("{")
        with pytest.raises(UserError, match=r"device\.json: not JSON; restore the file from a copy"):
            run.read("device")
