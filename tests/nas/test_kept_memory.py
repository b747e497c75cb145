"""Freed memory is kept: what glibc is told; what that saves, `experiments/benchmarks/supernet_scoring.py` measures."""

from __future__ import annotations

import ctypes
import platform
import sys
from types import SimpleNamespace

import pytest

from nas.kept_memory import keep_freed_memory

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@pytest.fixture
def library(monkeypatch):
    """A C library that notes what it is told."""
    told = []
    found = SimpleNamespace(told=told, mallopt=lambda *setting: told.append(setting))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory.cache_clear()
    yield found
    keep_freed_memory.cache_clear()


def test_a_process_is_told_once(library):
    keep_freed_memory()
    keep_freed_memory()
    assert library.told == [(M_MMAP_THRESHOLD, 32 * 2**20), (M_TRIM_THRESHOLD, 2**31 - 1)]


def test_another_c_library_is_left_alone(library):
    del library.mallopt
    keep_freed_memory()
    assert library.told == []


def test_another_system_is_left_alone(library, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    keep_freed_memory()
    assert library.told == []


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_accepts_it():
    settings = ((M_MMAP_THRESHOLD, 32 * 2**20), (M_TRIM_THRESHOLD, 2**31 - 1))
    assert [ctypes.CDLL(None).mallopt(*setting) for setting in settings] == [1, 1]
