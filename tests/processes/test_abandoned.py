"""A client that dies, or is told to stop, in the middle of a put leaves nothing behind."""

from __future__ import annotations

import signal

import pytest
from killing import MIB, Orphan, begin_put, check_files, chunks, content, wait_until

import gfs_ha
from gfs_ha.errors import NotFound
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes


def test_what_a_killed_client_wrote_is_not_taken_away_while_it_may_come_back(
    orphan: Orphan,
) -> None:
    with gfs_ha.connect(orphan.cluster.config_path) as fs:
        assert orphan.chunk_ids <= chunks(fs).keys()
        with pytest.raises(NotFound):
            fs.stat("/half")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_put_that_is_told_to_stop_leaves_the_old_file_and_no_chunk(
    small_cluster: LocalCluster, number: signal.Signals
) -> None:
    old = content(200_000, 9)
    with gfs_ha.connect(small_cluster.config_path) as fs:
        fs.write_bytes("/x", old)
    with gfs_ha.connect(small_cluster.config_path) as fs:
        before = chunks(fs).keys()
        for target in ("/x", "/new"):
            client = begin_put(small_cluster.config_path, target)
            with client:
                assert client.stdin is not None
                client.stdin.write(content(3 * MIB + 500_000))
                client.stdin.flush()
                wait_until(lambda: len(chunks(fs)) > len(before), "the put has chunks")
                client.send_signal(number)
                _, errors = client.communicate(timeout=60)
            assert client.returncode == 128 + number, errors.decode()
            assert b"Traceback" not in errors
            check_files(fs, {"/x": old})
            assert [entry.name for entry in fs.listdir("/")] == ["x"]
            wait_until(lambda: chunks(fs).keys() == before, "its chunks are dead")
        wait_until(
            lambda: not any(row.state == "dead" for row in fs.operations.chunks()),
            "its chunks are collected",
        )
        wait_until(
            lambda: all(row.chunk_count == len(before) for row in fs.operations.servers().items),
            "their replicas are gone from the disks",
        )
