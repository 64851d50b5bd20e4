"""Pushes down a chain of three real data ports, with every kind of loss on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, House, client_room, fetch, push, street, target
from relay import Relay, relays
from replica_house import noise

from gfs_ha.chunk.disk import PosixFile
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.push import Push, PushResult, PushTarget
from gfs_ha.errors import DiskFull, UnknownReplica
from gfs_ha.ids import DiskId, Epoch, LogIndex, make_chunk_id
from gfs_ha.limits import BLOCK_BYTES, KIB, MIB, PACKET_BYTES_DEFAULT
from gfs_ha.protocol.data import Durability, Hop
from gfs_ha.protocol.grid import part_crcs

DATA = noise(3 * MIB + 12_345)


@pytest.fixture
def room() -> Iterator[DataRoom]:
    with client_room() as made:
        yield made


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    with street(tmp_path) as made:
        yield made


def codes(result: PushResult) -> list[str]:
    return [ack.code for ack in result.acks]


def test_a_push_is_on_every_replica(room: DataRoom, houses: list[House]) -> None:
    result = push(room, target(houses), DATA)
    assert result.complete and result.holders == (1, 2, 3)
    assert [ack.end for ack in result.acks] == [len(DATA)] * 3
    assert result.crcs == part_crcs(0, memoryview(DATA))
    for house in houses:
        assert fetch(room, house, 0, len(DATA))[0] == DATA


BORDERS = [
    size + more
    for size in (0, BLOCK_BYTES, PACKET_BYTES_DEFAULT, 2 * PACKET_BYTES_DEFAULT, MIB)
    for more in (-1, 0, 1)
    if size + more >= 0
]


@pytest.mark.parametrize("durability", Durability)
def test_pushes_of_all_border_lengths_follow_each_other(
    room: DataRoom, houses: list[House], durability: Durability
) -> None:
    where = target(houses, capacity=16 * MIB, durability=durability)
    whole = b""
    for number, length in enumerate(BORDERS):
        data = noise(length, number)
        result = push(room, where, data, len(whole))
        assert result.complete, result.acks
        whole += data
        assert result.end == len(whole)
    for house in houses:
        assert fetch(room, house, 0, len(whole))[0] == whole
    digests = {house.store.prove(CHUNK, LogIndex(5), len(whole)).digest for house in houses}
    assert len(digests) == 1


def test_a_source_of_unknown_length_is_streamed(room: DataRoom, houses: list[House]) -> None:
    with Push(room, target(houses), 0, 4 * MIB, 20.0, packet_bytes=64 * KIB) as one:
        for start in range(0, len(DATA), 10_007):
            one.write(DATA[start : start + 10_007])
        result = one.finish()
    assert result.complete and result.end == len(DATA)
    assert fetch(room, houses[2], 0, len(DATA))[0] == DATA


def test_a_push_that_the_client_gives_up_counts_nowhere(
    room: DataRoom, houses: list[House]
) -> None:
    first = push(room, target(houses), DATA[:1000])
    assert first.complete
    with Push(room, target(houses), 1000, MIB, 20.0) as one:
        one.write(DATA[1000 : 2 * PACKET_BYTES_DEFAULT])
    for house in houses:
        answer = house.store.fence(CHUNK, BIRTH, LogIndex(5))
        assert (answer.end, answer.proof) == (1000, True)


def test_every_server_says_what_it_refuses(room: DataRoom, houses: list[House]) -> None:
    push(room, target(houses), b"abc")
    houses[1].store.fence(CHUNK, BIRTH, LogIndex(5))
    result = push(room, target(houses), b"def", offset=3)
    assert codes(result) == ["", "Fenced", ""]
    assert [ack.end for ack in result.acks] == [6, 3, 6]
    assert not result.complete and result.holders == (1, 3)


def test_a_push_that_nobody_takes_ends_early(room: DataRoom, houses: list[House]) -> None:
    with Push(room, target(houses), 7, 4 * MIB - 7, 20.0) as one:
        for start in range(0, len(DATA), MIB):
            one.write(DATA[start : start + MIB])
        result = one.finish()
    assert codes(result) == ["UnknownReplica"] * 3
    push(room, target(houses), b"abc")
    assert codes(push(room, target(houses), DATA, offset=1)) == ["WrongOffset"] * 3
    assert codes(push(room, target(houses), DATA, offset=3)) == [""] * 3


def test_another_birth_or_cluster_or_server_is_refused(
    room: DataRoom, houses: list[House], tmp_path: Path
) -> None:
    where = target(houses)
    push(room, where, b"abc")
    other = PushTarget(CHUNK, Epoch(1, 4), where.capacity, where.durability, where.chain)
    assert codes(push(room, other, b"def", offset=3)) == ["WrongBirth"] * 3
    moved = PushTarget(
        CHUNK,
        BIRTH,
        MIB,
        Durability.DISK,
        (Hop(houses[1].hop.server_id, "127.0.0.1", houses[0].port.port),),
    )
    assert codes(push(room, moved, b"def", offset=3)) == ["UnknownReplica"]
    room.cluster ^= 1
    assert codes(push(room, where, b"def", offset=3)) == [
        "WrongCluster",
        "UnknownOutcome",
        "UnknownOutcome",
    ]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_server_that_is_gone_from_the_start_is_named(
    room: DataRoom, houses: list[House], gone: int
) -> None:
    where = target(houses)
    houses[gone].port.stop()
    assert houses[gone].task.join(10.0)
    expected = [""] * gone + ["Unreachable"] + ["UnknownOutcome"] * (2 - gone)
    assert codes(push(room, where, DATA)) == expected


def through(made: list[Relay], **changes: object) -> PushTarget:
    chain = tuple(
        Hop(number + 1, "127.0.0.1", relay.port)  # type: ignore[arg-type]
        for number, relay in enumerate(made)
    )
    return PushTarget(CHUNK, BIRTH, 4 * MIB, Durability.DISK, chain)


def nothing_counts(house: House) -> bool:
    """Return whether the broken push left no byte that counts; it may not have come that far."""
    try:
        answer = house.store.fence(CHUNK, BIRTH, LogIndex(5))
    except UnknownReplica:
        return True
    return (answer.end, answer.proof) == (0, True)


def expected_loss(lost: int, code: str) -> list[str]:
    return [""] * lost + [code] + ["UnknownOutcome"] * (2 - lost)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_wire_cut_amid_a_push_is_named_by_the_hop_above(
    room: DataRoom, houses: list[House], lost: int
) -> None:
    with relays([house.port.port for house in houses]) as wires:
        wires[lost].cut_at = 1_500_000
        result = push(room, through(wires), DATA)
    assert codes(result) == expected_loss(lost, "Unreachable")
    for house in houses[:lost]:
        assert fetch(room, house, 0, len(DATA))[0] == DATA
    for house in houses[lost:]:
        assert nothing_counts(house)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_server_that_hangs_amid_a_push_is_named_by_the_hop_above(
    room: DataRoom, houses: list[House], lost: int
) -> None:
    with relays([house.port.port for house in houses]) as wires:
        wires[lost].freeze_at = 1_500_000
        result = push(room, through(wires), DATA)
        silent = result.acks[lost].message
    assert codes(result) == expected_loss(lost, "Unreachable")
    assert "silent" in silent


def test_a_server_that_hangs_after_the_last_byte_is_named(
    room: DataRoom, houses: list[House]
) -> None:
    with relays([house.port.port for house in houses]) as wires:
        wires[1].freeze_at = 0
        result = push(room, through(wires), b"short")
    assert codes(result) == expected_loss(1, "Unreachable")


@pytest.mark.parametrize("hurt", [0, 1, 2])
def test_a_bit_flipped_on_the_wire_stops_there(
    room: DataRoom, houses: list[House], hurt: int
) -> None:
    with relays([house.port.port for house in houses]) as wires:
        wires[hurt].flip_at = 1_500_000
        result = push(room, through(wires), DATA)
    assert codes(result) == expected_loss(hurt, "CorruptData")
    for house in houses[hurt:]:
        assert nothing_counts(house)


@pytest.mark.parametrize("at", [0, 9, 60, 200, 230, 240, 300])
def test_a_flipped_header_byte_is_refused(room: DataRoom, houses: list[House], at: int) -> None:
    with relays([house.port.port for house in houses]) as wires:
        wires[0].flip_at = at
        result = push(room, through(wires), DATA[:100_000])
    assert not result.complete and result.acks[0].code in (
        "ProtocolError",
        "CorruptData",
        "Unreachable",
    )
    assert all(nothing_counts(house) for house in houses)


def test_a_flipped_acknowledgement_is_no_acknowledgement(
    room: DataRoom, houses: list[House]
) -> None:
    with relays([house.port.port for house in houses]) as wires:
        wires[0].flip_up_at = 30
        result = push(room, through(wires), DATA[:1000])
    assert codes(result)[0] in ("ProtocolError", "Unreachable")


def test_a_full_disk_fails_one_replica_only(
    room: DataRoom, houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:

    slots = [house.store.shelves[0].disk for house in houses]
    whole = PosixFile.write

    def write(self: PosixFile, offset: int, data: memoryview) -> None:
        if threading.current_thread() in full and offset > BLOCK_BYTES + 1_000_000:
            raise DiskFull("the disk is full")
        whole(self, offset, data)

    full: set[threading.Thread] = set()
    begin = houses[1].store.create_replica

    def remember(spec: ReplicaSpec, disk_id: DiskId) -> Replica:
        full.add(threading.current_thread())
        return begin(spec, disk_id=disk_id)

    monkeypatch.setattr(houses[1].store, "create_replica", remember)
    monkeypatch.setattr(PosixFile, "write", write)
    result = push(room, target(houses), DATA)
    assert codes(result) == ["", "DiskFull", ""]
    assert slots[1].names()
    assert fetch(room, houses[2], 0, len(DATA))[0] == DATA


def test_streams_are_used_again(room: DataRoom, houses: list[House]) -> None:
    for number in range(20):
        result = push(room, target(houses, make_chunk_id(1, 100 + number)), b"x" * 1000)
        assert result.complete
    assert all(house.port.stream_count == 1 for house in houses)


def test_the_next_push_may_come_by_another_stream(
    houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = Replica.end_push

    def late(self: Replica, broken_because: str) -> None:
        threading.Event().wait(0.05)
        let_go(self, broken_because)

    monkeypatch.setattr(Replica, "end_push", late)
    end = 0
    for _ in range(3):
        with client_room() as room:
            result = push(room, target(houses), b"x" * 5000, end)
        assert result.complete, result.acks
        end = result.end


def test_a_stream_whose_server_started_again_is_not_used(room: DataRoom, tmp_path: Path) -> None:
    for _ in range(2):
        with street(tmp_path / "again", 1) as houses:
            chunk = make_chunk_id(1, 1 + houses[0].store.chunk_count)
            assert push(room, target(houses, chunk), b"x").complete


def test_pushes_to_many_chunks_run_beside_each_other(room: DataRoom, houses: list[House]) -> None:
    results: dict[int, PushResult] = {}

    def write(number: int) -> None:
        where = target(houses, make_chunk_id(1, number))
        results[number] = push(room, where, noise(700_000, number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert len(results) == 8 and all(result.complete for result in results.values())
    for number in results:
        got, _ = fetch(room, houses[number % 3], 0, 700_000, make_chunk_id(1, number))
        assert got == noise(700_000, number)


def test_a_server_whose_disk_hangs_looks_dead_to_the_hop_above(
    room: DataRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs_ha.chunk.progress.DISK_PATIENCE_S", 0.3)
    gate = threading.Event()
    whole = PosixFile.sync

    def sync(self: PosixFile) -> None:
        if self.size() > BLOCK_BYTES:
            assert gate.wait(20.0)
        whole(self)

    with street(tmp_path, 2) as houses:
        monkeypatch.setattr(PosixFile, "sync", sync)
        try:
            result = push(room, target(houses), DATA[:100_000])
        finally:
            gate.set()
    assert codes(result)[0] == "Unreachable" and "silent" in result.acks[0].message
