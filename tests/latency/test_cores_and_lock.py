from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from latency.cores import available_cores, measuring_core, other_cores, pin
from latency.measuring_lock import is_measuring, measuring_lock


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
