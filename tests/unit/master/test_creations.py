"""Tails that are being created: what is to blame when a server does not create its replica."""

from __future__ import annotations

import pytest

from gfs_ha.ids import ChunkId, DiskId, Epoch, LogIndex, ServerId, StartId
from gfs_ha.master.creation import Creation
from gfs_ha.protocol.metadata import ChunkAllocated, Location


@pytest.mark.parametrize(
    ("server_id", "error", "disks"),
    [
        (1, "DiskFailed", {101}),
        (2, "DiskFull", {102}),
        (1, "Unreachable", set()),
        (3, "DiskFailed", set()),  # It is not known on which one it was to lie.
        (4, "DiskFailed", set()),
    ],
)
def test_a_disk_that_takes_no_replica_is_to_blame_and_not_its_server(
    server_id: int, error: str, disks: set[int]
) -> None:
    places = tuple(
        Location(ServerId(one), f"cs{one}", "h", 1, "r", "m", disk_id=DiskId(disk))
        for one, disk in ((1, 101), (2, 102), (3, 0))
    )
    chunk = ChunkAllocated(ChunkId(1), Epoch(1, 1), 1 << 20, places, 3, 2, "disk")
    creation = Creation(chunk, StartId(1), LogIndex(7), 0.0)
    assert creation.disks_of(ServerId(server_id), error) == disks
