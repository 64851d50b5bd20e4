"""Bytes that rot on a disk: never served, read from another replica, and told to the leader."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from killing import MIB, content, settle_whole, wait_until

import gfs_ha
from gfs_ha import config
from gfs_ha.chunk.slots.format import COPY_BYTES, DATA_OFFSET, State, decode_copy
from gfs_ha.errors import DataError
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

DATA = content(MIB // 2)


def slot_of(cluster: LocalCluster, name: str) -> Path:
    """Return the file of the only chunk of a server."""
    (slot,) = Path(cluster.directory, name, "data").glob("*.slot")
    return slot


def stamped(slot: Path) -> bool:
    """Return whether the newest copy of a slot's header calls it sealed.

    False for one that was collected or is being made: there may be no header yet.
    """
    try:
        data = memoryview(slot.read_bytes())
    except FileNotFoundError:
        return False
    copies = [decode_copy(data[at : at + COPY_BYTES]) for at in (0, COPY_BYTES)]
    headers = [copy.header for copy in copies if copy.header is not None]
    newest = max(headers, key=lambda header: header.generation, default=None)
    return newest is not None and newest.state is State.SEALED


def rot(cluster: LocalCluster, names: list[str], offset: int) -> None:
    """Flip one byte of the only chunk of servers, while none of them runs.

    One after the other, the first might be healed from the last.
    """
    for name in names:
        cluster.kill(name, signal.SIGKILL)
    for name in names:
        with slot_of(cluster, name).open("r+b") as file:
            file.seek(DATA_OFFSET + offset)
            byte = file.read(1)
            file.seek(DATA_OFFSET + offset)
            file.write(bytes([byte[0] ^ 1]))
    for name in names:
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
        settle_whole(fs)
        names = holders(fs)
    wait_until(
        lambda: all(stamped(slot_of(local_cluster, name)) for name in names),
        "every replica says itself that it is sealed",
    )
    return local_cluster


def test_a_rotten_byte_is_read_from_another_replica_and_told(filled: LocalCluster) -> None:
    with gfs_ha.connect(filled.config_path) as fs:
        (extent,) = fs.operations.placement("/x").items
        racks = [replica.rack for replica in extent.chunk.replicas]
        (alone,) = [one for one in extent.chunk.replicas if racks.count(one.rack) == 1]
        rot(filled, [alone.name], 200_000)
        filled.wait_serving()
        # A reader on its rack asks that replica first.
        read = config.load(filled.config_path)
        near = replace(read, client=config.ClientConfig("elsewhere", alone.rack))
        with gfs_ha.connect(near) as reader:
            assert reader.read_bytes("/x") == DATA

        def told() -> bool:
            # Shown as damaged for a moment; then another copy is made and this one is dropped.
            (extent,) = fs.operations.placement("/x").items
            health = {replica.name: replica.health for replica in extent.chunk.replicas}
            return health.get(alone.name) != "live" or fs.operations.repair().made_count > 0

        wait_until(told, "the leader knows of the damage")


def test_without_a_good_replica_the_read_fails_and_serves_nothing_wrong(
    filled: LocalCluster,
) -> None:
    with gfs_ha.connect(filled.config_path) as fs:
        rot(filled, holders(fs), 200_000)
        filled.wait_serving()
    with (
        gfs_ha.connect(filled.config_path, timeout_s=10) as fs,
        pytest.raises(DataError) as caught,
    ):
        fs.read_bytes("/x")
    assert caught.value.exit_status == 9
