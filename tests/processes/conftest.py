"""A client that is killed when the session begins: its 120 s run beside the other tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from killing import MIB, RUNTIME, Orphan, begin_put, chunks, content, wait_until
from stage import START_S

import gfs_ha
from gfs_ha.local.cluster import LocalCluster


@pytest.fixture(scope="session")
def orphan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orphan]:
    cluster = LocalCluster(tmp_path_factory.mktemp("orphan") / "cluster", timeout_s=START_S)
    try:
        cluster.up(masters=1, chunkservers=2, chunk_bytes=MIB)
        client = begin_put(cluster.config_path, "/half")
        with client, gfs_ha.connect(cluster.config_path) as fs:
            assert client.stdin is not None
            client.stdin.write(content(3 * MIB + 500_000))
            client.stdin.flush()
            wait_until(lambda: len(chunks(fs)) >= 3, "the put has several chunks")
            client.send_signal(signal.SIGKILL)
            client.wait()
            made = frozenset(chunks(fs))
        yield Orphan(cluster, RUNTIME.monotonic_s(), made)
    finally:
        cluster.down(wipe=True)
