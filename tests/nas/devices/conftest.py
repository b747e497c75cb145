"""Small models, a dispatcher on a clock that the test turns, and servers and agents in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latency.meter import MeterSettings
from tests.nas.devices.networks import QUICK, build_model, build_network
from tests.nas.devices.processes import Processes
from tests.nas.devices.world import World


@pytest.fixture(scope="session")
def network() -> bytes:
    return build_network()


@pytest.fixture(scope="session")
def larger_network() -> bytes:
    return build_network(channels=32, size=64)


@pytest.fixture
def make_model():
    return build_model


@pytest.fixture
def quick() -> MeterSettings:
    return QUICK


@pytest.fixture
def world(tmp_path: Path, network: bytes) -> Iterator[World]:
    made = World(tmp_path / "state", network)
    yield made
    made.stop()


@pytest.fixture
def make_world(tmp_path: Path, network: bytes) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**fields) -> World:
        worlds.append(World(tmp_path / f"state{len(worlds)}", network, **fields))
        return worlds[-1]

    yield make
    for world in worlds:
        world.stop()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def deserted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A server that no device ever joins; one for all tests that ask for it."""
    made = Processes(tmp_path_factory.mktemp("deserted"))
    try:
        made.serve()
        yield made
    finally:
        made.stop()
