"""A cluster's state for tests: applies commands in order, and keeps the log for a replay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from gfs_ha.ids import NO_SESSION, ChunkId, InodeId, SessionId
from gfs_ha.kv.ordered import MemoryKV, OrderedKV
from gfs_ha.limits import MIB
from gfs_ha.master.state.commands import (
    BeginSeal,
    Command,
    CommitSeal,
    EnrolledDisk,
    EnrollServer,
    Entry,
    InitCluster,
    PlaceChunk,
    encode_entry,
)
from gfs_ha.master.state.invariants import check_all, fingerprint
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tail_commands import FinishTail, OpenTail, PlaceTail
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.metadata import ChunkAllocated, Extent, OpenSession, Publish, PublishFile
from gfs_ha.protocol.records import RecordEntry

INIT = InitCluster("c1", "test", incarnation=1, chunk_bytes=1 * MIB)
WALL_NS = 1_000_000_000_000


def server(number: int, **changes: object) -> EnrollServer:
    """Return the enrolment of server `cs<number>` with disk 100 + number."""
    fields: dict[str, object] = {
        "name": f"cs{number}",
        "server_id": 0,
        "host": "127.0.0.1",
        "port": 7300 + number,
        "rack": "r1",
        "machine": "h1",
        "start_id": 1,
        "boot_id": 1,
        "disks": (EnrolledDisk(100 + number, 1 << 40),),
    }
    return EnrollServer(**{**fields, **changes})


def empty_file(path: str, **changes: object) -> PublishFile:
    return PublishFile(**{"path": path, "size": 0, "mode": 0o644, "mtime_ns": 1, **changes})


def small_file(path: str, chunk_id: ChunkId, offset: int, length: int, **changes) -> PublishFile:
    extents = (Extent(0, chunk_id, offset, length, crc=7),)
    return empty_file(path, size=length, extents=extents, **changes)


class Driver:
    """Applies one command per transaction, each a millisecond after the one before."""

    def __init__(self, kv: OrderedKV | None = None, server_count: int = 3, init: bool = True):
        self.kv = kv or MemoryKV()
        self.mistakes: list[tuple[int, str, Exception]] = []
        self.machine = Machine(lambda *case: self.mistakes.append(case))
        self.log: list[tuple[int, int, bytes]] = []
        self.index = 0
        self.term = 1
        self.elapsed_ms = 0
        self.sequences: dict[int, int] = {}
        if init:
            self.ok(INIT)
            for number in range(1, server_count + 1):
                self.ok(server(number))

    def apply(self, entry: Entry) -> Reply:
        return self.apply_payload(encode_entry(entry))

    def apply_payload(self, payload: bytes) -> Reply:
        self.index += 1
        self.log.append((self.index, self.term, payload))
        return decode(Reply, apply_one(self.machine, self.kv, self.log[-1]))

    def do(self, command: Command, session: int = NO_SESSION) -> Reply:
        """Apply a command; a session's gets its next sequence, the window moves along."""
        self.elapsed_ms += 1
        sequence = self.sequences[session] = self.sequences.get(session, 0) + 1
        stamped = Entry(self.elapsed_ms, WALL_NS + self.index, command)
        if session != NO_SESSION:
            stamped = Entry(
                self.elapsed_ms,
                WALL_NS + self.index,
                command,
                SessionId(session),
                sequence,
                sequence,
            )
        return self.apply(stamped)

    def ok(self, command: Command, session: int = NO_SESSION):
        reply = self.do(command, session)
        if isinstance(reply, Failure):
            raise reply.raised()
        return reply

    def error(self, command: Command, session: int = NO_SESSION) -> str:
        reply = self.do(command, session)
        assert isinstance(reply, Failure), reply
        return reply.error

    def open_session(self) -> SessionId:
        return self.ok(OpenSession("test")).session_id

    def chunk(self, session: int, copies: int = 3, **changes: object) -> ChunkAllocated:
        replicas = tuple((number, 100 + number) for number in range(1, copies + 1))
        return self.ok(PlaceChunk(replicas, **changes), session)

    def file(self, session: int, path: str = "/log") -> InodeId:
        """Return the inode of a fresh empty file."""
        (made,) = self.ok(Publish((empty_file(path),), make_parents=True), session).files
        assert not made.error, made
        return made.inode_id

    def place(self, inode_id: int, copies: int = 3, first: int = 1) -> ChunkId:
        """Place a tail on `copies` servers from number `first` on; that one will be the primary."""
        numbers = range(first, first + copies)
        replicas = tuple((number, 100 + number) for number in numbers)
        return self.ok(PlaceTail(InodeId(inode_id), replicas)).chunk_id

    def tail(self, path: str, first: int = 1) -> ChunkId:
        """Place and open the tail of a file."""
        with self.view() as view:
            inode_id = view.resolve(path).inode_id
        chunk_id = self.place(inode_id, first=first)
        self.ok(OpenTail(inode_id, chunk_id, path, first, 1))
        return chunk_id

    def seal(self, chunk_id: ChunkId, length: int, *records: RecordEntry, reason: str = "test"):
        """Seal a tail at `length`, with the records that lie in it."""
        self.ok(BeginSeal(chunk_id, reason))
        with self.view() as view:
            chunk = view.chunk(chunk_id)
        assert chunk is not None
        holders = tuple(replica.server_id for replica in chunk.replicas)
        end = (length, 3, holders, 7, records)
        return self.ok(CommitSeal(chunk_id, chunk.begin_index, *end))

    def finish(self, chunk_id: ChunkId, length: int, /, *records: RecordEntry, **changes: object):
        """End a tail as its primary does; `changes` are of the command."""
        with self.view() as view:
            chunk = view.chunk(chunk_id)
            tail = tail_of(view, chunk.tail_of) if chunk is not None else None
        primary = (1, 1) if tail is None else (tail.server_id, tail.start_id)
        members = () if chunk is None else tuple(one.server_id for one in chunk.replicas)
        command = FinishTail(chunk_id, *primary, length, 3, 7, members, records)
        return self.do(replace(command, **changes))

    @contextmanager
    def view(self) -> Iterator[View]:
        with self.kv.read() as reader:
            yield View(reader)

    def check(self) -> None:
        with self.view() as view:
            assert check_all(view) == []
        assert not self.mistakes, self.mistakes

    def fingerprint(self) -> str:
        with self.kv.read() as reader:
            return fingerprint(reader)


def apply_one(machine: Machine, kv: OrderedKV, logged: tuple[int, int, bytes]) -> bytes:
    transaction = kv.begin()
    try:
        answer = machine.apply(transaction, *logged)
    except BaseException:
        transaction.abort()
        raise
    transaction.commit()
    return answer
