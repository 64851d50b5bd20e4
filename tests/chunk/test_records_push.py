"""A push of records byte by byte: each server checks the entries, takes all of it or nothing."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import pytest
from append_house import request_to
from chunk_house import CHUNK, NO_JOURNAL, House, start_house
from replica_house import RUNTIME, make_replica, noise
from tail_house import entries_of, make_tail
from test_dataport import answer, drain

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.errors import CorruptData, GfsError, ProtocolError
from gfs_ha.limits import MIB
from gfs_ha.protocol.data import ChunkKind, Op, RequestFlag, encode_request
from gfs_ha.protocol.frames import FrameKind, ReplicaAck, decode_acks, decode_error
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.packets import encode_packet
from gfs_ha.protocol.records import RecordEntry, encode_entries, pack_entries

DATA = noise(300)
ENTRIES = entries_of(0, [100, 200])


class CountingDisk(MemoryDisk):
    """A disk that counts its syncs."""

    syncs = 0

    def open(self, name: str) -> MemoryFile:
        file = super().open(name)
        sync = file.sync

        def counted() -> None:
            self.syncs += 1
            sync()

        file.sync = counted  # type: ignore[method-assign]
        return file


@dataclass
class Row:
    houses: list[House]
    disks: list[CountingDisk]

    def ends(self) -> list[int]:
        return [house.store.get(CHUNK).header.end for house in self.houses]


@contextmanager
def made_row(count: int) -> Iterator[Row]:
    disks = [CountingDisk(RUNTIME) for _ in range(count)]
    houses = [
        start_house(disk, number + 1, RUNTIME, shape=NO_JOURNAL)
        for number, disk in enumerate(disks)
    ]
    try:
        yield Row(houses, disks)
    finally:
        for house in houses:
            house.stop()


@pytest.fixture
def row() -> Iterator[Row]:
    with made_row(2) as made:
        for house in made.houses:
            make_tail(house.store)
        yield made


def packet(data: bytes, offset: int = 0, last: bool = True) -> bytes:
    return encode_packet(offset, len(data), last, part_crcs(offset, memoryview(data))) + data


def block(entries: tuple[RecordEntry, ...] = ENTRIES) -> bytes:
    return encode_entries(pack_entries(entries))


def ask(
    house: House, sent: bytes, hang_up: bool = False, **changed: object
) -> tuple[ReplicaAck, ...] | GfsError:
    """Send a request for DATA and then these bytes; return what comes back."""
    fields: dict[str, object] = {
        "length": len(DATA),
        "flags": RequestFlag.RECORDS,
        "kind": ChunkKind.TAIL,
    }
    request = request_to(house, Op.PUSH, **{**fields, **changed})
    with socket.create_connection(("127.0.0.1", house.port.port), 5.0) as sock:
        sock.settimeout(10.0)
        sock.sendall(encode_request(request) + sent)
        if hang_up:
            drain(sock)
            return ()
        kind, body = answer(sock)
        if kind is FrameKind.FAILED:
            return decode_error(body)
        assert kind in (FrameKind.PUSHED, FrameKind.ENDED)
        return decode_acks(body)


def hops(row: Row) -> dict[str, object]:
    return {"hops": (row.houses[1].hop,)}


def test_records_go_down_the_chain_with_their_entries(row: Row) -> None:
    told = ask(row.houses[0], block() + packet(DATA), **hops(row))
    assert told == (ReplicaAck(1, "", 300), ReplicaAck(2, "", 300))
    for house in row.houses:
        proof = house.store.prove(CHUNK, 20, 300)  # type: ignore[arg-type]
        assert (proof.records, proof.crc) == (ENTRIES, crc32c(DATA))


def test_a_batch_is_one_sync_on_each_server(row: Row) -> None:
    before = [disk.syncs for disk in row.disks]
    ask(row.houses[0], block() + packet(DATA), **hops(row))
    assert [disk.syncs for disk in row.disks] == [count + 1 for count in before]


def test_a_note_tells_all_servers_of_the_commit_length_and_writes_nothing(row: Row) -> None:
    ask(row.houses[0], block() + packet(DATA), **hops(row))
    assert [house.store.get(CHUNK).committed for house in row.houses] == [0, 0]
    operations = [disk.operations for disk in row.disks]
    note = {"length": 0, "offset": 300, "committed": 300, **hops(row)}
    told = ask(row.houses[0], block(()) + packet(b"", offset=300), **note)
    assert told == (ReplicaAck(1, "", 300), ReplicaAck(2, "", 300))
    assert [house.store.get(CHUNK).committed for house in row.houses] == [300, 300]
    assert [disk.operations for disk in row.disks] == operations


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (flipped(block(), 9), CorruptData),
        (flipped(block(), 4), CorruptData),
        (struct.pack("<II", 1025, 0) + bytes(1025 * 36), ProtocolError),
        (struct.pack("<II", 0xFFFFFFFF, 0), ProtocolError),
        (block(()), ProtocolError),
        (block(ENTRIES[:1]), ProtocolError),
        (block(ENTRIES[1:]), ProtocolError),
        (block((ENTRIES[1], ENTRIES[0])), ProtocolError),
        (block((ENTRIES[0], msgspec.structs.replace(ENTRIES[1], offset=101))), ProtocolError),
        (block((ENTRIES[0], msgspec.structs.replace(ENTRIES[1], length=0))), ProtocolError),
        (block((ENTRIES[0], msgspec.structs.replace(ENTRIES[1], length=2**31))), ProtocolError),
        (block() + packet(DATA[:250]), ProtocolError),
        (block() + packet(DATA + b"more"), ProtocolError),
    ],
)
def test_entries_that_are_not_those_of_the_push_leave_nothing_anywhere(
    row: Row, sent: bytes, error: type[GfsError]
) -> None:
    told = ask(row.houses[0], sent, **hops(row))
    assert isinstance(told, error)
    assert row.ends() == [0, 0]


@pytest.mark.parametrize("cut", [3, 8, 40, 80, 100, 200, 379])
def test_a_push_that_is_cut_off_leaves_nothing_anywhere(row: Row, cut: int) -> None:
    whole = block() + packet(DATA)
    assert cut < len(whole)
    ask(row.houses[0], whole[:cut], hang_up=True, **hops(row))
    assert row.ends() == [0, 0]


def test_bytes_without_entries_do_not_come_to_a_tail(row: Row) -> None:
    told = ask(row.houses[0], packet(DATA), flags=RequestFlag(0))
    assert isinstance(told, tuple) and told[0].code == "ProtocolError"
    assert row.ends() == [0, 0]


def test_a_push_does_not_make_a_tail_and_brings_no_records_to_a_put() -> None:
    with made_row(1) as row:
        make = RequestFlag.CREATE | RequestFlag.RECORDS
        told = ask(row.houses[0], block() + packet(DATA), flags=make, capacity=MIB)
        assert isinstance(told, tuple) and told[0].code == "ProtocolError"
        assert row.houses[0].store.chunk_count == 0
        make_replica(row.houses[0].store)
        told = ask(row.houses[0], block() + packet(DATA))
        assert isinstance(told, tuple) and told[0].code == "ProtocolError"
        assert row.ends() == [0]


@pytest.mark.parametrize("offset", [1, 300])
def test_records_come_at_the_exact_end_only(row: Row, offset: int) -> None:
    shifted = tuple(msgspec.structs.replace(one, offset=one.offset + offset) for one in ENTRIES)
    sent = block(shifted) + packet(DATA, offset=offset)
    told = ask(row.houses[0], sent, offset=offset, **hops(row))
    assert isinstance(told, tuple) and {ack.code for ack in told} == {"WrongOffset"}
    assert row.ends() == [0, 0]
