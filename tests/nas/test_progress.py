import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from latency.latency import Latency
from nas import progress
from nas.progress import SearchProgress, describe
from nas.trial import Trial
from search_spaces.arch_string import parse_arch

ARCH = parse_arch("r1_k3_s11_e1_i32_o16 head_o8")


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def trial(number, **changes):
    latency = Latency(3.25, (3.0, 3.5), 1.0, (0.9, 1.1), "ok", "measured", num_pairs=2)
    fields = {"status": "ok", "reward": 0.5, "accuracy": 0.75, "latency": latency, **changes}
    return Trial(number=number, choices={}, arch=ARCH, macs=1, params=1, **fields)


def failed(number, status="failed", **changes):
    changes = {"reason": "[red]out of memory[/red]", **changes}
    return trial(number, status=status, reward=0.0, accuracy=None, latency=None, **changes)


def plain():
    return Console(file=io.StringIO(), width=40)


def lines(console):
    return console.file.getvalue().splitlines()


def test_describe():
    assert describe(trial(0)) == "reward 0.5000, accuracy 75.0%, 3.25 ms"
    assert describe(failed(0, reason="boom")) == "failed (boom)"
    assert describe(failed(0, "rejected", reason="too large")) == "rejected (too large)"


def test_one_line_a_trial_where_there_is_no_terminal(clock):
    console = plain()
    with SearchProgress(console, num_trials=4, target_ms=3.0) as shown:
        for number, one in enumerate((trial(0), trial(1, reward=0.625), trial(2, repeat_of=0), failed(3, "rejected"))):
            shown.estimate(number, 0.5)
            clock.now += 10
            shown.finished(one)
    figures = "accuracy 75.0%, 3.25 ms"
    best = f"best reward 0.6250, {figures}"
    assert lines(console) == [  # whole lines, however narrow the console
        f"[1/4] trial 0: reward 0.5000, {figures}; best reward 0.5000, {figures}; about 30 s left",
        f"[2/4] trial 1: reward 0.6250, {figures}; {best}; about 20 s left",
        f"[2/4] trial 2: reward 0.5000, {figures}; {best}; about 30 s left",  # a repeat counts for nothing
        f"[2/4] trial 3: rejected ([red]out of memory[/red]); {best}; about 40 s left",
    ]


def test_failures_are_said_as_they_are(clock):
    console = plain()
    with SearchProgress(console, num_trials=2, target_ms=3.0) as shown:
        clock.now += 200
        shown.finished(failed(0))
    assert lines(console) == [
        "trial 0 failed: [red]out of memory[/red]",
        "[1/2] trial 0: failed ([red]out of memory[/red]); about 3 min left",
    ]


def test_resumed_trials_count_but_not_for_the_time(clock):
    console = plain()
    with SearchProgress(console, num_trials=6, target_ms=3.0) as shown:
        shown.resume([trial(0, reward=0.9), trial(1), trial(2, repeat_of=0)])
        clock.now += 10
        shown.finished(trial(3))
    assert lines(console)[0].startswith("[3/6] trial 3: reward 0.5000")
    assert "best reward 0.9000" in lines(console)[0]
    assert lines(console)[0].endswith("about 30 s left")


def rendered(shown):
    console = Console(file=io.StringIO(), width=120)
    console.print(shown)
    return console.file.getvalue()


def test_the_panel(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with SearchProgress(console, num_trials=4, target_ms=3.0) as shown:
        assert "best     none yet (target 3.00 ms)" in rendered(shown)
        shown.estimate(0, 0.25)
        shown.estimate(1, 0.125)
        assert "running  #0 at 25.0%, #1 at 12.5%" in rendered(shown)
        clock.now += 10
        shown.finished(trial(0))
        panel = rendered(shown)
        assert "best     reward 0.5000, accuracy 75.0%, 3.25 ms (target 3.00 ms)" in panel
        assert "running  #1 at 12.5%" in panel
        assert "1/4" in panel
        assert "about 30 s left" in panel
        shown.finished(failed(1))
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", console.file.getvalue())
    assert "trial 1 failed: [red]out of memory[/red]" in text
    assert "[1/4]" not in text  # lines are for where there is no panel
