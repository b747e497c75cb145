"""The command line without a search: what each command prints where, and how it refuses."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import typer

import nas
from nas.cli import app, main
from nas.config import parse_config
from nas.recipe_check import resolved

Result = namedtuple("Result", "code out err")
ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("RAY_USAGE_STATS_ENABLED", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "RAY_AIR_NEW_OUTPUT"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))  # which `main` sets, if it is not set


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


def elsewhere(*arguments):
    """`nas ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "nas.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def refusal(result):
    """The one line of a user error."""
    assert result.code == 2
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith("nas: ")
    return line.removeprefix("nas: ")


def test_version(run):
    assert run("--version") == (0, f"nas {nas.__version__}\n", "")


def test_help_names_the_commands(run):
    result = run("--help")
    assert result.code == 0
    assert all(word in result.out for word in ("search", "report", "zoo", "latency", "data", "--version"))


def commands(command, path=()):
    """Paths of `command` and all below it."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = sorted(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help(run, path):
    result = run(*path, "--help")
    assert result.code == 0
    assert f"Usage: {' '.join(('nas', *path))} " in result.out
    assert result.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["zoo", "nonsense"],
        ["zoo", "show"],
        ["zoo", "list", "--nonsense"],
        ["zoo", "list", "--resolution", "7"],
        ["zoo", "list", "--resolution", "many"],
        ["zoo", "list", "--num-classes", "0"],
        ["search", "extra"],
        ["latency", "measure"],
        ["data", "info"],
        ["report"],
    ],
)
def test_usage_errors(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert "Usage: nas" in err
    assert "Traceback" not in err


def test_what_is_no_network_in_a_process_of_its_own():
    assert refusal(elsewhere("zoo", "show", "nonsense")).startswith(
        "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, "
    )


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("nonsense", "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, "),
        ("r1_k4_s11_e1_i32_o16", "architecture: kernel 4: must be odd and positive"),
        ("nope.json", "nope.json: No such file or directory"),
    ],
)
def test_what_is_no_network(run, arch, message):
    assert refusal(run("zoo", "show", arch)).startswith(message)
    assert refusal(run("latency", "measure", "mobilenet_v2", arch, "--json")).startswith(message)
    assert refusal(run("latency", "measure", "mobilenet_v2", "--reference", arch)).startswith(message)


def test_data_info(run):
    code, out, err = run("data", "info", "digits", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["num_train"], document["num_test"], document["num_classes"]) == (1437, 360, 10)
    assert document["class_names"] == list("0123456789")
    table = run("data", "info", "digits")
    assert table.code == 0
    assert "a5d88b34f728071a" in table.out


@pytest.mark.parametrize("spec", ["missing.npz", "nowhere", "~no-such-user/x.npz", "x" * 300])
def test_data_that_is_not_there(run, spec):
    message = refusal(run("data", "info", spec, "--json"))
    assert (
        message
        == f"data set {spec!r}: no such file or folder; allowed are digits, a .npz file, or a folder with "
        + ("train/CLASS/* and val/CLASS/*")
    )


def test_data_that_cannot_be_used(run):
    np.savez("odd.npz", x_train=np.zeros(3))
    assert "odd.npz" in refusal(run("data", "info", "odd.npz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config", "nope.yaml"],
            "recipe 'nope.yaml': no such file, and none of the shipped ones: accel_nasbench.yaml, mnas_large.yaml, ",
        ),
        (["--set", "trials=0"], "trials = 0: input should be greater than or equal to 1"),
        (["--set", "trials=many"], "trials = 'many': input should be a valid integer"),
        (["--set", "trials"], "--set trials: write key=value"),
        (["--set", "objective.target=0ms"], "target '0ms': must be positive and finite"),
        (["--set", "objective.target=3.5"], "objective.target = 3.5: input should be a valid string"),
        (["--set", "objective.target=1x nonsense"], "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, "),
        (["--set", "latency.reference=nonsense"], "'nonsense': not NAME[@WIDTH][/RESOLUTION] of the zoo, "),
        (["--set", "final.baselines=[mnasnet_a1, mnasnet_a1]"], "names must differ from each other"),
        (["--set", "controller.name=ppo2"], "controller: unknown controller 'ppo2'; allowed: ['random', 'ppo', "),
        (["--set", "controller.options.lr=3"], "controller: controller 'ppo' has no options ['lr']; allowed: "),
        (["--set", "cpus_per_trial=4096"], "cpus_per_trial = 4096: this machine has "),
        (
            ["--set", "latency.name=recorded"],
            "latency.name: recorded latencies need the run that recorded them: set latency.run",
        ),
        (["--set", "latency={name: recorded, run: nope}"], "nope: not a run folder (no trials.jsonl)"),
        (["--data", "missing.npz"], "data set 'missing.npz': no such file or folder; allowed are digits, "),
        (["--data", "~no-such-user/x"], "data set '~no-such-user/x': no such file or folder; allowed are digits, "),
        (
            ["--resume", "run", "--out", "other"],
            "--resume continues a run as it began; leave out --out, --data, --table and --set",
        ),
        (["--resume", "run", "--data", "digits"], "--resume continues a run as it began"),
        (["--resume", "run", "--set", "trials=3"], "--resume continues a run as it began"),
        (["--resume", "run"], "run: not a run folder (no config.yaml); runs here: none"),
    ],
)
def test_searches_that_are_refused_before_anything_is_made(run, arguments, message):
    assert message in refusal(run("search", *arguments))
    assert list(Path().iterdir()) == []


def test_an_existing_folder_is_not_overwritten(run):
    Path("mine").mkdir()
    Path("mine/config.yaml").write_text("trials: 3")
    message = refusal(run("search", "--out", "mine"))
    assert message == "mine exists; choose another --out, or continue it with nas search --resume mine"
    assert list(Path("mine").iterdir()) == [Path("mine/config.yaml")]
    assert Path("mine/config.yaml").read_text() == "trials: 3"


def test_a_resolved_recipe_holds_in_any_folder():
    """Relative paths are resolved; `digits` is the set even beside a folder of that name."""
    Path("digits").mkdir()
    for given, wanted in {
        "digits": "digits",
        "./digits": Path("digits").absolute(),
        "x/y": Path("x/y").absolute(),
    }.items():
        recipe = parse_config(f"data: {{source: {given}}}\nevaluator: {{name: recorded, run: r}}", "recipe")
        config = resolved(recipe, None)
        assert config.data.source == str(wanted)
        assert config.evaluator.run == str(Path("r").absolute())
        assert config.concurrency >= 1
        assert resolved(config, None) == config


def test_no_cluster_at_the_address(run):
    message = refusal(run("search", "--ray-address", "127.0.0.1:9", "--out", "r"))
    assert "--ray-address 127.0.0.1:9: no Ray cluster there" in message
    assert not Path("r").exists()


def test_a_shell_completes_commands(tmp_path):
    asked = {"_NAS_COMPLETE": "complete_bash", "COMP_WORDS": "nas re", "COMP_CWORD": "1", "PYTHONPATH": ROOT}
    program = "from nas.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == {"replay", "report", "reproduce"}
