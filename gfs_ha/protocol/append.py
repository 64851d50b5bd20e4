"""Record append: what clients ask of the leader, and what both say of the open tail of a file.

A record is answered once, whatever is retried (C8): the primary knows those of its open chunk, the
leader those of every sealed one, and a grant tells what the leader knows.
"""

from __future__ import annotations

from gfs_ha.ids import (
    NO_SESSION,
    ChunkId,
    DiskId,
    Epoch,
    InodeId,
    LogIndex,
    ServerId,
    SessionId,
    StartId,
)
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DISK, FileTail


class AppendResult(Word, frozen=True, order=True):
    """Where a record of the asking appender lies in the file."""

    sequence: int
    file_offset: int
    length: int


class GrantAppend(Word, frozen=True, tag="grant_append"):
    """-> AppendGrant. Opens a tail if the file has none; who comes meanwhile waits for the same.

    `sequences` are the records whose outcome the appender does not know. `refused` is a tail that
    took no append: if it is still open, it is sealed first. `inode_id` is the file of the grant
    before: records in doubt belong to it alone. Raises: FileChanged when the path names another
    file now; NotFound, IsADirectory, Held, Busy, NoServers, NoSpace, SessionExpired.
    """

    path: str
    appender: SessionId = NO_SESSION  # 0: the asking session itself.
    sequences: tuple[int, ...] = ()
    refused: ChunkId = ChunkId(0)
    failed: tuple[ServerId, ...] = ()  # Servers that this client saw fail lately (G6).
    machine: str = ""
    rack: str = ""
    durability: str = DISK  # Of a tail that is opened now.
    inode_id: InodeId = InodeId(0)  # 0: whatever the path names.
    failed_disks: tuple[DiskId, ...] = ()  # As in AllocateChunk.


class AppendGrant(Word, frozen=True, tag="append_grant"):
    """Who takes the records now, and what became of those that were asked about.

    A record that `results` lacks and that is not below `window_start` lies in no sealed chunk: it
    may be sent to this tail. `expired`: the table of the file has forgotten this appender, so
    nothing is known of its records.
    """

    inode_id: InodeId
    tail: FileTail
    capacity: int
    durability: str
    lease_ms: int
    record_bytes_max: int
    results: tuple[AppendResult, ...] = ()
    window_start: int = 0  # Records below it are done.
    expired: bool = False


class FindRecords(Word, frozen=True, tag="find_records"):
    """-> RecordsFound: what became of records that were sent to a file, whatever it is called now.

    For those in doubt when the path names another file: by mv, rm or a put-over, as in the rotation
    of a log. `chunk_id` is the tail that they were sent to last: if it is still open it is sealed
    first, so that one that is not found is not written, and never will be. Raises: Busy,
    SessionExpired.
    """

    inode_id: InodeId
    chunk_id: ChunkId
    appender: SessionId
    sequences: tuple[int, ...]


class RecordsFound(Word, frozen=True, tag="records_found"):
    """Where the records lie in the file; those that `results` lacks are not in it.

    But all below `window_start` are done: another run of the same writer has said so.
    `expired`: the file is gone for longer than its results are kept, or has forgotten this
    appender, so nothing is known of the others.
    """

    results: tuple[AppendResult, ...] = ()
    expired: bool = False
    window_start: int = 0


class ConfirmTail(Word, frozen=True, tag="confirm_tail"):
    """-> Done when the file still has this open tail (C10), linearizable.

    Raises: FileChanged when it has not (it was sealed meanwhile: open again), NotFound.
    """

    inode_id: InodeId
    chunk_id: ChunkId
    granted_index: LogIndex


class LeaseRow(Word, frozen=True):
    """A chunk whose appends a server orders. Times are cluster time, milliseconds."""

    chunk_id: ChunkId
    inode_id: InodeId
    path: str  # As it was called when the tail was opened.
    holder: str
    server_id: ServerId
    start_id: StartId
    epoch: Epoch  # That granted it.
    granted_index: LogIndex
    file_offset: int
    length: int  # As reported last.
    left_ms: int  # Until the lease ends, unless it is renewed.
    held_ms: int  # Since the server holds its lease.
    renewed: int
    idle_ms: int  # Since the last record, as reported; -1 = not heard.


class LeaseEvent(Word, frozen=True):
    """What happened to the right to order appends to a chunk."""

    index: LogIndex
    wall_ns: int
    kind: str  # "granted" or "ended".
    chunk_id: ChunkId
    inode_id: InodeId
    path: str
    holder: str
    epoch: Epoch
    reason: str  # Why it ended.


class ListLeases(Word, frozen=True, tag="list_leases"):
    """-> LeaseList, of chunks above `after`, at most `limit`."""

    after: ChunkId = ChunkId(0)
    limit: int = 500


class LeaseList(Word, frozen=True, tag="lease_list"):
    items: tuple[LeaseRow, ...]
    more: bool
    total: int


class ListLeaseHistory(Word, frozen=True, tag="list_lease_history"):
    """-> LeaseHistory, the newest first, at most `limit` of the last 1,000."""

    limit: int = 100


class LeaseHistory(Word, frozen=True, tag="lease_history"):
    items: tuple[LeaseEvent, ...]


class RevokeLease(Word, frozen=True, tag="revoke_lease"):
    """-> LeaseRevoked once the tails are sealed, or Busy. Names one chunk, or a server's all.

    Raises: UnknownChunk, WrongState when nobody orders appends to it, UnknownServer.
    """

    chunk_id: ChunkId = ChunkId(0)
    server_id: ServerId = ServerId(0)


class LeaseRevoked(Word, frozen=True, tag="lease_revoked"):
    sealed: tuple[ChunkId, ...]


AppendRequest = (
    GrantAppend | FindRecords | ConfirmTail | ListLeases | ListLeaseHistory | RevokeLease
)
AppendReply = AppendGrant | RecordsFound | LeaseList | LeaseHistory | LeaseRevoked
