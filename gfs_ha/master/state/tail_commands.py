"""The replicated commands about tails, leases and holds; made by the leader alone, no session.

Each compares with the tables before it writes, so that one that comes late or twice does no harm.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, InodeId, LogIndex, ServerId, StartId
from gfs_ha.limits import HOLD_MS
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DISK
from gfs_ha.protocol.records import RecordEntry


class PlaceTail(Word, frozen=True, tag="place_tail"):
    """-> ChunkAllocated. A tail that is to be opened at the end of a file; nobody claims it.

    It lives until OpenTail or AbandonTails, although nothing refers to it. Raises: NotFound,
    IsADirectory, StaleCommand when the file has a tail; TooFewCopies, UnknownServer (the choice
    was made on older news), InvalidArgument.
    """

    inode_id: InodeId
    replicas: tuple[tuple[ServerId, DiskId], ...]  # The first one will be the primary.
    durability: str = DISK
    goal: int = 0  # 0: the file's, or the cluster's setting.
    remarks: tuple[str, ...] = ()
    ahead: bool = False  # Also while the file has a tail, which is opened when that one has ended.


class AbandonTails(Word, frozen=True, tag="abandon_tails"):
    """-> Done. Placed tails that nobody opens any more are dead; what is opened is passed over.

    So is one of the epoch of this command, which may still open it, unless it was `given_up`.
    """

    chunk_ids: tuple[ChunkId, ...]
    given_up: bool = False


class OpenTail(Word, frozen=True, tag="open_tail"):
    """-> Done. The server orders the appends to a placed tail from now on, for its whole open life.

    Grants the lease of the server if it has none. Raises: StaleCommand when the path names another
    file, the file has a tail, the chunk is not placed by this epoch, or the server has started
    again; Held; NotFound, NotADirectory, IsADirectory, UnknownChunk, UnknownServer, LimitExceeded.
    """

    inode_id: InodeId
    chunk_id: ChunkId
    path: str
    server_id: ServerId  # The head of the chunk's replicas.
    start_id: StartId


class FinishTail(Word, frozen=True, tag="finish_tail"):
    """-> ChunkSealed; of the earlier seal if there is one. Its primary ended a tail by itself (C5).

    Each replica of it has acknowledged all of it, and the primary, in this very run, lets nothing
    come after it: so no server has to be fenced. What is sealing already may still end so.
    Raises: StaleCommand unless the server is its primary in this run; UnknownChunk,
    InvalidArgument, LimitExceeded.
    """

    chunk_id: ChunkId
    server_id: ServerId
    start_id: StartId
    length: int
    digest: int
    crc: int  # CRC-32C of its bytes.
    holders: tuple[ServerId, ...]
    records: tuple[RecordEntry, ...] = ()  # By appender and sequence; offsets in the chunk.


class RenewLeases(Word, frozen=True, tag="renew_leases"):
    """-> Done. Each (server, start id, the `until_ms` that the leader saw) holds on for LEASE_MS.

    A lease that ran out, changed since or is another run's is passed over.
    """

    leases: tuple[tuple[ServerId, StartId, int], ...]


class HoldInodes(Word, frozen=True, tag="hold_inodes"):
    """-> Done. No tail is opened at or below these while their tails are sealed (C9).

    The holds end with the command that they are for, after `hold_ms` of cluster time (at most
    HOLD_MS), or with the epoch. An inode that does not exist is passed over.
    """

    inodes: tuple[InodeId, ...]
    hold_ms: int = HOLD_MS


class EndHolds(Word, frozen=True, tag="end_holds"):
    """-> Done. Ends these holds; each comes with the `index` that the leader saw."""

    holds: tuple[tuple[InodeId, LogIndex], ...]


class SweepResults(Word, frozen=True, tag="sweep_results"):
    """-> Done. These files forget the results of sessions that have ended, as many as fit.

    One that is gone, or keeps none, is passed over.
    """

    inodes: tuple[InodeId, ...]


TailCommand = (
    PlaceTail
    | AbandonTails
    | OpenTail
    | FinishTail
    | RenewLeases
    | HoldInodes
    | EndHolds
    | SweepResults
)
