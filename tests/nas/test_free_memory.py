from types import SimpleNamespace

import psutil
import pytest

from nas.free_memory import free_memory_bytes


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)


def test_without_containers(tmp_path):
    assert free_memory_bytes(tmp_path) == 1000


@pytest.mark.parametrize(
    ("limit", "free"),
    [("900\n", 900 - 500 + 100), ("2000\n", 1000), ("max\n", 1000), ("300\n", 0)],
)
def test_in_a_container(tmp_path, limit, free):
    """Files read long ago count as free."""
    write(tmp_path, max=limit, current="500\n", stat="anon 400\ninactive_file 100\n")
    assert free_memory_bytes(tmp_path) == free


def test_in_a_container_of_the_old_kind(tmp_path):
    files = {"limit_in_bytes": "700\n", "usage_in_bytes": "500\n", "stat": "inactive_file 9\ntotal_inactive_file 50\n"}
    write(tmp_path / "memory", **files)
    assert free_memory_bytes(tmp_path) == 250


def test_this_machine(monkeypatch):
    monkeypatch.undo()
    assert 0 < free_memory_bytes() <= psutil.virtual_memory().total
