"""An adaptation watched from its folder: the test writes the journals where the watcher would sleep."""

import io

import pytest
from rich.console import Console

from nas.errors import UserError
from nas.jsonl import JsonLines
from nas.netadapt.adapt_watch import show_adaptation, watch_adaptation
from nas.netadapt.step_record import FORMAT, VERSION
from nas.run_folder import write_json
from tests.nas.netadapt.adapt_runs import final_document, made_steps, make_run, seed_document, uniform_document

TRAINED = {name: [800, 810] for name in ("seed", "adapted", "uniform", "random")}


def plain():
    return Console(file=io.StringIO(), width=200)


def lines(console):
    return console.file.getvalue().splitlines()


def append(folder, step):
    with JsonLines(folder / "steps.jsonl", FORMAT, VERSION) as journal:
        journal.append(step.to_dict())


def end(folder):
    networks = [final_document(name, correct) for name, correct in TRAINED.items()]
    write_json(
        folder / "final.json",
        {"format": "nas-adapt-final", "version": 1, "run": "run", "unit": "ms", "target": 3.2, "networks": networks},
    )


def test_a_line_for_each_step_of_both_trajectories_then_the_summary(tmp_path):
    first, *others = made_steps()
    folder = make_run(tmp_path / "run", [first], baselines=False)
    (folder / "seed.json").unlink()
    (folder / "random").mkdir()
    happens = [
        lambda: write_json(folder / "seed.json", seed_document()),
        *(lambda step=step: append(folder, step) for step in others),
        lambda: write_json(folder / "uniform.json", uniform_document()),
        *(lambda step=step: append(folder / "random", step) for step in made_steps(position=2)),
        lambda: end(folder),
    ]
    console = plain()
    watch_adaptation(folder, console, lambda: happens.pop(0)())
    assert happens == []
    shown = lines(console)
    assert shown[0] == "waiting for the network to be trained or measured ..."
    assert shown[1].startswith("adapted: goes on after step 1")
    steps = [line.split(":")[0] for line in shown if line.startswith(("adapted ", "random "))]
    names = [f"adapted {step.step}" for step in others] + [f"random {step.step}" for step in made_steps(position=2)]
    assert steps[: len(names)] == names
    assert any("Test accuracy" in line for line in shown)


def test_once_says_where_it_stands(tmp_path):
    folder, console = make_run(tmp_path / "run", made_steps()[:2], baselines=False), plain()
    show_adaptation(folder, console)
    text = console.file.getvalue()
    for piece in ("% of the way", "at       3.387 ms", "(target 3.200 ms)", "last     block 2 expansion 48 -> 32"):
        assert piece in text
    assert "random" not in text
    whole = make_run(tmp_path / "whole", trained=TRAINED)
    show_adaptation(whole, console)
    assert "random" in console.file.getvalue()
    assert lines(console)[-1] == f"the run has ended; more: nas report {whole}"


def test_once_says_that_nothing_is_there_yet(tmp_path):
    folder, console = make_run(tmp_path / "run", baselines=False), plain()
    (folder / "seed.json").unlink()
    show_adaptation(folder, console)
    assert lines(console) == [f"{folder}: no step yet; the network is being trained or measured"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError):
        show_adaptation(tmp_path / "nowhere", plain())
