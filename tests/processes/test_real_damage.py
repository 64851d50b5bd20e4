"""Real damage on real disks: found by the scrub or by verify, healed, and read by no client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import MIB, check_files, content, settle_whole, wait_until
from stage import START_S
from test_corrupt import stamped

import gfs_ha
from gfs_ha.chunk.slots.format import COPY_BYTES, DATA_OFFSET, decode_copy
from gfs_ha.ids import ChunkId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.damage import BUSY, CORRUPT, UNREACHABLE
from gfs_ha.protocol.reports import ChunkRow

pytestmark = pytest.mark.processes

FILES = {f"/f{number}": content(MIB - 5_000, seed=number) for number in range(6)}
FAST = 1 << 30


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    made = LocalCluster(tmp_path_factory.mktemp("scrub") / "cluster", timeout_s=START_S)
    try:
        made.up(masters=1, chunkservers=4, racks=("r1", "r2"), chunk_bytes=MIB)
        with gfs_ha.connect(made.config_path) as fs:
            for path, data in FILES.items():
                fs.write_bytes(path, data)
        with gfs_ha.connect(made.config_path) as fs:
            settle_whole(fs)
        wait_until(lambda: all(map(stamped, all_slots(made))), "all are stamped")
        yield made
    finally:
        made.down(wipe=True)


@pytest.fixture(scope="module")
def fs(cluster: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    with gfs_ha.connect(cluster.config_path) as connected:
        yield connected


@pytest.fixture
def reading(fs: gfs_ha.Cluster) -> Iterator[None]:
    """A client that reads all files all the time, and gets every byte right."""
    stop = threading.Event()
    wrong: list[str] = []
    rounds = 0

    def read() -> None:
        nonlocal rounds
        while not stop.is_set():
            for path, data in FILES.items():
                try:
                    if fs.read_bytes(path) != data:
                        wrong.append(f"{path} is another one")
                except Exception as error:
                    wrong.append(f"{path}: {error!r}")
            rounds += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert rounds and not wrong, wrong[:3]


def all_slots(cluster: LocalCluster, server: str = "cs*") -> list[Path]:
    return sorted(Path(cluster.directory).glob(f"{server}/data/*.slot"))


def slot_of(cluster: LocalCluster, server: str, chunk_id: ChunkId) -> Path:
    for path in all_slots(cluster, server):
        if path.is_symlink():
            continue
        try:
            with path.open("rb") as file:
                copy = decode_copy(memoryview(file.read(COPY_BYTES)))
        except FileNotFoundError:
            continue  # It was collected meanwhile.
        if copy.header is not None and copy.header.chunk_id == chunk_id:
            return path
    raise AssertionError(f"{server} has no chunk {chunk_id:#x}")


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def fail_reads(path: Path) -> None:
    """Let every read of a slot end with EIO, as on a disk with a bad sector there."""
    path.unlink()
    path.symlink_to("/proc/self/mem")  # Of the server; nothing is mapped so low.


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(DATA_OFFSET + 300_000)


def rows(fs: gfs_ha.Cluster) -> list[ChunkRow]:
    return [row for row in fs.operations.chunks() if row.state != "dead"]


def whole(fs: gfs_ha.Cluster) -> bool:
    return all(
        row.copies == 3 == len(row.replicas)
        and not row.troubles
        and all(one.health == "live" for one in row.replicas)
        for row in rows(fs)
    )


def check_copies(cluster: LocalCluster, fs: gfs_ha.Cluster) -> None:
    """Every file is right, and so is every copy on every disk."""
    check_files(fs, FILES)
    contents = {bytes(data) for data in FILES.values()}
    for row in rows(fs):
        for replica in row.replicas:
            path = slot_of(cluster, replica.name, row.chunk_id)
            assert path.read_bytes()[DATA_OFFSET:][: row.length] in contents


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped byte": lambda path: flip(path, DATA_OFFSET + 200_000),
    "a file that was cut": cut,
    "a file that vanished": Path.unlink,
    "reads that fail": fail_reads,
}


def test_every_kind_of_damage_is_found_and_healed_while_clients_read_on(
    cluster: LocalCluster, fs: gfs_ha.Cluster, reading: None
) -> None:
    wait_until(lambda: whole(fs), "three copies of each")
    made = fs.operations.repair().made_count
    chosen = rows(fs)
    for damage, row in zip(DAMAGES.values(), chosen, strict=False):
        damage(slot_of(cluster, row.replicas[1].name, row.chunk_id))
    # A header is mended where it lies: no copy is made for it.
    header_of = chosen[len(DAMAGES)]
    headed = slot_of(cluster, header_of.replicas[0].name, header_of.chunk_id)
    flip(headed, 40)
    number = fs.operations.start_scrub(bytes_per_s=FAST).number

    def through() -> bool:
        disks = [disk for row in fs.operations.scrub().items for disk in row.disks]
        return all(disk.begun == number and disk.state == "idle" for disk in disks)

    wait_until(through, "the end of the round on every server")
    report = fs.operations.scrub()
    disks = {row.name: disk for row in report.items for disk in row.disks}
    # Reads may have been there first: what they found is not found again.
    assert sum(disk.found for disk in disks.values()) <= len(DAMAGES)
    assert disks[header_of.replicas[0].name].mended == 1
    wait_until(lambda: fs.operations.repair().made_count >= made + len(DAMAGES), "the copies")
    wait_until(lambda: whole(fs), "three whole copies of each")
    assert fs.operations.repair().made_count == made + len(DAMAGES), "not one copy too many"
    wait_until(lambda: fs.operations.health().healthy, "health")
    assert stamped(headed)
    told = {
        one.chunk_id for row in fs.operations.scrub().items for d in row.disks for one in d.finds
    }
    assert {row.chunk_id for row in chosen[: len(DAMAGES)]} <= told, "what was found is remembered"
    check_copies(cluster, fs)


def verified(fs: gfs_ha.Cluster, chunk_id: ChunkId) -> dict[str, str]:
    """Return what each server finds, once all are heard and no order about a copy is under way."""
    found: dict[str, str] = {}

    def looked() -> bool:
        found.clear()
        found.update(
            {one.name: one.verdict for one in fs.operations.verify_chunk(chunk_id).replicas}
        )
        return not {BUSY, UNREACHABLE} & set(found.values())

    wait_until(looked, "every copy is looked at")
    return found


def test_verify_names_the_damaged_copy_which_is_healed(
    cluster: LocalCluster, fs: gfs_ha.Cluster, reading: None
) -> None:
    for turn in range(len(FILES)):
        wait_until(lambda: whole(fs), "three copies of each")
        row = rows(fs)[turn]
        assert list(verified(fs, row.chunk_id).values()) == ["ok"] * 3
        victim = row.replicas[2].name
        flip(slot_of(cluster, victim, row.chunk_id), DATA_OFFSET + 3)
        verdicts = verified(fs, row.chunk_id)
        if victim in verdicts:
            break
        # A reader found it first, and it was healed already.
    assert verdicts.pop(victim) == CORRUPT and set(verdicts.values()) == {"ok"}
    wait_until(lambda: whole(fs), "three whole copies")
    assert list(verified(fs, row.chunk_id).values()) == ["ok"] * 3
    check_copies(cluster, fs)


def test_what_nobody_reads_is_found_and_three_damaged_copies_make_a_whole_one(
    cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    """Each block is good in some copy, and none of them is whole."""
    wait_until(lambda: whole(fs), "three copies of each")
    row = rows(fs)[5]
    for at, replica in enumerate(row.replicas):
        flip(slot_of(cluster, replica.name, row.chunk_id), DATA_OFFSET + at * 200_000)
    fs.operations.start_scrub(bytes_per_s=FAST)

    def found() -> bool:
        # By the scrub, or by the copy that reads what the scrub found elsewhere.
        disks = [disk for one in fs.operations.scrub().items for disk in one.disks]
        return sum(row.chunk_id in {one.chunk_id for one in disk.finds} for disk in disks) == 3

    wait_until(found, "the damage, on three disks")
    wait_until(lambda: whole(fs), "three whole copies")
    check_copies(cluster, fs)
