"""The replicated tables for planners and handlers under test: commands in, a view out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import MIB
from gfs_ha.master.state.commands import (
    Command,
    EnrolledDisk,
    EnrollServer,
    Entry,
    InitCluster,
    PlaceChunk,
    encode_entry,
)
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.view import View
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.metadata import ChunkAllocated, Extent, OpenSession, Publish, PublishFile


class Tables:
    """A cluster with four servers, `cs1` to `cs4`, in two racks; their disks are 101 to 104."""

    def __init__(self) -> None:
        self.kv = MemoryKV()
        self.index = 0
        self.elapsed_ms = 0
        self._sequences: dict[int, int] = {}
        self._machine = Machine()
        self.do(InitCluster("c1", "test", 1, MIB))
        for number in range(1, 5):
            self.enroll(number)

    def enroll(self, number: int, disk: int = 0, rack: str = "", second: int = 0) -> Any:
        """Register a server, with another disk or rack if one is given, or a second disk."""
        disks = (EnrolledDisk(disk or 100 + number, 1 << 40),)
        disks += (EnrolledDisk(second, 1 << 40),) * bool(second)
        rack = rack or ("r1" if number < 3 else "r2")
        return self.do(
            EnrollServer(f"cs{number}", 0, "127.0.0.1", 7300 + number, rack, "h", 1, 1, disks)
        )

    def do(self, command: Command, session: int = NO_SESSION) -> Any:
        """Apply a command and return its reply, which is no failure."""
        self.index += 1
        sequence = self._sequences[session] = self._sequences.get(session, 0) + 1
        entry = Entry(self.elapsed_ms, 1, command, SessionId(session), sequence, sequence)
        if session == NO_SESSION:
            entry = Entry(self.elapsed_ms, 1, command)
        transaction = self.kv.begin()
        answer = self._machine.apply(transaction, self.index, 1, encode_entry(entry))
        transaction.commit()
        reply: Any = decode(Reply, answer)
        assert not isinstance(reply, Failure), reply
        return reply

    def session(self) -> SessionId:
        """Open a session."""
        session_id: SessionId = self.do(OpenSession("test")).session_id
        return session_id

    def chunk(
        self, session: int, servers: tuple[int, ...] = (1, 2, 3), **how: Any
    ) -> ChunkAllocated:
        """Allocate a chunk on servers."""
        replicas = tuple((number, 100 + number) for number in servers)
        allocated: ChunkAllocated = self.do(PlaceChunk(replicas, **how), session)
        return allocated

    def publish(self, session: int, chunk_id: int, path: str = "/f", length: int = 10) -> None:
        """Make a file of the first bytes of a chunk."""
        extents = (Extent(0, chunk_id, 0, length, 7),)
        file = PublishFile(path, length, 0o644, 1, extents=extents)
        reply = self.do(Publish((file,)), session)
        assert not reply.files[0].error, reply

    @contextmanager
    def view(self) -> Iterator[View]:
        """Return the tables as they are now."""
        with self.kv.read() as reader:
            yield View(reader)
