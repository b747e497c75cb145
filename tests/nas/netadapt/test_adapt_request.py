"""What a person asks of `nas adapt`: what is chosen where nothing is said, and what is refused, in one line each."""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nas.cli import main
from nas.errors import UserError
from nas.latency_section import DeviceSection, LatencySection
from nas.netadapt.adapt_config import read_adapt_config
from nas.netadapt.adapt_request import AdaptRequest, asked_budgets, begin, deployment_section
from nas.netadapt.budget import parse_budgets
from nas.netadapt.origin import origin
from nas.weights_file import write_state
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from search_spaces.zoo import get
from tests.nas.netadapt.adaptations import ARCH, NUM_CLASSES, PLAIN, images, synthetic_table

SMALL = "stem_k3_s22_o8 r1_k3_s22_e2_i8_o16 head_o16"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Images of ten and of three classes, weights of two networks, a table, a finished training."""
    home = tmp_path_factory.mktemp("home")
    images(home / "tiny.npz")
    images(home / "three.npz", num_classes=3, num_train=60)
    write_state(home / "own.safetensors", build_module(lower(parse_arch(ARCH), 32, NUM_CLASSES), seed=0).state_dict())
    write_state(
        home / "other.safetensors", build_module(lower(parse_arch(SMALL), 32, NUM_CLASSES), seed=0).state_dict()
    )
    synthetic_table(home / "table.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        options = "--epochs 1 --batch-size 24 --holdout 0.25 --seed 3 --resolution 16"
        patch.setattr(
            sys, "argv", ["nas", "train", SMALL, "--data", "three.npz", *options.split(), "--out", "runs/mine"]
        )
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
    return home


@pytest.fixture(autouse=True)
def _there(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def adapt(monkeypatch, capfd):
    """`nas adapt ARGUMENTS` in this process: exit code, output, errors."""

    def adapt(*arguments):
        monkeypatch.setattr(sys, "argv", ["nas", "adapt", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capfd.readouterr()

    return adapt


def begun(out, of, **asked):
    """Configuration and what was printed."""
    printed = io.StringIO()
    request = AdaptRequest(origin=of, budgets=asked_budgets([], None, None, has_table=False), **asked)
    folder, _ = begin(request, out, Console(file=printed, width=200))
    return folder, read_adapt_config(folder), printed.getvalue()


def test_of_the_newest_finished_run_with_its_data_and_its_division(tmp_path):
    folder, config, printed = begun(tmp_path / "run", origin(None, None, None))
    assert printed == "network   of runs/mine, the newest finished run\n"
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "environment.json"}
    assert config.arch == one_layer_blocks(parse_arch(SMALL))
    assert config.weights == str(Path("runs/mine/best/weights.safetensors").absolute())
    data = config.training.data
    assert (data.source, data.resolution, data.holdout) == (str(Path("three.npz").absolute()), 16, 0.25)
    assert (config.training.seed, config.training.training.batch_size, config.training.training.epochs) == (3, 24, 1)
    assert (config.schedule, config.budgets, config.groups) == ("0.01L", ["latency=0.8L"], "v3")
    assert config.latency.num_classes == 3


@pytest.mark.parametrize("asked", [{"seed": 4}, {"holdout": 0.2}, {"data": "copy.npz"}])
def test_accuracies_are_flattered_where_the_training_has_seen_what_is_held_out(tmp_path, asked):
    shutil.copyfile("three.npz", "copy.npz")  # who knows what else is in another file
    _, _, printed = begun(tmp_path / "run", origin(None, Path("runs/mine"), None), **asked)
    assert "may have been trained on the images that are held out here: accuracies of the steps flatter them" in printed


def test_without_a_run_mnasnet_a1_on_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, config, printed = begun(None, origin(None, None, None))
    assert folder == Path("runs/adapt-mnasnet_a1-1")
    assert printed == "network   mnasnet_a1, for there is no finished run\n"
    assert config.arch == one_layer_blocks(get("mnasnet_a1"))
    assert (config.weights, config.training.data.source, config.training.data.holdout) == (None, "digits", 0.2)
    assert (config.latency.resolution, config.latency.num_classes) == (224, 10)
    assert begun(None, origin(None, None, None))[0] == Path("runs/adapt-mnasnet_a1-2")


def test_what_is_asked_for_is_written_down(tmp_path):
    asked = {
        "data": "tiny.npz",
        "epochs": 4,
        "training": {"batch_size": 16, "max_shift": 2},
        "judging": {"num_steps": 0, "selection": "accuracy"},
        "holdout": 0.1,
        "seed": 7,
        "threads": 2,
        "num_trainings": 0,
        "baselines": False,
        "resolution": 64,
    }
    _, config, printed = begun(tmp_path / "run", origin(ARCH, None, None), **asked)
    assert printed == ""
    assert str(config.arch) == PLAIN
    assert (config.seed, config.training.seed, config.threads, config.num_trainings) == (7, 7, 2, 0)
    assert (config.treatment.batch_size, config.treatment.max_shift, config.training.training.epochs) == (16, 2, 4)
    assert (config.judging.num_steps, config.judging.selection, config.baselines) == (0, "accuracy", False)
    assert (config.latency.resolution, config.training.data.resolution) == (64, 32)


def test_deployed_as_the_networks_of_a_table(tmp_path):
    _, config, _ = begun(tmp_path / "run", origin(ARCH, None, None), data="tiny.npz", table=Path("table.json"))
    assert (config.latency.table, config.latency.resolution) == (str(Path("table.json").absolute()), 32)
    assert config.latency.num_classes == NUM_CLASSES
    assert config.prices_latency


DATA = ("--data", "tiny.npz", "--cost", "macs")
OWN = ("--arch", ARCH, "--weights", "own.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "runs/mine", "--arch", ARCH), "--run brings its network and its weights; leave out --arch"),
        (("--weights", "own.safetensors"), "--weights own.safetensors: of which network? name it with --arch"),
        (("--run", "."), ".: not a run folder"),
        (("--resume", "nowhere"), "nowhere: not a run folder of nas adapt (no config.yaml)"),
        (("--resume", "runs/mine"), "runs/mine: a run of another command than nas adapt"),
        (
            (*OWN, *DATA, "--out", "runs"),
            "runs exists; choose another --out, or continue it with nas adapt --resume runs",
        ),
        ((*OWN, *DATA, "--num-classes", 10), "--num-classes 10: the data say how many classes there are; leave it out"),
        ((*OWN, *DATA, "--schedule", "fast"), "--schedule 'fast': must be"),
        ((*OWN, "--data", "none.npz"), "none.npz"),
        (
            (*OWN, *DATA, "--budget", "macs=0.8L"),
            "--budget says what is reduced and how far; leave out --target and --cost",
        ),
        ((*OWN, *DATA, "--table", "table.json"), "--cost macs needs no --table; leave out one of them"),
        (
            ("--arch", ARCH, "--data", "three.npz", "--table", "table.json"),
            "with 10 classes, the data have 3; build another",
        ),
        ((*OWN, *DATA, "--ray-address", "127.0.0.1:1"), "--ray-address 127.0.0.1:1: no Ray cluster there"),
    ],
)
def test_refused_before_anything_is_made(home, adapt, arguments, message):
    before = sorted(home.rglob("*"))
    code, out, err = adapt(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("nas: ")
    assert message in err
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arch", ARCH, "--weights", "other.safetensors", *DATA), "not weights of this network"),
        ((*OWN, "--data", "three.npz", "--cost", "macs"), "it tells 10 classes apart and"),
        ((*OWN, *DATA, "--target", "0.01L"), "at its narrowest has"),
        ((*OWN, *DATA, "--schedule", "0.01L*0.5"), "the lowest that they are sure to reach is"),
        ((*OWN, *DATA, "--learning-rate", -1), "learning_rate = -1.0: input should be greater than 0"),
        ((*OWN, *DATA, "--schedule", "0.5ms"), "--schedule 0.5ms: multiply-adds are no milliseconds"),
    ],
)
def test_refused_once_the_data_are_there(adapt, tmp_path, arguments, message):
    """Before Ray is started."""
    code, _, err = adapt(*arguments, "--out", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "budgets"),
    [
        (([], None, None, False), ["latency=0.8L"]),
        (([], "3.0ms", None, True), ["latency=3ms"]),
        (([], "0.7L", "params", False), ["params=0.7L"]),
        ((["macs=0.5L", "latency=3ms"], None, None, False), ["macs=0.5L", "latency=3ms"]),
    ],
)
def test_budgets_that_options_mean(arguments, budgets):
    assert [str(budget) for budget in asked_budgets(*arguments)] == budgets


def test_images_that_cannot_be_held_out(tmp_path):
    images(tmp_path / "few.npz", num_train=NUM_CLASSES)
    with pytest.raises(UserError) as caught:
        begun(tmp_path / "run", origin(ARCH, None, None), data=str(tmp_path / "few.npz"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


BOARDS = [DeviceSection(name=name, server="http://127.0.0.1:1", pool="p", token_file="t") for name in ("one", "two")]


def test_it_is_measured_where_its_search_was(home):
    ran = LatencySection(resolution=64, devices=BOARDS[:1])
    of = replace(origin("mnasnet_a1", None, None), latency=ran)
    asked = asked_budgets([], None, None, has_table=False)
    assert deployment_section(AdaptRequest(origin=of, budgets=asked), 10).devices == BOARDS[:1]
    here = AdaptRequest(origin=of, budgets=asked, device="local")
    assert deployment_section(here, 10) == ran.model_copy(update={"devices": [], "num_classes": 10})
    (home / "board.yaml").write_text("name: mine\n")
    mine = AdaptRequest(origin=of, budgets=asked, device="board.yaml", table=home / "table.json")
    assert deployment_section(mine, NUM_CLASSES).devices == [DeviceSection(name="mine")]


def test_a_search_on_several_devices_leaves_the_choice():
    of = replace(origin("mnasnet_a1", None, None), latency=LatencySection(devices=BOARDS))
    asked = asked_budgets([], None, None, has_table=False)
    with pytest.raises(
        UserError, match=r"latency\.devices names 2: one, two; widths are adapted to one: --device FILE"
    ):
        deployment_section(AdaptRequest(origin=of, budgets=asked), 10)
    assert deployment_section(AdaptRequest(origin=of, budgets=parse_budgets(["params=1e6"])), 10).devices == BOARDS
    assert deployment_section(AdaptRequest(origin=of, budgets=asked, device="local"), 10).devices == []
