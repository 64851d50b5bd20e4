"""Records of a writer that goes on while a disk under its tail dies: each is there exactly once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from killing import MIB, RUNTIME, wait_until
from stage import START_S

import gfs_ha
from gfs_ha.client.append_records import Appended
from gfs_ha.client.appender import Appender
from gfs_ha.ids import ServerId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.reports import ChunkRow, ReplicaRow
from gfs_ha.runtime import Future

pytestmark = pytest.mark.processes

RECORDS_MAX = 100_000
TAILS_MAX = 5
TRIES = 2  # Each costs a disk.
ACKNOWLEDGED_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three servers: whoever avoids one of them gets too few copies.

    Each has a disk more than die here, for all of them may be those of one server.
    """
    made = LocalCluster(tmp_path_factory.mktemp("appends") / "cluster", timeout_s=START_S)
    try:
        racks = ("r1", "r2", "r3")
        made.up(
            chunkservers=3,
            racks=racks,
            chunk_bytes=MIB,
            capacities=(256 * MIB,),
            disks=1 + 3 * TRIES,
        )
        yield made
    finally:
        made.down(wipe=True)


class Writer:
    """Appends records to a file, several at a time, and knows which ones."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._under_way: list[Future[Appended]] = []
        self.records: list[bytes] = []
        self.offsets: list[int] = []

    def go_on(self, count: int) -> None:
        """Append that many records more, and return when all but a few are acknowledged."""
        assert len(self.records) + count <= RECORDS_MAX
        for _ in range(count):
            number = len(self.records)
            self.records.append(f"record {number:06d} {'x' * (number % 700)}\n".encode())
            self._under_way.append(self._appender.append(self.records[-1]))
            self._settle(8)

    def finish(self) -> None:
        """Return when all are acknowledged."""
        self._settle(0)

    def _settle(self, left: int) -> None:
        while len(self._under_way) > left:
            told = self._under_way.pop(0).result(ACKNOWLEDGED_S)
            self.offsets.append(told.offset)


def tails(fs: gfs_ha.Cluster) -> dict[int, ChunkRow]:
    """Return the tails, without those that could not be created everywhere: they are dead."""
    rows = [row for row in fs.operations.chunks() if row.kind == "tail" and row.state != "dead"]
    return {row.chunk_id: row for row in rows}


def open_tail(fs: gfs_ha.Cluster, known: dict[int, ChunkRow]) -> ChunkRow:
    """Return the newest tail that takes records, of those that were not known before."""
    found: list[ChunkRow] = []

    def look() -> bool:
        rows = [one for key, one in tails(fs).items() if key not in known and one.state == "open"]
        found[:] = sorted(rows, key=lambda one: one.chunk_id)
        return bool(found)

    wait_until(look, "a tail is open")
    return found[-1]


def directory_of(fs: gfs_ha.Cluster, server: str, disk_id: int) -> Path:
    (found,) = [one for one in fs.operations.disks.all().items if one.disk_id == disk_id]
    assert found.server == server and found.state == "in-service"
    return Path(found.directory)


def whole_tail(fs: gfs_ha.Cluster, writer: Writer) -> ChunkRow:
    """Write until the tail has all its copies: who was late to create one has no part in it."""
    for _ in range(TAILS_MAX):
        known = tails(fs)
        writer.go_on(200)
        tail = open_tail(fs, known)
        if len(tail.replicas) == tail.goal:
            return tail
        fs.operations.revoke_lease(tail.chunk_id, ServerId(0))
    pytest.fail(f"{TAILS_MAX} tails have too few copies")


def lose_a_disk(cluster: LocalCluster, path: str, place: int) -> tuple[ReplicaRow, list[ChunkRow]]:
    """Have a disk die under the tail of a new file; return where it was, and the later tails."""
    with gfs_ha.connect(cluster.config_path) as fs, fs.appender(path) as appender:
        writer = Writer(appender)
        tail = whole_tail(fs, writer)
        assert tail.goal == 3
        lost = tail.replicas[place]
        shutil.rmtree(directory_of(fs, lost.name, lost.disk_id))
        deadline_s = RUNTIME.monotonic_s() + ACKNOWLEDGED_S
        while tails(fs)[tail.chunk_id].state == "open":
            assert RUNTIME.monotonic_s() < deadline_s, "the tail goes on without its disk"
            writer.go_on(20)
        writer.go_on(200)
        writer.finish()
        whole = b"".join(writer.records)
        assert fs.read_bytes(path) == whole
        ends = list(accumulate(map(len, writer.records)))
        assert writer.offsets == [0, *ends[:-1]]
        return lost, [row for key, row in tails(fs).items() if key > tail.chunk_id]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["of the primary", "below it", "of the last"])
def test_records_go_on_with_all_copies_while_a_disk_dies(cluster: LocalCluster, place: int) -> None:
    found = []
    for turn in range(TRIES):
        lost, later = lose_a_disk(cluster, f"/log{place}.{turn}", place)
        assert later
        # The server lives: only its disk is to be avoided.
        found = [{one.name: one.disk_id for one in row.replicas} for row in later]
        assert all(places.get(lost.name) != lost.disk_id for places in found), found
        if all(places.keys() == {"cs1", "cs2", "cs3"} for places in found):
            return
        # Who is late to create its replica has no part in a tail either, but not each time.
    pytest.fail(f"tails without a server: {found}")
