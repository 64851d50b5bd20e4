"""Real copies lost for good: made anew byte for byte, wherever the leader is by then."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from killing import (
    MIB,
    bury_early,
    check_files,
    content,
    holds_most,
    leader_of,
    settle_whole,
    wait_until,
)
from test_corrupt import stamped

import gfs_ha
from gfs_ha import config
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.client.locations import rendezvous_hash
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.reports import ChunkRow

pytestmark = pytest.mark.processes

FILES = {f"/f{number}": content(MIB + 300_000, seed=number) for number in range(6)}


def repairing(cluster: LocalCluster, masters: int, chunkservers: int) -> LocalCluster:
    """Return a cluster whose masters take a server for dead as early as they may, with files."""
    cluster.up(masters=masters, chunkservers=chunkservers, racks=("r1", "r2"), chunk_bytes=MIB)
    bury_early(cluster, masters)
    with gfs_ha.connect(cluster.config_path) as fs:
        for path, data in FILES.items():
            fs.write_bytes(path, data)
    with gfs_ha.connect(cluster.config_path) as fs:
        settle_whole(fs)
    wait_until(lambda: all(stamped(slot) for slot in slots(cluster)), "all are stamped")
    return cluster


def slots(cluster: LocalCluster, server: str = "cs*") -> list[Path]:
    return list(Path(cluster.directory).glob(f"{server}/data/*.slot"))


def rows(fs: gfs_ha.Cluster) -> list[ChunkRow]:
    return [row for row in fs.operations.chunks() if row.state != "dead"]


def on_three(fs: gfs_ha.Cluster, but: str = "") -> bool:
    """Return whether every chunk has three live copies without those of one server."""
    for row in rows(fs):
        live = {replica.name for replica in row.replicas if replica.health == "live"}
        if len(live - {but}) != 3:
            return False
    return True


def check_every_copy(cluster: LocalCluster, fs: gfs_ha.Cluster) -> None:
    """All files are as they were, and so are the bytes of every copy on every disk."""
    check_files(fs, FILES)
    found: dict[bytes, int] = {}
    for slot in slots(cluster):
        if stamped(slot):
            try:
                data = slot.read_bytes()[DATA_OFFSET:].rstrip(b"\0")
            except FileNotFoundError:
                continue  # There was one too many, and it is collected.
            found[data] = found.get(data, 0) + 1
    assert len(found) == len(rows(fs)), "copies of one chunk differ"
    assert all(count >= 3 for count in found.values())


def test_a_server_killed_for_good_costs_no_copy_and_its_return_leaves_none_too_many(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = repairing(new_cluster("cluster"), masters=1, chunkservers=5)
    with gfs_ha.connect(cluster.config_path) as fs:
        victim, before = holds_most(fs), fs.operations.repair().made_count
        lost = sum(victim in [one.name for one in row.replicas] for row in rows(fs))
        cluster.kill(victim, signal.SIGKILL)
        wait_until(lambda: on_three(fs, but=victim), f"three copies without {victim}")
        report = fs.operations.repair()
        assert report.made_count == before + lost, "not one copy more than was lost"
        check_every_copy(cluster, fs)
        wait_until(lambda: fs.operations.health().healthy, "health")
        cluster.start(victim)

        def rested() -> bool:
            return all(row.copies == 3 == len(row.replicas) for row in rows(fs))

        wait_until(rested, "the surplus to go")
        wait_until(lambda: len(slots(cluster)) == 3 * len(rows(fs)), "its files to go")
        assert fs.operations.repair().made_count == before + lost
        check_files(fs, FILES)


def test_a_wiped_disk_and_flipped_bytes_are_made_good(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = repairing(new_cluster("cluster"), masters=1, chunkservers=4)
    with gfs_ha.connect(cluster.config_path) as fs:
        before = fs.operations.repair().made_count
        cluster.kill("cs1", signal.SIGKILL)
        shutil.rmtree(Path(cluster.directory, "cs1", "data"))
        cluster.start("cs1")

        def restored() -> bool:
            return all(
                row.copies == 3 == len(row.replicas)
                and all(one.health == "live" for one in row.replicas)
                for row in rows(fs)
            )

        wait_until(lambda: fs.operations.repair().made_count > before, "the first copies")
        wait_until(restored, "three copies of each after the loss of a disk")
        check_files(fs, FILES)
        made = fs.operations.repair().made_count
        chunk = rows(fs)[0]
        # Of those that are equally near clients begin with this one.
        first = min(chunk.replicas, key=lambda one: rendezvous_hash(chunk.chunk_id, one.server_id))
        assert [flip(slot) for slot in slots(cluster, first.name)].count(True)
        read_near(cluster, first.name)
        wait_until(lambda: fs.operations.repair().made_count > made and restored(), "healing")
        check_files(fs, FILES)
        wait_until(lambda: fs.operations.health().healthy, "health")


def test_a_copy_that_vanished_unseen_is_found_by_the_tally(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = repairing(new_cluster("cluster"), masters=1, chunkservers=4)
    with gfs_ha.connect(cluster.config_path) as fs:
        cluster.kill("cs2", signal.SIGTERM)
        for slot in slots(cluster, "cs2"):
            slot.unlink()
        cluster.start("cs2")

        def whole() -> bool:
            found = [slot for slot in slots(cluster) if stamped(slot)]
            rested = all(row.copies == 3 == len(row.replicas) for row in rows(fs))
            return rested and len(found) == 3 * len(rows(fs))

        wait_until(whole, "three files of each chunk")
        check_every_copy(cluster, fs)


def flip(slot: Path) -> bool:
    """Flip a byte of a copy; False if it was collected or is being made."""
    try:
        with slot.open("r+b") as file:
            file.seek(DATA_OFFSET + 70_000)
            byte = file.read(1)
            if not byte:
                return False
            file.seek(DATA_OFFSET + 70_000)
            file.write(bytes([byte[0] ^ 1]))
    except FileNotFoundError:
        return False
    return True


def read_near(cluster: LocalCluster, name: str) -> None:
    """Read all files from one server first, whose damage does not get through."""

    read = config.load(cluster.config_path)
    own = config.load(Path(cluster.directory, name, "gfs.toml")).chunkserver
    assert own is not None
    near = replace(read, client=config.ClientConfig(own.machine, own.rack))
    with gfs_ha.connect(near) as reader:
        check_files(reader, FILES)


def test_a_leader_killed_amid_repair_is_followed_by_one_that_goes_on(
    new_cluster: Callable[[str], LocalCluster],
) -> None:
    cluster = repairing(new_cluster("cluster"), masters=3, chunkservers=5)
    with gfs_ha.connect(cluster.config_path) as fs:
        victim, before = holds_most(fs), fs.operations.repair().made_count
        cluster.kill(victim, signal.SIGKILL)

        def begun() -> bool:
            report = fs.operations.repair()
            return bool(report.copying) or report.made_count > before

        wait_until(begun, "the first copies")
        cluster.kill(leader_of(fs), signal.SIGKILL)

        def whole() -> bool:
            try:
                return on_three(fs, but=victim)
            except GfsError:
                return False

        wait_until(whole, f"three copies without {victim}")
        check_every_copy(cluster, fs)
        per_chunk = [len(row.replicas) for row in rows(fs)]
        assert max(per_chunk) <= 4, "one new copy for each that was lost"
