"""For all tests."""

from __future__ import annotations

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of whole searches come first: what is short then fills up the workers to one end."""
    items.sort(key=lambda item: not item.path.name.startswith("test_search"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads gain nothing on networks this small, and wait for each other for minutes when the cores are busy."""
    torch.set_num_threads(1)
