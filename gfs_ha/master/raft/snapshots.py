"""Overrides for sending snapshots: to a member that needs what the log does not hold any more (M7).

Stock sends a dump in pieces and moves the commit index by it without looking at the log. Here the
leader freezes its store once, beside the loop, and cuts one chunk at a time from that, a few in
flight and not more per second than the limit, while it goes on serving. An answer says what is
durable there, so that a broken transfer goes on at that chunk.
"""

from __future__ import annotations

import logging

from gfs_ha.checksum import crc32c
from gfs_ha.errors import GfsError
from gfs_ha.limits import (
    RAFT_SNAPSHOT_CHUNK_BYTES,
    RAFT_SNAPSHOT_CHUNK_S,
    RAFT_SNAPSHOT_CHUNKS_IN_FLIGHT,
    RAFT_SNAPSHOT_IDLE_S,
    RAFT_SNAPSHOT_LOOP_SHARE,
)
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.export import Export
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.members import encode_configuration
from gfs_ha.master.raft.messages import OfferSnapshot, SnapshotChunk, SnapshotStored

logger = logging.getLogger(__name__)


class _Stream:
    """The way of one export to one member."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.offered_s: float | None = None  # Since when an answer is waited for.
        self.accepted = False
        self.sent = 0  # Chunks below this number were sent on this link.
        self.stored = 0  # … and these are durable there.
        self.ended = False  # The last one was sent.


class _SyncObj(internals._SyncObj):
    """Sending snapshots."""

    _snapshot_chunk_bytes = RAFT_SNAPSHOT_CHUNK_BYTES
    _snapshot_chunk_s = RAFT_SNAPSHOT_CHUNK_S
    _export: Export | None = None
    _freezing = False
    _stream: _Stream | None = None
    _export_used_s = 0.0
    _next_chunk_s = float("-inf")

    def _watch_snapshots(self) -> None:
        """Begin, carry on or end what is sent; once per tick, after what it sends by itself."""
        now = self._around.now_s()
        self._take_frozen(now)
        wanting = self._wanting()
        if not wanting:
            self._stream = None
            if self._export is not None and now - self._export_used_s > RAFT_SNAPSHOT_IDLE_S:
                self._drop_export()
            return
        export, peer = self._export, self._stream.peer if self._stream else wanting[0]
        if (
            export is None
            or export.point.index < self._journal.first_index
            or self._predates(export, peer)
        ):
            if self._can_show(peer):
                self._freeze(now)
            return
        if self._stream is None or self._stream.peer not in wanting:
            self._stream = _Stream(wanting[0])
        self._export_used_s = now
        self._carry_on(export, self._stream, now)

    def _wanting(self) -> list[str]:
        if self.__raftState != LEADER:
            return []
        return [
            name
            for name, node in self._peers.items()
            if self._progress[name].behind and node in self.__connectedNodes
        ]

    def _predates(self, export: Export, peer: str) -> bool:
        """Return whether a learner would find itself in no, or in another, role in a snapshot."""
        learners = export.point.configuration.learners
        return peer in self._configuration.learners and peer not in learners

    def _can_show(self, peer: str) -> bool:
        """Return whether a snapshot made now would not predate what a learner is by now."""
        applied = self._journal.stored_applied_index
        learner = peer in self._configuration.learners
        return not learner or applied >= self._journal.configuration_index

    def _freeze(self, now: float) -> None:
        self._drop_export()
        self._stream = None
        if not self._freezing and now >= self._next_chunk_s:
            self._freezing = True
            self._around.freezer.begin()

    def _take_frozen(self, now: float) -> None:
        frozen = self._around.freezer.take()
        if frozen is None:
            return
        self._freezing = False
        if isinstance(frozen, GfsError):
            logger.error("no snapshot could be made: %s", frozen.message)
            self._next_chunk_s = now + RAFT_SNAPSHOT_IDLE_S
            return
        self._drop_export()
        self._export = Export(
            frozen,
            self._around.freezer.number(),
            self._config.state_databases,
            self._journal.initial,
            self._snapshot_chunk_bytes,
        )
        self._export_used_s = now
        logger.info("a snapshot is ready index=%d", self._export.point.index)

    def _drop_export(self) -> None:
        export, self._export = self._export, None
        if export is not None:
            self._around.freezer.release(export)

    def _carry_on(self, export: Export, stream: _Stream, now: float) -> None:
        if not stream.accepted:
            waited = None if stream.offered_s is None else now - stream.offered_s
            if waited is None or waited > 2 * self._config.timeout_max_s:
                stream.offered_s = now
                self._offer(export, stream.peer)
            return
        window = stream.sent - stream.stored
        if stream.ended or window >= RAFT_SNAPSHOT_CHUNKS_IN_FLIGHT or now < self._next_chunk_s:
            return
        began = self._around.now_s()
        rows, last = export.chunk(stream.sent)
        took = self._around.now_s() - began
        self._next_chunk_s = now + max(self._snapshot_chunk_s, took / RAFT_SNAPSHOT_LOOP_SHARE)
        chunk = SnapshotChunk(
            self.__raftCurrentTerm, export.number, stream.sent, last, crc32c(rows), rows
        )
        if self._around.send_now(stream.peer, chunk):
            stream.sent += 1
            stream.ended = last

    def _offer(self, export: Export, peer: str) -> None:
        point = export.point
        logger.info("offering a snapshot peer=%s index=%d", peer, point.index)
        offer = OfferSnapshot(
            self.__raftCurrentTerm,
            export.number,
            point.index,
            point.term,
            encode_configuration(point.configuration),
        )
        self._around.send_now(peer, offer)

    def _on_snapshot_stored(self, node: internals.Member, message: SnapshotStored) -> None:
        export, stream = self._export, self._stream
        if self.__raftState != LEADER or message.term != self.__raftCurrentTerm:
            return
        if export is None or stream is None or stream.peer != node.id:
            return
        if message.number != export.number:
            return
        if message.installed:
            logger.info("the snapshot is installed peer=%s", node.id)
            self._stream = None
            progress = self._progress.get(node.id)
            if progress is not None:
                progress.behind = False
                progress.restart(export.point.index + 1, self._next_stamp_ns())
                self._send_to(node)
            return
        if not stream.accepted:
            stream.accepted = True
            stream.sent = min(message.stored, export.chunk_count)
        stream.stored = max(stream.stored, min(message.stored, stream.sent))

    def _break_stream(self, node: internals.Member) -> None:
        """Offer it anew after the link was lost: what was on its way is gone."""
        if self._stream is not None and self._stream.peer == node.id:
            self._stream = None

    def snapshot_bytes_at(self, peer: str) -> int:
        """Return about how much of the snapshot that a member is being sent is durable there."""
        stream = self._stream
        if stream is None or stream.peer != peer:
            return 0
        return stream.stored * self._snapshot_chunk_bytes

    @property
    def _sending(self) -> bool:
        """Return whether the next chunk is to be sent as soon as its time has come."""
        stream = self._stream
        if stream is None or not stream.accepted or stream.ended:
            return False
        return stream.sent - stream.stored < RAFT_SNAPSHOT_CHUNKS_IN_FLIGHT

    @property
    def _export_floor(self) -> int | None:
        """Return what the log keeps while a snapshot is being sent; without it it is useless."""
        if self._export is None or self._stream is None:
            return None
        return self._export.point.index
