"""A real cluster of processes for the tests of gfsctl."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl

import gfs_ha
from gfs_ha.errors import GfsError, NotFound
from gfs_ha.local.cluster import LocalCluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the shared cluster: it starts processes."""
    for item in items:
        if "shared_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.processes)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One cluster for all tests that leave its processes alone (or start them again)."""
    cluster = LocalCluster(tmp_path_factory.mktemp("shared") / "cluster", timeout_s=180.0)

    def stop(number: int, frame: FrameType | None) -> None:
        pytest.exit(f"stopped by signal {number}", 128 + number)

    # Whoever runs out of patience with the tests must not be left with seven processes.
    old = signal.signal(signal.SIGTERM, stop)
    try:
        cluster.up(masters=3, chunkservers=4, racks=("r1", "r2"), chunk_bytes=CHUNK_BYTES)
        yield cluster
    finally:
        signal.signal(signal.SIGTERM, old)
        cluster.down(wipe=True)


@pytest.fixture(scope="session")
def library(shared_cluster: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    """The library beside the program, for looks that need no process of their own."""
    with gfs_ha.connect(shared_cluster.config_path) as cluster:
        yield cluster


@pytest.fixture
def whole_cluster(shared_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """The shared cluster for tests that kill: whatever they killed runs again afterwards."""
    yield shared_cluster
    for tries_left in (2, 1, 0):
        try:
            shared_cluster.up()
            break
        except GfsError:  # One that is not whole would fail all tests to come.
            if not tries_left:
                raise


@pytest.fixture
def gfsctl(
    shared_cluster: LocalCluster, library: gfs_ha.Cluster, tmp_path: Path
) -> Iterator[Gfsctl]:
    """The program, in an empty directory of the test's own."""
    program = Gfsctl(shared_cluster.config_path, tmp_path, library)
    try:
        yield program
    finally:
        program.stop_all()


@pytest.fixture
def home(gfsctl: Gfsctl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A remote directory of the test's own; what it leaves there is no other test's concern."""
    path = "/" + re.sub(r"[^A-Za-z0-9_-]+", "-", request.node.name)[:200]
    gfsctl.library.mkdir(path, parents=True)
    yield path
    with suppress(NotFound):
        gfsctl.library.remove(path, recursive=True)


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Show times as in Greenwich."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
