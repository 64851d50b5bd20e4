"""Only the server that was told to compact a chunk has files refer to another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from closed_trio import ClosedTrio, KeyedServer
from peers import digest_of
from test_chunks import put
from test_tickets_given import keyed_servers
from trio import CALL_S, Client, answer, started, wait_until

from gfs_ha.ids import ChunkId, LogIndex, ServerId, SessionId
from gfs_ha.master.state.garbage_commands import BeginCompaction
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.extents import MovedRange, MoveReferences, ReferencesMoved
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    ChunkSealed,
    FinishChunk,
    OpenFile,
    OpenSession,
)

SIZE = 1000


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[ClosedTrio]:
    with started(ClosedTrio(tmp_path)) as cluster:
        yield cluster


class Mover:
    """A chunkserver's session, with a sealed chunk of its own."""

    def __init__(self, trio: ClosedTrio, name: str) -> None:
        self._link = trio.link("chunkserver", name)
        self._session_id = SessionId(0)
        self._sequence = 0
        self._session_id = self.ask(OpenSession("compaction")).session_id
        fresh = self.ask(AllocateChunk())
        assert isinstance(fresh, ChunkAllocated), fresh
        holders = tuple(one.server_id for one in fresh.replicas)
        sealed = self.ask(FinishChunk(fresh.chunk_id, SIZE, digest_of(SIZE), holders))
        assert isinstance(sealed, ChunkSealed), sealed
        self.chunk_id = fresh.chunk_id

    def ask(self, request: Any) -> Any:
        self._sequence += 1
        return self.again(request)

    def again(self, request: Any) -> Any:
        """Ask under the number that was used last."""
        sequence = self._sequence if self._session_id else 0
        return answer(self._link, Asked(request, self._session_id, sequence, sequence))

    def move(self, chunk_id: ChunkId, index: LogIndex) -> MoveReferences:
        return MoveReferences(chunk_id, index, self.chunk_id, (MovedRange(0, 0, SIZE),))


def row(trio: ClosedTrio, chunk_id: ChunkId) -> Chunk:
    with trio.servers[trio.leader()]._kv.read() as reader:
        chunk = View(reader).chunk(chunk_id)
    assert chunk is not None
    return chunk


def begin(trio: ClosedTrio, chunk_id: ChunkId, server_id: ServerId) -> LogIndex:
    """Have a holder compact a chunk; return the index of its order."""
    command = BeginCompaction(chunk_id, row(trio, chunk_id).sealed_index, server_id)
    desk = trio.servers[trio.leader()]._desk
    desk.proposer.propose(command, CALL_S, lambda outcome: None)
    wait_until(lambda: row(trio, chunk_id).compactor == server_id, "the order")
    return row(trio, chunk_id).compact_index


def test_nobody_but_the_server_that_was_told_has_files_refer_to_its_copy(
    trio: ClosedTrio,
) -> None:
    servers: list[KeyedServer] = keyed_servers(trio)
    ann = Client(trio, "ann")
    chunk = put(ann, servers, "/file", SIZE)
    holder, *others = [one.name for one in chunk.replicas]
    stranger = next(one.name for one in servers if one.name not in (holder, *others))
    for one in servers:
        one.deaf = True  # What it is told is done below.
    movers = {name: Mover(trio, name) for name in (holder, others[0], stranger)}
    early = movers[stranger].ask(movers[stranger].move(chunk.chunk_id, LogIndex(0)))
    assert isinstance(early, Failure) and early.error == "WrongState", early
    index = begin(trio, chunk.chunk_id, chunk.replicas[0].server_id)
    for name in (stranger, others[0]):
        told = movers[name].ask(movers[name].move(chunk.chunk_id, index))
        assert isinstance(told, Failure) and told.error == "Denied", told
        assert f"{holder} was told to compact" in told.message
    # An order that is not there yet may be by the time that it is applied.
    ahead = movers[stranger].ask(movers[stranger].move(chunk.chunk_id, LogIndex(index + 1)))
    assert isinstance(ahead, Failure) and ahead.error == "WrongState", ahead
    (extent,) = ann.ask(OpenFile("/file")).extents
    assert extent.chunk_id == chunk.chunk_id

    mine = movers[holder]
    wrong = mine.ask(mine.move(chunk.chunk_id, LogIndex(index + 1)))
    assert isinstance(wrong, Failure) and wrong.error == "WrongState", wrong
    moved = mine.move(chunk.chunk_id, index)
    assert mine.ask(moved) == ReferencesMoved(1, more=False)
    # Its answer got lost, and the order is over meanwhile: it was done once, and is told so.
    assert mine.again(moved) == ReferencesMoved(1, more=False)
    (extent,) = ann.ask(OpenFile("/file")).extents
    assert extent.chunk_id == mine.chunk_id
