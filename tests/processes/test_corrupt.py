"""Bytes that rot on a disk: never served, read from another replica, and told to the leader."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from killing import MIB, content, settle, wait_until

import gfs_ha
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import DataError
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

DATA = content(MIB // 2)


def rot(cluster: LocalCluster, name: str, offset: int) -> None:
    """Flip one byte of the only chunk of a server, while it does not run."""
    cluster.kill(name, signal.SIGKILL)
    (slot,) = Path(cluster.directory, name, "data").glob("*.slot")
    with slot.open("r+b") as file:
        file.seek(DATA_OFFSET + offset)
        byte = file.read(1)
        file.seek(DATA_OFFSET + offset)
        file.write(bytes([byte[0] ^ 1]))
    cluster.start(name)


def holders(fs: gfs_ha.Cluster) -> list[str]:
    (extent,) = fs.operations.placement("/x").items
    return [replica.name for replica in extent.chunk.replicas]


@pytest.fixture
def filled(local_cluster: LocalCluster) -> LocalCluster:
    """One file of one sealed chunk."""
    with gfs_ha.connect(local_cluster.config_path) as fs:
        fs.write_bytes("/x", DATA)
    with gfs_ha.connect(local_cluster.config_path) as fs:
        settle(fs)
    return local_cluster


def test_a_rotten_byte_is_read_from_another_replica_and_told(filled: LocalCluster) -> None:
    with gfs_ha.connect(filled.config_path) as fs:
        *rotten, good = holders(fs)
        for name in rotten:
            rot(filled, name, 200_000)
        filled.wait_serving()

        def told() -> bool:
            # Each reader chooses its replica anew; whatever it chooses, the bytes are right.
            with gfs_ha.connect(filled.config_path) as reader:
                assert reader.read_bytes("/x") == DATA
            (extent,) = fs.operations.placement("/x").items
            damaged = {one.name for one in extent.chunk.replicas if one.health == "damaged"}
            assert good not in damaged
            return bool(damaged)

        wait_until(told, "the leader knows of the damage")


def test_without_a_good_replica_the_read_fails_and_serves_nothing_wrong(
    filled: LocalCluster,
) -> None:
    with gfs_ha.connect(filled.config_path) as fs:
        for name in holders(fs):
            rot(filled, name, 200_000)
        filled.wait_serving()
    with (
        gfs_ha.connect(filled.config_path, timeout_s=10) as fs,
        pytest.raises(DataError) as caught,
    ):
        fs.read_bytes("/x")
    assert caught.value.exit_status == 9
