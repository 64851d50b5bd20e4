"""One real cluster for the tests of the library; whatever a test killed runs again afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stage import START_S

import gfs_ha
from gfs_ha.limits import MIB
from gfs_ha.local.cluster import LocalCluster


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    cluster = LocalCluster(tmp_path_factory.mktemp("library") / "cluster", timeout_s=START_S)
    try:
        cluster.up(masters=3, chunkservers=4, racks=("r1", "r2"), chunk_bytes=MIB)
        yield cluster
    finally:
        cluster.down(wipe=True)


@pytest.fixture
def real_cluster(running: LocalCluster) -> Iterator[LocalCluster]:
    yield running
    running.up()  # Starts what is dead, and wakes what is paused.


@pytest.fixture
def client(real_cluster: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    with gfs_ha.connect(real_cluster.config_path) as cluster:
        for entry in list(cluster.listdir("/")):
            cluster.remove(f"/{entry.name}", recursive=True)
        yield cluster
