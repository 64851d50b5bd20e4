"""A chunk of small files that loses most of its replicas: sealed by the leader on request (C5)."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from gfs_ha.limits import KIB
from gfs_ha.runtime import ThreadedRuntime

if TYPE_CHECKING:
    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.local.cluster import LocalCluster
    from gfs_ha.protocol.reports import ChunkRow

pytestmark = pytest.mark.processes

RUNTIME = ThreadedRuntime()
SEALED_S = 60.0
CONTENT = bytes(range(256)) * (16 * KIB // 256)


def test_too_few_survivors_are_sealed_while_the_client_goes_on(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    for _ in range(20):  # One may be closed, as no longer used, before it is seen.
        _write(client, "/before")
        opened = [one for one in client.operations.chunks() if one.state == "open"]
        if len(opened) == 1:
            break
    (chunk,) = opened
    _, second = (replica.name for replica in chunk.replicas)
    real_cluster.kill(second, signal.SIGKILL)
    _write(client, "/after")
    assert client.read_bytes("/before") == client.read_bytes("/after") == CONTENT
    sealed = _sealed(client, chunk.chunk_id)
    assert sealed.length >= len(CONTENT)
    assert _asked(real_cluster, chunk.chunk_id), "the client left it to the end of its claim"
    _write(client, "/still-open")
    assert any(one.state == "open" for one in client.operations.chunks()), "the client goes on"


def _write(client: Cluster, path: str) -> None:
    with client.open(path, "wb", replicas=2) as file:
        file.write(CONTENT)


def _asked(cluster: LocalCluster, chunk_id: int) -> bool:
    logs = [path.read_text() for path in cluster.directory.rglob("*.log*") if path.is_file()]
    return any(f"seal asked chunk={chunk_id:#x}" in log for log in logs)


def _sealed(client: Cluster, chunk_id: int) -> ChunkRow:
    deadline_s = RUNTIME.monotonic_s() + SEALED_S
    while True:
        rows = {row.chunk_id: row for row in client.operations.chunks()}
        if rows[chunk_id].state == "sealed":
            return rows[chunk_id]
        assert RUNTIME.monotonic_s() < deadline_s, rows[chunk_id]
        RUNTIME.sleep(0.05)
