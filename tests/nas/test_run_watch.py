"""A run watched from its folder: the test writes the journal where the watcher would sleep."""

import io
import json
import shutil

import pytest
from rich.console import Console

from nas.errors import UserError
from nas.run import Run
from nas.run_watch import show_search, watch_search
from nas.trial import read_trials
from tests.nas.report_runs import CALIBRATION, add_finale, make_run
from tests.nas.searching import Search

WITHOUT_FINAL = "{trials: 12, concurrency: 2, controller: {name: random}, latency: {resolution: 64}, final: null}"


def plain():
    return Console(file=io.StringIO(), width=200)


def lines(console):
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    make_run(folder, recipe=WITHOUT_FINAL)
    return folder


@pytest.fixture
def growing(whole, tmp_path):
    """A run of three trials, and the lines of its journal that are to come."""
    folder = tmp_path / "growing"
    shutil.copytree(whole, folder)
    header, *trials = (folder / "trials.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "trials.jsonl").write_bytes(b"".join([header, *trials[:3]]))
    return folder, trials[3:]


def append(folder, piece):
    with (folder / "trials.jsonl").open("ab") as file:
        file.write(piece)


def test_a_line_for_each_new_trial_then_the_summary(growing, whole):
    folder, coming = growing
    pieces = [piece for line in coming for piece in (line[:40], line[40:])]  # every other look finds a torn line
    console = plain()
    watch_search(folder, console, lambda: append(folder, pieces.pop(0)))
    assert pieces == []
    shown = lines(console)
    assert shown[0].startswith("[3/12] best reward")
    assert shown[0].endswith("target 3.00 ms")
    one_by_one = [line for line in shown if line.startswith("[") and " trial " in line]
    assert [int(line.split()[2].rstrip(":")) for line in one_by_one] == [json.loads(t)["number"] for t in coming]
    assert one_by_one[-1].startswith("[12/12] trial")
    assert any("Pareto front" in line for line in shown)
    assert len(read_trials(folder / "trials.jsonl")) == len(read_trials(whole / "trials.jsonl"))


def test_it_waits_for_the_calibration(growing):
    folder, coming = growing
    environment = folder / "environment.json"
    kept = environment.read_bytes()
    environment.unlink()
    steps = [lambda: environment.write_bytes(kept), lambda: append(folder, b"".join(coming))]
    console = plain()
    watch_search(folder, console, lambda: steps.pop(0)())
    assert lines(console)[0] == "waiting for the device to be calibrated ..."
    assert lines(console)[1].startswith("[3/12]")


def test_it_waits_for_the_final_comparison(tmp_path):
    folder, console = tmp_path / "run", plain()
    make_run(folder)
    watch_search(folder, console, lambda: add_finale(folder))
    shown = lines(console)
    assert shown[0].startswith("[12/12]")
    assert shown[1] == "all trials are done; the final comparison is under way"
    assert any("Final comparison" in line for line in shown)


def test_on_a_terminal_there_is_a_panel(growing):
    folder, coming = growing
    console = Console(file=io.StringIO(), force_terminal=True, width=150, color_system=None)
    watch_search(folder, console, lambda: append(folder, coming.pop(0)))
    text = console.file.getvalue()
    assert "12/12" in text
    assert "front    " in text
    assert "[12/12] trial" not in text  # lines are for where there is no panel


def test_once_says_where_it_stands(growing, whole):
    folder, _ = growing
    console = plain()
    show_search(folder, console)
    text = console.file.getvalue()
    for piece in ("3/12", "best     reward", "(target 3.00 ms)", "front    ", "trial 0", "trial 1"):
        assert piece in text
    assert "ended" not in text
    console = plain()
    show_search(whole, console)
    assert f"the run has ended; more: nas report {whole}" in console.file.getvalue()


def test_once_says_that_nothing_is_there_yet(tmp_path):
    config = make_run(tmp_path / "other", stop_after=1)
    folder, console = tmp_path / "new", plain()
    with Run.create(config, "test", folder) as run:
        show_search(folder, console)
        assert lines(console) == [f"{folder}: no trial yet; the device is being calibrated"]
        run.freeze(CALIBRATION, seed=0)
        show_search(folder, console)
    assert "0/12" in console.file.getvalue()
    assert "best     none yet (target 3.00 ms)" in console.file.getvalue()


def test_what_is_no_run_is_refused(tmp_path):
    for show in (show_search, lambda *a: watch_search(*a, lambda: pytest.fail("waited"))):
        with pytest.raises(UserError, match="not a run folder"):
            show(tmp_path / "nowhere", plain())


def test_the_command_follows_a_journal_until_ctrl_c(growing, tmp_path):
    folder, coming = growing
    out = tmp_path / "out.txt"
    watch = Search("watch", str(folder), prelude=f"import sys; sys.stdout = open({str(out)!r}, 'w', buffering=1)")
    try:
        watch.wait_until(lambda: out.exists() and "[3/12]" in out.read_text())
        append(folder, coming[0])
        watch.wait_until(lambda: "[4/12] trial" in out.read_text())
        watch.interrupt()
        status, output = watch.wait()
    finally:
        watch.kill_everything()
    assert (status, output) == (0, "")
    assert out.read_text().splitlines()[-1] == f"the run goes on; watch it again with: nas watch {folder}"


def test_the_command_names_what_is_no_run(tmp_path):
    status, output = Search("watch", "--once", str(tmp_path)).finish()
    assert status == 2
    assert output.startswith(f"nas: {tmp_path}: not a run folder")
    assert len(output.splitlines()) == 1
