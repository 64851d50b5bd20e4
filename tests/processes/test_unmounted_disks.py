"""Real servers that start on empty mount points: what was acknowledged waits for the disks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import MIB, chunks, wait_until
from stage import START_S

import gfs_ha
from gfs_ha.errors import Busy, GfsError
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.reports import ChunkRow

pytestmark = pytest.mark.processes

RECORD = b"acknowledged record\n"
NAMES = ("cs1", "cs2")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    made = LocalCluster(tmp_path / "cluster", timeout_s=START_S)
    try:
        made.up(masters=1, chunkservers=2, chunk_bytes=MIB, disks=2)
        yield made
    finally:
        made.down(wipe=True)


def swap(cluster: LocalCluster, there: list[Path], put: str, away: str) -> None:
    """Stop the servers, put other directories in place of some, and start them."""
    for name in NAMES:
        cluster.kill(name, signal.SIGKILL)
    for path in there:
        path.rename(path.with_suffix(away))
        aside = path.with_suffix(put)
        if aside.exists():
            aside.rename(path)
        else:
            path.mkdir()
    for name in NAMES:
        cluster.start(name)


def test_a_record_whose_disks_are_not_mounted_is_there_again_when_they_are(
    cluster: LocalCluster,
) -> None:
    with gfs_ha.connect(cluster.config_path) as fs:
        fs.append("/log", RECORD)
        found: list[ChunkRow] = []

        def alone() -> bool:
            found[:] = chunks(fs).values()
            return len(found) == 1

        wait_until(alone, "what could not be created is given up")
        (row,) = found
        placed = {one.disk_id for one in row.replicas}
        disks = [one for one in fs.operations.disks.all().items if one.disk_id in placed]
        there = [Path(one.directory) for one in disks]
    assert len(there) == 2
    swap(cluster, there, put=".empty", away=".unmounted")
    with gfs_ha.connect(cluster.config_path, timeout_s=5.0) as fs:

        def blocked() -> str:
            rows = [one for one in fs.operations.chunks() if one.chunk_id == row.chunk_id]
            return rows[0].blocked

        wait_until(lambda: "bring them back" in blocked(), "the chunk waits for its disks")
        assert all(name in blocked() for name in NAMES)
        with pytest.raises(Busy, match="disks"):
            fs.append("/log", b"later\n")
        (found,) = [one for one in fs.operations.health().items if one.code == "CHUNKS_BLOCKED"]
        assert "disks" in found.message
    swap(cluster, there, put=".unmounted", away=".empty")
    with gfs_ha.connect(cluster.config_path) as fs:

        def back() -> bool:
            try:
                return fs.read_bytes("/log") == RECORD
            except GfsError:
                return False

        wait_until(back, "the record is back with its disks")
        fs.append("/log", b"later\n")
        assert fs.read_bytes("/log") == RECORD + b"later\n"
