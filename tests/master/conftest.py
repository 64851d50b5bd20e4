"""Fixtures of the masters' tests: a trio that is always stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import ScriptedServer
from trio import Client, Trio, started, wait_until


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    """Three masters of a fresh cluster, started."""
    with started(Trio(tmp_path)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Three masters for the tests of one file that stop none and use names of their own."""
    with started(Trio(tmp_path_factory.mktemp("shared"))) as cluster:
        yield cluster


@pytest.fixture
def guest(shared: Trio) -> Client:
    """A client of the shared masters with a session of its own."""
    return Client(shared)


@pytest.fixture
def servers(trio: Trio) -> list[ScriptedServer]:
    """Four chunkservers in two racks, registered and beating."""
    racks = ("r1", "r1", "r2", "r2")
    made = [
        ScriptedServer(trio, f"cs{number}", rack).start()
        for number, rack in enumerate(racks, start=1)
    ]
    wait_until(lambda: all(one.heard for one in made), "the first heartbeats")
    return made


@pytest.fixture
def client(trio: Trio) -> Client:
    """A client with an open session."""
    return Client(trio)
