"""For all tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads gain nothing on networks this small, and wait for each other for minutes when the cores are busy."""
    torch.set_num_threads(1)
