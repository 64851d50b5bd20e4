"""The rows of record append: tails, leases and their history, holds, and results of records.

Fields are only ever added at the end, with a default that means "as before".
"""

from __future__ import annotations

from gfs_ha.ids import (
    NO_SESSION,
    ChunkId,
    Epoch,
    InodeId,
    LogIndex,
    ServerId,
    SessionId,
    StartId,
)
from gfs_ha.protocol.append import AppendResult
from gfs_ha.protocol.codec import Word

GRANTED = "granted"  # Kinds of lease events.
ENDED = "ended"


class Tail(Word, frozen=True):
    """The open or sealing chunk at the end of a file; the key is the file's inode.

    While it stands the file's content and size do not change otherwise (C9).
    """

    chunk_id: ChunkId
    server_id: ServerId  # Of the primary.
    start_id: StartId
    epoch: Epoch
    granted_index: LogIndex
    file_offset: int  # Where it begins in the file: the size of what is sealed.
    directory: InodeId  # In which the file lies now.
    path: str  # As it was called when the tail was opened.
    opened_ms: int  # Cluster time.


class Lease(Word, frozen=True):
    """The right of one run of a server to order appends; the key is its id (G9). Cluster time."""

    start_id: StartId
    granted_index: LogIndex
    epoch: Epoch
    since_ms: int
    until_ms: int
    renewed: int = 0
    tail_count: int = 0  # Of all tails whose primary is this server, of earlier runs too.


class LeaseEventRow(Word, frozen=True):
    """What happened to the right to order appends to a chunk; the key counts up from 1."""

    index: LogIndex
    wall_ns: int
    kind: str
    chunk_id: ChunkId
    inode_id: InodeId
    path: str
    server_id: ServerId
    epoch: Epoch
    reason: str = ""


class Hold(Word, frozen=True):
    """No tail is opened at or below this inode while the hold stands; the key is the inode (C9)."""

    epoch: Epoch
    until_ms: int  # Cluster time.
    index: LogIndex

    def stands(self, epoch: Epoch, cluster_ms: int) -> bool:
        """Return whether the hold still counts."""
        return self.epoch == epoch and cluster_ms < self.until_ms


class AppendFile(Word, frozen=True):
    """Whose results a file keeps (C8); the key is the inode.

    `uses` are (appender, index of the seal that brought its newest record), the longest unused one
    first. One at or below the horizon that is not in it has been forgotten, or may have been. A
    tail was sealed without a word of its records that may hold some of any session up to `blurred`.
    """

    horizon: SessionId
    uses: tuple[tuple[SessionId, LogIndex], ...]
    blurred: SessionId = NO_SESSION


class AppendResults(Word, frozen=True):
    """The records of one appender in a file, by sequence; the key is (inode, appender).

    None lies below `window_start`: the appender asks for those no more. Of those below
    `forgotten_below` that are not here nothing is known.
    """

    window_start: int
    results: tuple[AppendResult, ...]
    forgotten_below: int = 0


class GoneFile(Word, frozen=True):
    """A file that was removed or replaced, and whose results are kept for a while.

    The key is (index of the removal, inode), so the oldest one comes first.
    """

    since_ms: int  # Cluster time.


class SessionKey(Word, frozen=True):
    """Which session bears a key; the key of the row is that key."""

    session_id: SessionId
