"""Data ports that ask for tickets: bytes go through the whole chain at each level, and back."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK, client_room, house_of, identity
from replica_house import noise
from sealed_house import (
    RUNTIME,
    Leader,
    fetch_sealed,
    push_sealed,
    sealed_room,
    sealed_street,
)

from gfs_ha.chunk.dataport import ServerRun
from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.progress import Operation
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.append_stream import AppendStream
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.errors import Unreachable
from gfs_ha.ids import InodeId, LogIndex, ServerId, SessionId, StartId
from gfs_ha.limits import KIB, MIB
from gfs_ha.net import operation_keys
from gfs_ha.net.sealed_stream import encode_hello
from gfs_ha.net.sealed_streams import Refusals
from gfs_ha.net.streams import TcpStreams
from gfs_ha.net.ticket_guard import TicketGuard
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.pki.seals import Bytes, Seal
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.frames import FrameKind, encode_frame
from gfs_ha.protocol.metadata import FileTail, Location
from gfs_ha.protocol.records import RecordAck, encode_record_acks
from gfs_ha.protocol.tickets import Level, OperationPass

WAIT_S = 20.0

LEVELS = list(Level)
LENGTHS = [1, 4 * KIB, 64 * KIB, 300 * KIB, 3 * MIB + 17]


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_pushed_down_a_chain_is_what_every_server_gives_back(
    tmp_path: Path, level: Level
) -> None:
    data = noise(LENGTHS[-1])
    with sealed_street(tmp_path) as guarded, sealed_room() as room:
        leader = Leader(guarded, level)
        end = 0
        for length in LENGTHS:  # Each push on the streams of the one before.
            result = push_sealed(room, leader.target(), data[end:length], end)
            assert result.complete and result.end == length, result.acks
            end = length
        for one in guarded:
            for offset, length in [
                (0, 1),
                (0, end),
                (70_001, 100),
                (64 * KIB, 2 * MIB),
                (5, end - 5),
            ]:
                got, _ = fetch_sealed(room, leader, one, offset, length)
                assert got == data[offset : offset + length]
            assert not any(one.refusals.counts().values())
            assert one.house.store.get(CHUNK).header.end == end


def test_a_port_that_asks_for_tickets_serves_no_stream_that_cannot_show_any(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However it was put together."""
    with closing(PosixDisk(tmp_path / "cs1")) as disk, client_room() as room:
        store = ChunkStore.on(disk, identity(1), RUNTIME, BOOT_ID)
        guard = TicketGuard(store.server_id, TicketKeys(RUNTIME), RUNTIME, Refusals(RUNTIME))
        run = ServerRun(StartId(100), lambda: BIRTH, guard=guard)
        house = house_of(store, RUNTIME, TcpStreams(RUNTIME), 8, run)
        try:
            with pytest.raises(Unreachable):
                target = FetchTarget(house.hop, CHUNK, BIRTH)
                Fetch(room, target, 10.0).read(0, memoryview(bytearray(10)))
            assert "shows no tickets" in caplog.text
        finally:
            house.stop()


@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.ENCRYPT])
def test_no_key_seals_two_records_with_one_counter(
    tmp_path: Path, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes on at once, and on streams that are used again."""
    sealed: Counter[tuple[bytes, bytes]] = Counter()

    class Watched(Seal):
        __slots__ = ("_key",)

        def __init__(self, key: bytes) -> None:
            super().__init__(key)
            self._key = key

        def close(self, nonce: bytes, content: bytes, beside: bytes) -> bytes:
            sealed[self._key, nonce] += 1
            return super().close(nonce, content, beside)

        def close_into(self, nonce: bytes, content: Bytes, into: memoryview) -> None:
            sealed[self._key, nonce] += 1
            super().close_into(nonce, content, into)

        def sign(self, nonce: bytes, content: Bytes) -> bytes:
            sealed[self._key, nonce] += 1
            return super().sign(nonce, content)

    told = Operation.tell

    def told_often(operation: Operation) -> None:
        for _ in range(5):
            told(operation)

    monkeypatch.setattr(operation_keys, "Seal", Watched)
    monkeypatch.setattr(Operation, "tell", told_often)
    data = noise(600 * KIB)
    with sealed_street(tmp_path) as guarded, sealed_room() as room:
        leader = Leader(guarded, level)
        end = 0
        for length in (1, 100 * KIB, 600 * KIB):
            result = push_sealed(room, leader.target(), data[end:length], end)
            assert result.complete, result.acks
            end = length
        for one in guarded * 2:
            for offset, length in ((0, 10), (0, end), (5, 300 * KIB)):
                got, _ = fetch_sealed(room, leader, one, offset, length)
                assert got == data[offset : offset + length]
        assert not push_sealed(room, leader.target(), b"again", 5).complete
    assert len({key for key, _ in sealed}) >= 3 + 3 * 3 + 18
    assert set(sealed.values()) == {1}


def test_an_answer_that_comes_before_anything_was_asked_is_none() -> None:
    """A writer with a key may listen on a stream before it has anything new to send."""
    listener = TcpStreams(RUNTIME).listen(("127.0.0.1", 0))
    made_up = encode_record_acks((RecordAck(SessionId(7), 1, 0, 5),))
    done = RUNTIME.future()

    def forge() -> None:
        stream = None
        while stream is None:
            stream = listener.accept()
        with closing(stream):
            stream.send_now(encode_hello(b"n" * 16) + encode_frame(FrameKind.RECORDED, 0, made_up))
            done.result(WAIT_S)

    forger = RUNTIME.spawn("forge", forge)
    given = OperationPass(b"s" * 32, Level.ENCRYPT, 300_000)
    place = Location(ServerId(1), "cs1", "127.0.0.1", listener.port, "r", "m", ticket=b"t" * 100)
    tail = FileTail(
        *(CHUNK, BIRTH, 0, 0, ServerId(1), StartId(9), LogIndex(1)),
        *((place,), given),
    )
    grant = AppendGrant(InodeId(1), tail, MIB, "disk", 60_000, MIB // 4)
    try:
        with (
            sealed_room() as room,
            closing(AppendStream(room, grant)) as stream,
            pytest.raises(Unreachable, match="spoke before it was asked"),
        ):
            assert stream.receive(False, WAIT_S) == [], "it is believed"
    finally:
        done.set(None)
        listener.close()
        assert forger.join(WAIT_S)
