import io
from dataclasses import replace

from rich.console import Console

from nas.netadapt.adapt_progress import AdaptProgress
from nas.netadapt.tournament import Round
from tests.nas.netadapt.adapt_runs import SEED_MS, TARGET_MS, made_steps

STEPS = made_steps()


def milliseconds(cost):
    return f"{cost:.2f} ms"


def plain():
    return Console(file=io.StringIO(), width=40)


def lines(console):
    return console.file.getvalue().splitlines()


def shown_on(console, **options):
    return AdaptProgress(console, milliseconds, TARGET_MS, SEED_MS, **options)


def test_one_line_a_step_where_there_is_no_terminal():
    console = plain()
    with shown_on(console) as progress:
        for step in STEPS:
            progress.scored(3, 8, Round(1, 0, 0.25))
            progress.accepted(step)
    left = [30 * n / (SEED_MS - step.cost) * (step.cost - TARGET_MS) for n, step in enumerate(STEPS, start=1)]
    assert lines(console) == [  # whole lines, however narrow the console
        "adapted 1: block 1 bottleneck 16 -> 8: 3.59 ms (target 3.20 ms), held-out accuracy 80.0%; "
        f"about {left[0]:.0f} s left",
        "adapted 2: block 2 expansion 48 -> 32: 3.39 ms (target 3.20 ms), held-out accuracy 79.9%; "
        f"about {left[1]:.0f} s left",
        "adapted 3: block 2 expansion 32 -> 16: 3.18 ms (target 3.20 ms), held-out accuracy 79.7%",
    ]


def test_resumed_steps_count_for_the_time():
    console = plain()
    with shown_on(console, name="random") as progress:
        progress.resumed([replace(STEPS[0], seconds=10.0)])
        progress.accepted(replace(STEPS[1], seconds=50.0))
    seconds = 60 / (SEED_MS - STEPS[1].cost) * (STEPS[1].cost - TARGET_MS)
    assert lines(console)[0] == "random: goes on after step 1; 3.59 ms (target 3.20 ms), held-out accuracy 80.0%"
    assert lines(console)[1].endswith(f"about {seconds:.0f} s left")


def test_nothing_is_said_of_a_run_that_begins():
    console = plain()
    with shown_on(console) as progress:
        progress.resumed([])
    assert lines(console) == []


def rendered(progress):
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(progress)
    return console.file.getvalue()


def test_the_panel():
    progress = shown_on(plain())
    first = rendered(progress)
    assert "0 % of the way" in first
    assert "at       4.00 ms (target 3.20 ms)" in first
    assert "accuracy" not in first
    assert "no step accepted yet" in first
    progress.scored(3, 9, Round(2, 10, 0.5))
    assert "step 1, round 2 (10 steps of training): 3 of 9 networks" in rendered(progress)
    progress.accepted(STEPS[0])
    progress.scored(1, 8, Round(1, 0, 0.25))
    second = rendered(progress)
    share = (SEED_MS - STEPS[0].cost) / (SEED_MS - TARGET_MS)
    assert f"{100 * share:.0f} % of the way" in second
    assert "last     block 1 bottleneck 16 -> 8" in second
    assert "step 2, round 1 (without training): 1 of 8 networks" in second
    progress.accepted(STEPS[1])
    progress.accepted(STEPS[2])
    assert "100 % of the way" in rendered(progress)


def test_on_a_terminal_there_is_a_panel_that_leaves_nothing_behind():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with shown_on(console) as progress:
        progress.accepted(STEPS[0])
    shown = console.file.getvalue()
    assert "last     block 1 bottleneck 16 -> 8" in shown  # the panel's last state
    assert "adapted 1:" not in shown  # no plain line beside it
    assert shown.endswith("\x1b[2K")  # and the panel is erased
