"""Every process is killed at once after acknowledged writes, twice: all is there, ids go on."""

from __future__ import annotations

import signal

import pytest
from killing import MIB, check_files, chunks, content, settle, wait_until

import gfs_ha
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes


def write_round(fs: gfs_ha.Cluster, number: int) -> dict[str, bytes]:
    """Write files of several kinds, the last one just before the caller kills everything."""
    files = {
        f"/r{number}/empty": b"",
        f"/r{number}/small": content(4_096, number),
        f"/r{number}/border": content(MIB, number + 10),
        f"/r{number}/big": content(3 * MIB + 1, number + 20),
        f"/r{number}/last": content(70_000, number + 30),
    }
    fs.mkdir(f"/r{number}")
    for path, data in files.items():
        fs.write_bytes(path, data)
    return files


def kill_all(cluster: LocalCluster) -> None:
    for member in cluster.status():
        cluster.kill(member.name, signal.SIGKILL)


def test_nothing_acknowledged_is_lost_and_no_id_is_given_twice(
    local_cluster: LocalCluster,
) -> None:
    """The client lives through it: its session goes on, and with it the chunk it has open."""
    files: dict[str, bytes] = {}
    used_chunks: set[int] = set()
    used_inodes: set[int] = set()
    with gfs_ha.connect(local_cluster.config_path) as survivor:
        for number in range(3):
            fresh = write_round(survivor, number)
            files |= fresh
            inodes = {survivor.stat(path).inode_id for path in fresh}
            assert len(inodes) == len(fresh) and not inodes & used_inodes
            used_inodes |= inodes
            before = chunks(survivor).keys()
            assert min(before - used_chunks) > max(used_chunks, default=0)
            used_chunks |= before
            if number == 2:
                break
            kill_all(local_cluster)
            local_cluster.up()
            with gfs_ha.connect(local_cluster.config_path) as fs:
                check_files(fs, files)
                assert before <= chunks(fs).keys(), "no chunk was collected"
    with gfs_ha.connect(local_cluster.config_path) as fs:
        settle(fs)
        check_files(fs, files)
        # Who was slow when its chunk was sealed gets its copy from repair.
        wait_until(
            lambda: all(row.copies == row.goal == 3 for row in chunks(fs).values()),
            "every copy is back",
        )


def test_an_overwrite_that_was_acknowledged_stays_one(local_cluster: LocalCluster) -> None:
    with gfs_ha.connect(local_cluster.config_path) as survivor:
        for version in range(5):
            survivor.write_bytes("/x", content(300_000, version))
        kill_all(local_cluster)
        local_cluster.up()
    with gfs_ha.connect(local_cluster.config_path) as fs:
        check_files(fs, {"/x": content(300_000, 4)})
        settle(fs)

        def kept() -> set[int]:
            return {extent.chunk.chunk_id for extent in fs.operations.placement("/x").items}

        wait_until(lambda: chunks(fs).keys() == kept(), "what was replaced is reaped")
