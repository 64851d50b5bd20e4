"""Who sits between two servers of a closed chain: he breaks pushes, and changes nothing.

What he does ends a tail or a put's chunk. Then counts what the smallest of its replicas has (C3):
every record that was acknowledged is in it, none is in it twice, and its bytes are those of who
wrote them; and no server has any others beyond.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import msgspec
import pytest
from append_house import APPENDER, MAKING, start_of
from chunk_house import BIRTH
from middle import DOWN, HANG_UP, UP, Change, Middle, Operation, middles
from replica_house import noise
from sealed_house import RUNTIME, Guarded, Leader, push_sealed, sealed_room, sealed_street

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.append_records import Appended, Record
from gfs_ha.client.append_stream import AppendStream
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.errors import (
    Fenced,
    GfsError,
    Overloaded,
    ProtocolError,
    TicketRefused,
    Unreachable,
)
from gfs_ha.ids import ChunkId, DiskId, InodeId, LogIndex, make_chunk_id
from gfs_ha.limits import KIB, MIB
from gfs_ha.pki.seals import TAG_BYTES
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.control import CopySource, CreateReplica
from gfs_ha.protocol.data import Hop
from gfs_ha.protocol.frames import FrameKind, ReplicaAck, encode_acks, encode_error, encode_frame
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.metadata import FileTail, Location
from gfs_ha.protocol.packets import PACKET_BYTES, decode_packet, encode_packet, packet_crcs
from gfs_ha.protocol.records import RecordAck
from gfs_ha.protocol.tickets import Level
from gfs_ha.runtime import Future

CAPACITY = 4 * MIB
RECORD_BYTES = 700 * KIB
WAIT_S = 60.0
LONG_AGO = LogIndex(50)
numbers = itertools.count(100)


@dataclass
class Street:
    """Three servers, and somebody on each wire between them."""

    guarded: list[Guarded]
    middles: list[Middle]
    room: DataRoom

    def hops(self, leader: Leader, chunk_id: ChunkId) -> list[Hop]:
        """Return the chain as it is dialled: each server but the first through a middle."""
        hops = [leader.hop(one, chunk_id=chunk_id) for one in self.guarded]
        wires = zip(hops[1:], self.middles, strict=True)
        return [hops[0], *(msgspec.structs.replace(hop, port=one.port) for hop, one in wires)]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with (
        sealed_street(tmp_path_factory.mktemp("street"), 3) as guarded,
        middles([one.house.port.port for one in guarded[1:]]) as wires,
        sealed_room() as room,
    ):
        yield Street(guarded, wires, room)


# What he does -------------------------------------------------------------------------------------


def at(turn: int, *parts: bytes | None) -> Change:
    """Send these in the place of one unit."""
    return lambda one, now, unit: list(parts) if now == turn else [unit]


def with_unit(turn: int, change: Callable[[bytes], list[bytes | None]]) -> Change:
    return lambda one, now, unit: change(unit) if now == turn else [unit]


def flip(unit: bytes, place: int) -> bytes:
    changed = bytearray(unit)
    changed[place] ^= 1
    return bytes(changed)


def flipped(place: int, turn: int = 1) -> Change:
    return with_unit(turn, lambda unit: [flip(unit, place)])


def forged(one: Operation, turn: int, unit: bytes) -> list[bytes | None]:
    """Change what is written, and its CRCs, so that they fit; at `integrity` he can read both."""
    payload, tag = unit[4:-TAG_BYTES], unit[-TAG_BYTES:]
    if payload.startswith(b"GFSP"):
        one.kept.append(unit)
        return []
    if not one.kept:
        return [flip(unit, 9)] if turn == 3 else [unit]  # It is not to be read.
    head = one.kept.pop()
    packet = decode_packet(head[4:][:PACKET_BYTES])
    crcs = packet_crcs(packet, memoryview(head[4 + PACKET_BYTES : -TAG_BYTES]))
    data = flip(payload, 5)
    crcs[0] = part_crcs(packet.offset, memoryview(data))[0]
    made = encode_packet(packet.offset, packet.length, packet.last, crcs)
    return [head[:4], made, head[-TAG_BYTES:], unit[:4], data, tag]


def swapped(one: Operation, turn: int, unit: bytes) -> list[bytes | None]:
    if turn == 1:
        one.kept.append(unit)
        return []
    return [unit, *one.kept] if turn == 2 else [unit]


def the_one_before_again(one: Operation, turn: int, unit: bytes) -> list[bytes | None]:
    return [*one.before, unit] if turn == 0 else [unit]


def twice(one: Operation, turn: int, unit: bytes) -> list[bytes | None]:
    """Send the whole operation once more, behind itself."""
    return [unit, *one.sent] if turn == 3 else [unit]


def made_up_end(one: Operation, turn: int, unit: bytes) -> list[bytes | None]:
    """Say for all below that they have everything, in the place of what they say."""
    request = one.request
    end = request.offset + request.length
    below = [request.target, *(hop.server_id for hop in request.hops)]
    acks = tuple(ReplicaAck(server_id, "", end) for server_id in below)
    return [encode_frame(FrameKind.PUSHED, request.op_id, encode_acks(acks)), HANG_UP]


def made_up_refusal(error: GfsError) -> Change:
    """Refuse in the name of the server below."""

    def refuse(one: Operation, turn: int, unit: bytes) -> list[bytes | None]:
        return [encode_frame(FrameKind.FAILED, one.request.op_id, encode_error(error)), HANG_UP]

    return refuse


ATTACKS: dict[str, tuple[str, Change]] = {
    "a byte": (DOWN, flipped(9)),
    "bytes with CRCs that fit": (DOWN, forged),
    "a tag": (DOWN, flipped(-1)),
    "a length": (DOWN, flipped(0)),
    "a record dropped": (DOWN, at(1)),
    "a record twice": (DOWN, with_unit(1, lambda unit: [unit, unit])),
    "two records swapped": (DOWN, swapped),
    "half a record, then the next": (DOWN, with_unit(2, lambda unit: [unit[: len(unit) // 2]])),
    "half a record, then nothing": (DOWN, with_unit(2, lambda unit: [unit[:99], HANG_UP])),
    "a request without the rest": (DOWN, at(1, HANG_UP)),
    "the offset": (DOWN, flipped(56, turn=0)),
    "the committed length": (DOWN, flipped(97, turn=0)),
    "the chunk": (DOWN, flipped(40, turn=0)),
    "a proof": (DOWN, flipped(-5, turn=0)),
    "the operation before, again": (DOWN, the_one_before_again),
    "the operation twice": (DOWN, twice),
    "an answer's byte": (UP, flipped(6)),
    "an answer dropped, and what follows": (UP, lambda one, turn, unit: [HANG_UP]),
    "an answer twice": (UP, with_unit(1, lambda unit: [unit, unit])),
    "a made up end": (UP, made_up_end),
    "a made up refusal": (UP, made_up_refusal(TicketRefused("no", reason="expired", unwritten=9))),
    "a made up fence": (UP, made_up_refusal(Fenced("sealed", end=0))),
    "a made up crowd": (UP, made_up_refusal(Overloaded("full"))),
    "a made up reproach": (UP, made_up_refusal(ProtocolError("what?"))),
}

# What is behind the end of an operation: what counts is written and said by then.
HARMLESS = {"the operation twice", "an answer twice"}


# Records ------------------------------------------------------------------------------------------


class Appending:
    """A tail on the street, and one who appends to it."""

    def __init__(self, street: Street, level: Level) -> None:
        self.street = street
        self.chunk_id = make_chunk_id(1, next(numbers))
        leader = Leader(street.guarded, level)
        head, *below = street.hops(leader, self.chunk_id)
        order = CreateReplica(self.chunk_id, BIRTH, MAKING, DiskId(0), "disk", CAPACITY)
        for one in street.guarded[1:]:
            one.house.port.primary.create(order)
        first = street.guarded[0].house
        chain = tuple(CopySource(hop.server_id, hop.host, hop.port, hop.ticket) for hop in below)
        first.port.primary.create(
            msgspec.structs.replace(
                order, chain=chain, primary_start=start_of(first), pass_=leader.given
            )
        )
        place = Location(head.server_id, "cs1", head.host, head.port, "r", "m", ticket=head.ticket)
        tail = FileTail(
            *(self.chunk_id, BIRTH, 0, 0, head.server_id, start_of(first), LogIndex(1)),
            *((place,), leader.given),
        )
        grant = AppendGrant(InodeId(1), tail, CAPACITY, "disk", 60_000, CAPACITY // 4)
        self.stream = AppendStream(street.room, grant)
        self.sent: dict[int, bytes] = {}
        self.acked: dict[int, RecordAck] = {}

    def append(self, data: bytes) -> GfsError | None:
        """Append one record; return why it was not acknowledged, if so."""
        sequence = len(self.sent) + 1
        self.sent[sequence] = data
        done: Future[Appended] = RUNTIME.future()
        ends_s = RUNTIME.monotonic_s() + WAIT_S
        try:
            self.stream.send(APPENDER, 1, [Record(sequence, data, done)], alone=False)
            while sequence not in self.acked:
                assert RUNTIME.monotonic_s() < ends_s, "neither an answer nor an error"
                for ack in self.stream.receive(True):
                    assert ack.sequence not in self.acked, "acknowledged twice"
                    self.acked[ack.sequence] = ack
        except GfsError as error:
            return error
        return None

    def check(self) -> int:
        """Seal the tail as the leader does; return how many records are in it."""
        stores = [one.house.store for one in self.street.guarded]
        fences = [one.fence(self.chunk_id, BIRTH, LONG_AGO) for one in stores]
        assert all(fence.proof for fence in fences)
        for store, fence in zip(stores, fences, strict=True):
            self._check_own(store, fence.end)
        length = min(fence.end for fence in fences)
        proofs = [one.prove(self.chunk_id, LONG_AGO, length) for one in stores]
        assert len({(proof.digest, proof.crc, proof.records) for proof in proofs}) == 1
        there = {one.sequence: one for one in proofs[0].records}
        assert len(there) == len(proofs[0].records), "a record is there twice"
        for sequence, ack in self.acked.items():
            assert (there[sequence].offset, there[sequence].length) == (ack.offset, ack.length)
        return len(there)

    def _check_own(self, store: ChunkStore, end: int) -> None:
        """Fail unless all that a server has is what was sent, in its order."""
        proof = store.prove(self.chunk_id, LONG_AGO, end)
        whole = b"".join(self.sent[one.sequence] for one in proof.records)
        assert len(whole) == end and proof.crc == crc32c(whole)


@pytest.fixture(autouse=True)
def fresh_wires(street: Street) -> None:
    """An answer that comes twice is in the way of the next operation on its stream."""
    for one in street.middles:
        one.hang_up()


def attack(street: Street, where: int, how: str) -> Middle:
    middle = street.middles[where]
    middle.arm(*ATTACKS[how])
    return middle


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("how", ATTACKS)
def test_no_acknowledged_record_is_lost_or_doubled_by_who_sits_in_a_chain(
    street: Street, how: str, where: int
) -> None:
    one = Appending(street, (Level.ENCRYPT, Level.INTEGRITY)[where])
    with closing(one.stream):
        for number in range(2):
            assert one.append(noise(RECORD_BYTES, number)) is None
        middle = attack(street, where, how)
        error = one.append(noise(RECORD_BYTES, 9))
        if error is None:
            one.append(noise(RECORD_BYTES, 10))
    (hurt,) = middle.hurt
    assert hurt.changed, "nothing was changed"
    assert one.check() in (2, 3, 4)
    if how not in HARMLESS:
        assert error is not None, "it was acknowledged as if nothing had been"
    if how.startswith("a made up"):
        # As a server that is not reached: the next tail is without it.
        below = street.guarded[where + 1].server_id
        assert isinstance(error, Unreachable) and str(below) in str(error.details["servers"])


def bytes_of(one: Guarded, chunk_id: ChunkId, end: int) -> bytes:
    leader = Leader([one])
    hop = leader.hop(one, chunk_id=chunk_id)
    into = memoryview(bytearray(end))
    with sealed_room() as room:
        Fetch(room, FetchTarget(hop, chunk_id, BIRTH, leader.given), 20.0).read(0, into)
    return bytes(into)


# What a put writes --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ATTACKS)
def test_no_byte_of_a_push_is_wrong_or_acknowledged_in_vain_by_who_sits_in_a_chain(
    street: Street, how: str
) -> None:
    chunk_id = make_chunk_id(1, next(numbers))
    leader = Leader(street.guarded, Level.ENCRYPT)
    target = replace(leader.target(chunk_id), chain=tuple(street.hops(leader, chunk_id)))
    data = noise(3 * RECORD_BYTES, 5)
    assert push_sealed(street.room, target, data[:RECORD_BYTES]).complete
    middle = attack(street, 1, how)
    result = push_sealed(street.room, target, data[RECORD_BYTES:], RECORD_BYTES)
    (hurt,) = middle.hurt
    assert hurt.changed, "nothing was changed"
    assert how in HARMLESS or not result.complete
    acknowledged = {ack.server_id: ack.end for ack in result.acks if ack.complete}
    assert all(end == len(data) for end in acknowledged.values())
    for one in street.guarded:
        store = one.house.store
        end = store.fence(chunk_id, BIRTH, LONG_AGO).end
        assert end >= acknowledged.get(one.server_id, RECORD_BYTES)
        assert store.prove(chunk_id, LONG_AGO, end).crc in (None, crc32c(data[:end]))
        assert bytes_of(one, chunk_id, end) == data[:end]
