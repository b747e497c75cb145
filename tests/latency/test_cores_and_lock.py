from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from latency.cores import available_cores, measuring_core, other_cores, pin
from latency.measuring_lock import is_measuring, measuring_lock, training_step


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not pin")
class TestCores:
    def test_measuring_core_is_the_last_and_training_gets_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 0, 2})
        assert available_cores() == [0, 2, 5]
        assert measuring_core() == 5
        assert other_cores() == [0, 2]

    def test_the_only_core_does_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
        assert (measuring_core(), other_cores()) == (3, [3])

    def test_pinning_to_nowhere_is_refused_and_changes_nothing(self) -> None:
        before = os.sched_getaffinity(0)
        assert not pin([4095])
        assert os.sched_getaffinity(0) == before


def test_elsewhere_nothing_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (available_cores(), measuring_core(), other_cores(), pin([0])) == ([], None, [], False)


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_one_holder_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def hold() -> None:
        with measuring_lock(tmp_path / "lock"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.02)
            inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_lock_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), measuring_lock(tmp_path / "lock"):
        raise KeyError
    assert not is_measuring(tmp_path / "lock")
    with measuring_lock(tmp_path / "lock"):
        assert is_measuring(tmp_path / "lock")
    assert not is_measuring(tmp_path / "lock")


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_training_rests_while_somebody_measures_and_never_locks_measuring_out(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    measuring = threading.Event()
    over = threading.Event()
    overlaps: list[bool] = []
    steps = [0, 0]

    def train(number: int) -> None:
        while not over.is_set():  # without a pause: one of the two is always in a step
            with training_step(path):
                overlaps.append(measuring.is_set())
                threading.Event().wait(0.002)
            steps[number] += 1

    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            with measuring_lock(path):
                measuring.set()
                before = list(steps)
                threading.Event().wait(0.02)
                assert steps == before
                measuring.clear()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert overlaps
    assert not any(overlaps)


@pytest.mark.skipif(sys.platform != "linux", reason="processes die with their parent on Linux only")
def test_killed_measurer_lets_training_go_on(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from latency.measuring_lock import measuring_lock\n"
        "with measuring_lock(Path(sys.argv[1])): print('in', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "lock"], stdout=subprocess.PIPE) as measurer:
        assert measurer.stdout is not None
        assert measurer.stdout.readline() == b"in\n"
        assert is_measuring(tmp_path / "lock")
        measurer.kill()
    with training_step(tmp_path / "lock"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_suspended_process_holds_nobody_up_for_good(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with training_step(path), measuring_lock(path, longest_step_s=0.05):  # a step that never ends
        pass
    with measuring_lock(path), training_step(path, longest_rest_s=0.05):  # a measurement that never ends
        pass
    assert not is_measuring(path)
