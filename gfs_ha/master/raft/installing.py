"""Overrides for receiving snapshots: staged chunk by chunk, installed whole, in one transaction.

The rows of a chunk are durable beside the ones in use before it is answered, and survive a restart.
With the last one the two change places, and applied index, configuration and the beginning of the
log change in the same transaction, so that a crash leaves the old state or the new one. No
transaction is large: one that wrote all rows held up every commit on the same disk, and its own
member, for as long as that took. Who this member is, its term and its vote stay as they are, and so
do entries beyond the snapshot that follow on it: they may be the copy of a committed entry that a
majority counts on.
"""

from __future__ import annotations

import logging

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.errors import ProtocolError
from gfs_ha.limits import RAFT_SNAPSHOT_IDLE_S
from gfs_ha.master.raft import internals
from gfs_ha.master.raft.export import clear_staged, install_staged, stage_rows
from gfs_ha.master.raft.identity import FORMAT, META
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.members import Configuration, Point, decode_configuration
from gfs_ha.master.raft.messages import OfferSnapshot, SnapshotChunk, SnapshotStored

logger = logging.getLogger(__name__)

_KEY = b"staged"


class _Incoming(msgspec.Struct, array_like=True):
    """The snapshot that is being received."""

    number: int
    index: int
    term: int
    configuration: Configuration
    stored: int = 0  # The rows of chunks below this number are staged.


class _SyncObj(internals._SyncObj):
    """Receiving snapshots."""

    _incoming: _Incoming | None = None
    _first_chunk_s = _last_chunk_s = float("-inf")  # Of the one that is coming, to this process.
    _sender = ""  # Who sent the last of them.

    def _begin_installing(self) -> None:
        row = self._journal.row(_KEY)
        if row is not None:
            self._incoming = msgspec.msgpack.decode(row[1:], type=_Incoming)

    def _heeds(self, node: internals.Member, term: int) -> bool:
        """Return whether this is the leader of a term that is not over; follow it then."""
        if term < self.__raftCurrentTerm or self.__raftState == LEADER:
            return False
        if term > self.__raftCurrentTerm:
            self.__setCurrentTerm(term, None)
        self._follow(node)
        return True

    def _on_offer_snapshot(self, node: internals.Member, message: OfferSnapshot) -> None:
        if not self._heeds(node, message.term):
            return
        self._drop_overtaken()
        if message.index <= self.__raftLastApplied:
            self._tell_stored(node, message.number, 0, installed=True)
            return
        if self._incoming is None or self._incoming.number != message.number:
            if self._spares_incoming(node.id):
                return  # It is offered again.
            self._forget_incoming()
            clear_staged(self._around.writer(), self._config.state_databases)
            configuration = decode_configuration(message.configuration)
            self._incoming = _Incoming(
                message.number, message.index, message.last_term, configuration
            )
            self._write_incoming()
            logger.info("receiving a snapshot from=%s index=%d", node.id, message.index)
        self._tell_stored(node, message.number, self._incoming.stored)

    def _on_snapshot_chunk(self, node: internals.Member, message: SnapshotChunk) -> None:
        if not self._heeds(node, message.term):
            return
        self._drop_overtaken()
        incoming = self._incoming
        if incoming is None or incoming.number != message.number:
            return  # It was offered to another run of this process; it will be offered again.
        if message.position != incoming.stored:
            self._tell_stored(node, message.number, incoming.stored)
            return
        if crc32c(message.rows) != message.crc:
            raise ProtocolError("a chunk of a snapshot arrived damaged")
        stage_rows(self._around.writer(), self._config.state_databases, message.rows)
        incoming.stored += 1
        self._last_chunk_s, self._sender = self._around.now_s(), node.id
        if incoming.stored == 1:
            self._first_chunk_s = self._last_chunk_s
        if message.last:
            self._install(incoming)
        else:
            self._write_incoming()
        self._tell_stored(node, message.number, incoming.stored, installed=message.last)

    def _tell_stored(
        self, node: internals.Member, number: int, stored: int, installed: bool = False
    ) -> None:
        answer = SnapshotStored(self.__raftCurrentTerm, number, stored, installed)
        self._around.send_durable(node.id, answer)

    def _spares_incoming(self, leader: str) -> bool:
        """Return whether another leader's snapshot has to wait: the one before may lead again.

        Two that lead by turns would else send the beginnings of theirs for ever. It is waited for
        twice as long as it took to come so far, at most while its leader keeps it.
        """
        if self._incoming is None or leader == self._sender:
            return False  # Who offers another one has the one before no more.
        worth_s = min(2 * (self._last_chunk_s - self._first_chunk_s), RAFT_SNAPSHOT_IDLE_S)
        return self._around.now_s() - self._last_chunk_s < worth_s

    def _drop_overtaken(self) -> None:
        """Forget a snapshot that the log has overtaken meanwhile; it would only take room."""
        incoming = self._incoming
        if incoming is not None and incoming.index <= self.__raftLastApplied:
            logger.info("a snapshot is not needed any more index=%d", incoming.index)
            self._forget_incoming()

    def _write_incoming(self) -> None:
        row = FORMAT + msgspec.msgpack.encode(self._incoming)
        self._around.writer().put(META, _KEY, row)

    def _forget_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            writer = self._around.writer()
            clear_staged(writer, self._config.state_databases)
            writer.delete(META, _KEY)

    def _install(self, incoming: _Incoming) -> None:
        assert incoming.index > self.__raftLastApplied, "an older state than the own one"
        logger.info("installing a snapshot index=%d chunks=%d", incoming.index, incoming.stored)
        writer = self._around.writer()
        install_staged(writer, self._config.state_databases)
        writer.delete(META, _KEY)
        self._incoming = None
        point = Point(incoming.index, incoming.term, incoming.configuration)
        self._journal.begin_at(point, keep=self._follows_on(point))
        self.__raftLastApplied = point.index
        self.__raftCommitIndex = max(self.__raftCommitIndex, point.index)
        self._journal.setRaftCommitIndex(self.__raftCommitIndex)
        self._too_far_behind = None
        self._adopt_configuration()

    def _follows_on(self, point: Point) -> bool:
        """Return whether the own log goes through the snapshot's last entry."""
        journal = self._journal
        known = journal.first_index <= point.index <= journal.last_index
        return known and journal.term_at(point.index) == point.term
