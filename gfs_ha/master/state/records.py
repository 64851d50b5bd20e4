"""The rows of the replicated state: what is stored of settings, names, contents, chunks, servers.

Fields are only ever added at the end, with a default that means "as before".
"""

from __future__ import annotations

import msgspec

from gfs_ha.ids import (
    NO_SESSION,
    Birth,
    ChunkId,
    ContentId,
    DiskId,
    InodeId,
    LogIndex,
    ServerId,
    SessionId,
    StartId,
)
from gfs_ha.limits import PLACEMENT_RULE_DEFAULT
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import TAIL

# States of a chunk. A dead one keeps its row until every replica is known to be deleted.
OPEN = "open"
SEALING = "sealing"
SEALED = "sealed"
DEAD = "dead"
ALIVE = (OPEN, SEALING, SEALED)
UNSEALED = (OPEN, SEALING)


class Mark(Word, frozen=True):
    """The row of an index table: only its key says something."""


MARK = Mark()


class Settings(Word, frozen=True):
    """The cluster's settings, replicated by InitCluster (M1)."""

    schema: int
    cluster_id: str
    cluster_name: str
    incarnation: int
    chunk_bytes: int
    goal: int
    min_copies: int
    born_wall_ns: int
    rule: str = PLACEMENT_RULE_DEFAULT


class Counters(msgspec.Struct, array_like=True):
    """What is counted and numbered, and the cluster's clock: one row, so one page per command.

    The only mutable row: a draft holds one copy of its own and stores it once at its end.
    """

    cluster_ms: int = 0  # Cluster time (M6): advances only by a leader's elapsed time.
    stamp_base_ms: int = 0  # Cluster time at the first stamp of `stamp_term`.
    stamp_term: int = 0
    last_inode: int = 1
    last_content: int = 0
    last_chunk: int = 0  # 48-bit counter within the incarnation.
    last_session: int = 0
    last_server: int = 0
    files: int = 0
    directories: int = 0
    sessions: int = 0
    servers: int = 0
    claims: int = 0
    open_chunks: int = 0
    sealing_chunks: int = 0
    sealed_chunks: int = 0
    dead_chunks: int = 0
    under_chunks: int = 0  # Rows of the table of chunks below their goal.
    reapable: int = 0  # Detached trees, superseded contents, ended sessions.
    chunks_without_copy: int = 0  # Alive chunks by recorded copies, wherever these are now.
    chunks_with_one: int = 0
    chunks_with_two: int = 0
    chunks_with_more: int = 0
    tails: int = 0
    unopened_tails: int = 0
    holds: int = 0
    append_files: int = 0  # Files that keep results of appenders.
    last_lease_event: int = 0
    loosened: int = 0  # References that were reaped and claims that ended: chunks may hold less.
    orphans: int = 0  # Replicas of chunks without a row that are noted.
    policies: int = 0
    fits: int = 0  # Contents and chunks whose goals are being changed.
    gone_files: int = 0  # Files without a name whose results are kept for a while.
    last_job: int = 0
    ended_jobs: int = 0  # That are kept.
    last_event: int = 0
    noted: int = 0  # Things of which is written down how events told of them last.
    mutes: int = 0
    repaired_copies: int = 0  # That began to count and were no moves of a job, ever.
    repaired_bytes: int = 0

    @property
    def chunks(self) -> int:
        """Return the number of chunks that are alive."""
        return self.open_chunks + self.sealing_chunks + self.sealed_chunks


class Dentry(Word, frozen=True):
    """A name in a directory; the key is (directory, name)."""

    inode_id: InodeId
    kind: str
    born_index: LogIndex


class Inode(Word, frozen=True):
    """A file or directory. `extent_count` and `size` are those of the content it points to."""

    kind: str
    mode: int
    owner: str
    group: str
    mtime_ns: int
    born_index: LogIndex
    size: int = 0
    content_id: ContentId = ContentId(0)
    generation: int = 0
    extent_count: int = 0
    goal: int = 0  # 0: the cluster's setting.
    entry_count: int = 0  # Of a directory.
    parent: InodeId = InodeId(0)  # Of a directory; 0: unknown, or the root.
    rule: str = ""  # Of a file's future chunks; empty: the cluster's setting.
    chunk_bytes: int = 0  # The same; 0: the cluster's setting.


class ExtentRow(Word, frozen=True):
    """A run of a content's bytes; the key is (content, file offset)."""

    chunk_id: ChunkId
    chunk_offset: int
    length: int
    born_index: LogIndex
    crc: int | None = None


class Reference(Word, frozen=True):
    """What a content needs of a chunk; the key is (chunk, offset, content, file offset) (F4)."""

    length: int
    goal: int = 0  # How many copies the content wants; 0: as many as the cluster's setting.


class StagedContent(Word, frozen=True):
    """A content that nobody sees yet; the key is (session, content).

    Its extents never overlap, so it is without a hole when `total` equals `end`.
    """

    extent_count: int
    total: int
    end: int
    born_index: LogIndex
    said_goal: int = 0  # By its references; -1: these differ.


class Replica(Word, frozen=True, order=True):
    """A place of the chunk's set."""

    server_id: ServerId
    disk_id: DiskId


class PlaceOrder(Word, frozen=True, order=True):
    """What a server of the chunk's set is ordered to do; `order_index` numbers the order.

    `fresh`: of a copy, that the chunk had no place on the server before it; of a deletion, that
    the place did not count before it. `leaves`: the holder that is to go once the place counts;
    of a deletion, the server itself if it was the one to go. `disk_id`: of a copy from one disk of
    a holder to another one of its disks, where it is to lie; else 0.
    """

    server_id: ServerId
    order_index: LogIndex
    fresh: bool = False
    job: int = 0  # For which it is copied; 0: none.
    leaves: ServerId = ServerId(0)
    disk_id: DiskId = DiskId(0)


class Chunk(Word, frozen=True):
    """A chunk; the key is its id. Lengths and offsets in bytes.

    A place of a sealed chunk that is no holder is being copied to, is being deleted, or came late.
    """

    state: str
    kind: str
    durability: str
    capacity: int
    goal: int
    min_copies: int  # The setting, or the goal if that is smaller.
    replicas: tuple[Replica, ...]
    birth: Birth
    born_index: LogIndex
    claimed_by: SessionId = NO_SESSION
    published_end: int = 0
    begin_index: LogIndex = LogIndex(0)  # Of the BeginSeal; numbers fence and prove.
    reason: str = ""
    length: int = 0
    digest: int = 0
    holders: tuple[ServerId, ...] = ()
    sealed_index: LogIndex = LogIndex(0)  # Of the seal; numbers finish_seal.
    dead_index: LogIndex = LogIndex(0)  # Of the command that left no reference; numbers delete.
    copying: tuple[PlaceOrder, ...] = ()
    deleting: tuple[PlaceOrder, ...] = ()
    tail_of: InodeId = InodeId(0)  # The file at whose end it is open, or being sealed.
    rule: str = ""  # Where its copies go; empty: the cluster's setting.
    gone: bytes = b""  # Blocks that were given back, see protocol/gone.py (G8).
    punch_index: LogIndex = LogIndex(0)  # Numbers the orders to give them back.
    punching: tuple[ServerId, ...] = ()  # Holders that have not said that they did.
    compactor: ServerId = ServerId(0)  # The holder that copies what lives into another chunk.
    compact_index: LogIndex = LogIndex(0)  # Numbers its order.
    leaving: tuple[ServerId, ...] = ()  # Holders that go first, while there are more than wanted.

    @property
    def unopened(self) -> bool:
        """Return whether it is a tail that was placed and not opened yet (C10)."""
        return self.kind == TAIL and self.state == OPEN and not self.tail_of

    @property
    def late(self) -> tuple[Replica, ...]:
        """Return the places of a sealed chunk that do not count and have no order."""
        if self.state != SEALED:
            return ()
        known = {*self.holders, *(one.server_id for one in self.copying + self.deleting)}
        return tuple(replica for replica in self.replicas if replica.server_id not in known)

    @property
    def copies(self) -> int:
        """Return how many replicas count: holders once sealed, the whole set before."""
        return len(self.holders) if self.state == SEALED else len(self.replicas)


class Disk(Word, frozen=True):
    """A data directory of a server. `lost`: the server came back without it."""

    disk_id: DiskId
    total_bytes: int
    lost: bool = False
    directory: str = ""  # Where it was last, for people; empty: it was not told.


class Server(Word, frozen=True):
    """A chunkserver as it registered last; the key is its id."""

    name: str
    host: str
    port: int
    rack: str
    machine: str
    start_id: StartId
    boot_id: int
    disks: tuple[Disk, ...]


class DiskOwner(Word, frozen=True):
    """Whose a disk is; the key is the disk's id."""

    server_id: ServerId


class ServerName(Word, frozen=True):
    """Which server bears a name; the key is the name."""

    server_id: ServerId


class ReplicaCount(Word, frozen=True):
    """How many replicas the chunk table places on a server; the key is the server's id."""

    count: int


class Session(Word, frozen=True):
    """A client's session; the key is its id. Nothing at or above `window_start` is evicted."""

    client: str
    opened_ms: int  # Cluster time.
    last_ms: int
    window_start: int = 0
    claim_count: int = 0
    key: str = ""


class Claim(Word, frozen=True):
    """A chunk that a session claims; the key is (session, chunk)."""

    since_ms: int


class Reapable(Word, frozen=True):
    """A detached tree, a superseded content or an ended session; the key is its id."""

    since_index: LogIndex


MISTAKE_NEWS_NS = 3600 * 10**9


class InternalErrors(Word, frozen=True):
    """How often a step failed by our own mistake lately, and the newest case.

    "Lately": never an hour without one. Times are the leaders' wall times; 0 = not written down.
    """

    count: int
    last_index: LogIndex
    last_command: str
    last_message: str
    first_wall_ns: int = 0
    last_wall_ns: int = 0

    def old(self, wall_ns: int) -> bool:
        """Return whether the newest case is so long ago that it is no news any more."""
        return 0 < self.last_wall_ns < wall_ns - MISTAKE_NEWS_NS


class RepairBudget(Word, frozen=True):
    """How much repair may take, in bytes per second (0: no limit) and copies at once; one row."""

    cluster_bytes_per_s: int
    server_bytes_per_s: int
    copies_per_server: int
    copies: int


class LedTermRow(Word, frozen=True):
    """A term that was led; the key is (incarnation, term)."""

    member: str
    since_wall_ns: int
    index: LogIndex


class StateCheck(Word, frozen=True):
    """How the newest comparison of the masters' states ended; one row.

    `value` is the hash that a majority of all members has at `index`, empty if none has one.
    `diverged` names every master that differed and was not seen equal since.
    """

    index: LogIndex
    value: bytes
    agreed: tuple[str, ...]
    differing: tuple[str, ...]
    missing: tuple[str, ...]
    diverged: tuple[str, ...]
    cluster_ms: int
    wall_ns: int
