"""Fixtures of the masters' tests: a trio that is always stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import ScriptedServer
from trio import Client, Trio, wait_until

from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.reports import GetServers


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    """Three masters of a fresh cluster, started."""
    cluster = Trio(tmp_path)
    try:
        cluster.start(bootstrap=True)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Three masters for the tests of one file that stop none and use names of their own."""
    cluster = Trio(tmp_path_factory.mktemp("shared"))
    try:
        cluster.start(bootstrap=True)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def guest(shared: Trio) -> Client:
    """A client of the shared masters with a session of its own."""
    return Client(shared)


@pytest.fixture
def servers(trio: Trio) -> list[ScriptedServer]:
    """Four chunkservers in two racks, registered and beating."""
    racks = ("r1", "r1", "r2", "r2")
    started = [
        ScriptedServer(trio, f"cs{number}", rack).start()
        for number, rack in enumerate(racks, start=1)
    ]
    link = trio.link("admin")
    wait_until(
        lambda: all(
            row.heartbeat_age_ms >= 0 for row in link.call((Asked(GetServers()),), 10)[0].items
        ),
        "the first heartbeats",
    )
    return started


@pytest.fixture
def client(trio: Trio) -> Client:
    """A client with an open session."""
    return Client(trio)
