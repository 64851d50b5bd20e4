"""Replicated state under leaders that change, and chunkservers that lead tails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from small_cluster import CLUSTER, RUNTIME, Masters, Server

from gfs_ha.chunk.journal.frames import PAGE_BYTES
from gfs_ha.chunk.journal.journal import JournalShape
from gfs_ha.chunk.primary import Primary
from gfs_ha.chunk.progress import ProgressTicker
from gfs_ha.chunk.push import PushRoom
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import NO_SESSION, DiskId, LogIndex, ServerId, SessionId, StartId
from gfs_ha.master.state.commands import Entry, encode_entry
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.control import FinishedTail
from gfs_ha.protocol.metadata import ChunkAllocated

SHAPE = JournalShape(segments=3, segment_bytes=4 * PAGE_BYTES, append_bytes_max=5000)


class Leaders(Masters):
    """The replicated state, under leaders that change."""

    def __init__(self) -> None:
        self.term = 1
        super().__init__()

    def apply(self, command: Any, session: SessionId = NO_SESSION) -> Reply:
        self.index += 1
        self.sequence += 1
        entry = Entry(1, 1, command, session, self.sequence if session else 0, 0)
        transaction = self.kv.begin()
        answer = self.machine.apply(transaction, self.index, self.term, encode_entry(entry))
        transaction.commit()
        reply = decode(Reply, answer)
        assert not (isinstance(reply, Failure) and reply.error == "InternalError"), reply
        return reply


class Primaries(Server):
    """A chunkserver whose process leads tails, with a journal that fills quickly.

    `ended` are the tails that it called full, in which run: news that may come at any later time.
    """

    def __init__(self, number: ServerId) -> None:
        self.ended: list[tuple[StartId, FinishedTail]] = []
        super().__init__(number)

    def start(self) -> None:
        self.life += 1
        self.up = True
        self.enrolled = False
        identity = Identity(CLUSTER, self.number, DiskId(100 + self.number))
        self.store = ChunkStore.on(self.disk, identity, RUNTIME, self.boot, SHAPE)
        self.start_id = StartId(1000 * self.number + self.life)
        pool = StreamPool(TcpStreams(RUNTIME), RUNTIME)
        self.room = PushRoom(self.store, pool, ProgressTicker(RUNTIME), RUNTIME)
        self.primary = Primary(
            self.room,
            self.start_id,
            on_end=lambda end, start_id=self.start_id: self.ended.append((start_id, end)),
        )
        self.store.shelves[0].journal.takes(1)
        self.store.shelves[0].journal.keep()


@dataclass
class Placed:
    """A tail that is being created, or kept ready."""

    chunk: ChunkAllocated
    index: LogIndex
    starts: dict[ServerId, StartId]
    missing: set[ServerId]
    term: int
