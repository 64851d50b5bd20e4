"""Two minutes after a client died in mid-put, its claims end and its chunks are collected."""

from __future__ import annotations

import os

import pytest
from killing import RUNTIME, Orphan, wait_until

import gfs_ha
from gfs_ha.errors import NotFound
from gfs_ha.limits import CLAIM_SILENCE_S

# It waits for two minutes. What ends claims is tested everywhere else by simulated ones.
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif("GFS_TEST_SLOW" not in os.environ, reason="make test-slow"),
]


def test_the_chunks_of_a_client_that_was_killed_are_collected(orphan: Orphan) -> None:
    assert len(orphan.chunk_ids) >= 3
    left_s = orphan.killed_s + CLAIM_SILENCE_S + 120.0 - RUNTIME.monotonic_s()
    with gfs_ha.connect(orphan.cluster.config_path) as fs:
        wait_until(lambda: not list(fs.operations.chunks()), "no chunk is left", max(left_s, 30.0))
        wait_until(
            lambda: all(row.chunk_count == 0 for row in fs.operations.servers().items),
            "their replicas are gone from the disks",
        )
        with pytest.raises(NotFound):
            fs.stat("/half")
        fs.write_bytes("/half", b"the name is free")
