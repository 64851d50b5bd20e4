"""The power goes at every operation of the disk of a tail: records and entries always agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chunk_house import BIRTH, BOOT_ID, CHUNK
from replica_house import RUNTIME, digest_of, noise, open_store, stored
from tail_house import Written, make_tail
from test_power_cuts import LUCK, survival

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.data import Durability
from gfs_ha.protocol.records import RecordEntry

ORDER = LogIndex(50)
LATER = LogIndex(60)
BATCHES = [[100], [3, BLOCK_BYTES - 50], [500, 1], [20_000]]
ENDS = [0, 100, BLOCK_BYTES + 53, BLOCK_BYTES + 554, BLOCK_BYTES + 20_554]
DATA = b"".join(noise(sum(lengths), seed=number + 1) for number, lengths in enumerate(BATCHES))


@dataclass
class Told:
    created: bool = False
    acknowledged: int = 0
    pushing: int = 0
    fenced_end: int = -1
    sealed: int = -1


def expected(length: int) -> tuple[RecordEntry, ...]:
    """Return the records of the story that end at or below `length`."""
    found: list[RecordEntry] = []
    offset = 0
    for one in (one for lengths in BATCHES for one in lengths):
        found.append(RecordEntry(5, len(found) + 1, 1, offset, one))  # type: ignore[arg-type]
        offset += one
    return tuple(one for one in found if one.offset + one.length <= length)


def tell(store: ChunkStore, told: Told, durability: Durability, seal: bool) -> None:
    written = Written(make_tail(store, durability))
    told.created = True
    for lengths in BATCHES:
        told.pushing = len(written.data) + sum(lengths)
        told.acknowledged = written.batch(lengths)
    if seal:
        told.fenced_end = store.fence(CHUNK, BIRTH, ORDER).end
        proof = store.prove(CHUNK, ORDER, ENDS[3])
        assert proof.records == expected(ENDS[3])
        store.finish_seal(CHUNK, LATER, ENDS[3], proof.digest)
        told.sealed = ENDS[3]


def cut_everywhere(durability: Durability, seal: bool) -> Iterator[tuple[MemoryDisk, Told, str]]:
    cut = 0
    complete = False
    while not complete:
        for luck in LUCK:
            disk = MemoryDisk(RUNTIME)
            told = Told()
            store = open_store(disk)
            disk.cut_after = cut
            try:
                tell(store, told, durability, seal)
                complete = True
            except PowerCut:
                pass
            disk.power_cycle(survival(luck, cut))
            yield disk, told, f"cut after {cut}, luck {luck}"
        cut += 1
    assert cut >= 15, "the story was too short to mean anything"


def check_proof(disk: MemoryDisk, end: int, where: str) -> None:
    """Bytes, their CRC and their entries agree up to the end that was answered."""
    store = open_store(disk, BOOT_ID + 1)
    proof = store.prove(CHUNK, LATER, end)
    replica = store.get(CHUNK)
    assert stored(replica, disk, end) == DATA[:end], where
    assert proof.digest == digest_of(DATA[:end]), where
    assert proof.crc == crc32c(DATA[:end]), where
    if replica.header.state is not State.SEALED:
        assert proof.records == expected(end), where


def test_an_acknowledged_record_survives_every_power_cut_with_its_entry() -> None:
    for disk, told, where in cut_everywhere(Durability.DISK, seal=False):
        store = open_store(disk, BOOT_ID + 1)
        try:
            answer = store.fence(CHUNK, BIRTH, ORDER)
        except UnknownReplica:
            assert not told.created, where
            continue
        assert answer.end in ENDS and told.acknowledged <= answer.end, where
        assert answer.end in (told.acknowledged, told.pushing), where
        assert not answer.proof or answer.end == answer.promised_end, where
        check_proof(disk, answer.end, where)


def test_a_seal_that_was_told_survives_every_power_cut() -> None:
    for disk, told, where in cut_everywhere(Durability.DISK, seal=True):
        store = open_store(disk, BOOT_ID + 1)
        try:
            replica = store.get(CHUNK)
        except UnknownReplica:
            assert not told.created, where
            continue
        sealed = replica.header.state is State.SEALED
        assert sealed or told.sealed < 0, where
        answer = store.fence(CHUNK, BIRTH, LATER)
        assert answer.end == ENDS[3] if sealed else answer.end >= told.acknowledged, where
        assert told.fenced_end < 0 or sealed or answer.end == told.fenced_end, where
        check_proof(disk, answer.end, where)


def test_a_tail_in_memory_that_lost_power_is_never_proof() -> None:
    for disk, told, where in cut_everywhere(Durability.MEMORY, seal=False):
        store = open_store(disk, BOOT_ID + 1)
        if told.created:
            answer = store.fence(CHUNK, BIRTH, ORDER)
            assert not answer.proof and answer.end in ENDS, where
            check_proof(disk, answer.end, where)
