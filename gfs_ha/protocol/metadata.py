"""What clients ask of the leading master: names, contents, chunks, sessions.

A request that changes something and to which the leader adds nothing is also the replicated
command: the same Struct lies in the log. Its reply is what apply recorded.
"""

from __future__ import annotations

from gfs_ha.ids import (
    ANY_DISK,
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
from gfs_ha.limits import LIST_PAGE_DEFAULT
from gfs_ha.protocol.codec import Failure, Word
from gfs_ha.protocol.tickets import OperationPass

FILE, DIRECTORY = "file", "directory"  # Kinds of names.
PUT, TAIL = "put", "tail"  # Kinds of chunks.
DISK, MEMORY = "disk", "memory"  # Durabilities.


class Location(Word, frozen=True):
    """Where a replica lies, and how to reach it."""

    server_id: ServerId
    name: str
    host: str  # Address of the data port.
    port: int
    rack: str
    machine: str  # Name of the host, to recognise "the same machine".
    live: bool = True
    disk_id: DiskId = ANY_DISK  # Of that server; unknown where only the server is meant.
    ticket: bytes = b""  # For its data port, from the leader of a closed cluster.


class Extent(Word, frozen=True):
    """A run of a file's bytes, and the chunk and offset in the chunk where it lies."""

    file_offset: int
    chunk_id: ChunkId
    chunk_offset: int
    length: int
    crc: int | None = None  # CRC-32C of its bytes; None when it was split later.


class FileStatus(Word, frozen=True, tag="file_status"):
    """A name's facts. Sizes are bytes, times nanoseconds since 1970."""

    inode_id: InodeId
    kind: str
    size: int
    mode: int
    owner: str
    group: str
    mtime_ns: int
    content_id: ContentId = ContentId(0)
    generation: int = 0
    goal: int = 0
    entry_count: int = 0  # Of a directory.
    growing: bool = False  # It has an open tail; `size` counts what was reported of it (C10).


class DirectoryEntry(Word, frozen=True):
    name: str
    status: FileStatus


# Replies --------------------------------------------------------------------------------------


class Done(Word, frozen=True, tag="done"):
    """It is applied; there is nothing more to say."""


class SessionOpened(Word, frozen=True, tag="session_opened"):
    session_id: SessionId


class Listing(Word, frozen=True, tag="listing"):
    """One page of a directory, in byte order of the names."""

    entries: tuple[DirectoryEntry, ...]
    more: bool


class Removed(Word, frozen=True, tag="removed"):
    inode_id: InodeId
    kind: str


class ChunkAllocated(Word, frozen=True, tag="chunk_allocated"):
    """A fresh open chunk, claimed by the session; the first location is the head of the chain."""

    chunk_id: ChunkId
    birth: Birth
    capacity: int
    replicas: tuple[Location, ...]
    goal: int
    min_copies: int
    durability: str
    remarks: tuple[str, ...] = ()  # Why the placement is not what the rule wants, if so.
    pass_: OperationPass | None = None  # Of the tickets.


class ChunkSealed(Word, frozen=True, tag="chunk_sealed"):
    chunk_id: ChunkId
    length: int
    digest: int
    holders: tuple[ServerId, ...]


class Staged(Word, frozen=True, tag="staged"):
    content_id: ContentId
    end: int  # File offset up to which extents are staged.


class PublishedFile(Word, frozen=True):
    """How one file of a Publish went: `error` is empty, or a code of errors.py."""

    path: str
    error: str = ""
    message: str = ""
    inode_id: InodeId = InodeId(0)
    content_id: ContentId = ContentId(0)
    generation: int = 0


class Published(Word, frozen=True, tag="published"):
    files: tuple[PublishedFile, ...]


class ChunkLocations(Word, frozen=True):
    """What a reader needs of a chunk. `digest` is that of a sealed chunk, else 0."""

    chunk_id: ChunkId
    birth: Birth
    sealed: bool
    length: int  # Sealed length, or published end.
    digest: int
    replicas: tuple[Location, ...]
    pass_: OperationPass | None = None  # Of the tickets.


class FileTail(Word, frozen=True):
    """The open chunk at the end of a file, and who orders the appends to it."""

    chunk_id: ChunkId
    birth: Birth
    file_offset: int  # Where the chunk begins in the file.
    known_length: int  # Heard last; the primary may know more.
    primary: ServerId
    start_id: StartId  # Of the primary's process: a restarted one holds nothing (C10).
    granted_index: LogIndex
    replicas: tuple[Location, ...]  # In chain order, the primary first.
    pass_: OperationPass | None = None  # Of the tickets.


class FileOpened(Word, frozen=True, tag="file_opened"):
    """A pinned content: its first (or next) extents in order, and where their chunks lie."""

    status: FileStatus
    extents: tuple[Extent, ...]
    chunks: tuple[ChunkLocations, ...]
    more: bool
    tail: FileTail | None = None  # With the last extents; `status.size` counts what it reported.


class Located(Word, frozen=True, tag="located"):
    """Locations of the chunks that exist; unknown ones are missing."""

    chunks: tuple[ChunkLocations, ...]


# Requests that read ---------------------------------------------------------------------------


class Stat(Word, frozen=True, tag="stat"):
    """-> FileStatus. Raises: NotFound, NotADirectory, InvalidPath."""

    path: str


class ListDirectory(Word, frozen=True, tag="list_directory"):
    """-> Listing of at most `limit` names above `after`. A file is NotADirectory."""

    path: str
    after: str = ""
    limit: int = LIST_PAGE_DEFAULT


class OpenFile(Word, frozen=True, tag="open_file"):
    """-> FileOpened, extents from `offset` on, at most `limit`; pins (content, generation)."""

    path: str
    offset: int = 0
    limit: int = 500


class ReadExtents(Word, frozen=True, tag="read_extents"):
    """-> FileOpened, the next extents of a pinned content. Raises: FileChanged when it is gone."""

    inode_id: InodeId
    content_id: ContentId
    generation: int
    offset: int
    limit: int = 500


class Locate(Word, frozen=True, tag="locate"):
    """-> Located; asked again when every known replica failed."""

    chunk_ids: tuple[ChunkId, ...]


class Renew(Word, frozen=True, tag="renew"):
    """-> Done. Says that the session is alive (no proposal). Raises: SessionExpired."""


class ReportReplica(Word, frozen=True, tag="report_replica"):
    """-> Done. A reader or writer could not use a replica: soft news for the leader."""

    chunk_id: ChunkId
    server_id: ServerId
    problem: str


# Requests that change (also replicated commands) ------------------------------------------------


class OpenSession(Word, frozen=True, tag="open_session"):
    """-> SessionOpened. Sent without a session.

    With a `key`, the session that bears it already, if it still lives: for the records of a writer
    that must be the same one after it was started again (C8). At most 255 bytes.
    """

    client: str
    key: str = ""


class CloseSession(Word, frozen=True, tag="close_session"):
    """-> Done. Releases the session's claims and discards what it staged and did not publish."""


class Mkdir(Word, frozen=True, tag="mkdir"):
    """-> FileStatus of the directory. With `parents`, existing directories are no error."""

    path: str
    mode: int = 0o777
    owner: str = ""
    group: str = ""
    parents: bool = False


class Rename(Word, frozen=True, tag="rename"):
    """-> Done. As rename(2): replaces a file by a file or an empty directory by a directory."""

    source: str
    target: str
    replace: bool = True  # False: AlreadyExists when the target exists.


class Remove(Word, frozen=True, tag="remove"):
    """-> Removed. A directory that is not empty wants `recursive`; it is detached, then reaped."""

    path: str
    recursive: bool = False


class SetAttributes(Word, frozen=True, tag="set_attributes"):
    """-> FileStatus. None leaves a field as it is."""

    path: str
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    mtime_ns: int | None = None


class FinishChunk(Word, frozen=True, tag="finish_chunk"):
    """-> ChunkSealed. The writer seals its own: each holder acknowledged `length` bytes (C5).

    If the chunk was sealed otherwise before, the answer is that seal, not an error.
    """

    chunk_id: ChunkId
    length: int
    digest: int
    holders: tuple[ServerId, ...]


class StageExtents(Word, frozen=True, tag="stage_extents"):
    """-> Staged. Adds extents to a content that nobody sees yet; content 0 starts a new one.

    Extents in an open chunk end at most where *all* its replicas acknowledged (C5).
    """

    content_id: ContentId
    extents: tuple[Extent, ...]


class PublishFile(Word, frozen=True):
    """One file of a Publish: a staged content, or extents right here (small files, empty files)."""

    path: str
    size: int
    mode: int
    mtime_ns: int
    content_id: ContentId = ContentId(0)
    extents: tuple[Extent, ...] = ()
    owner: str = ""
    group: str = ""
    if_absent: bool = False
    goal: int = 0  # 0: the cluster's setting.


class Publish(Word, frozen=True, tag="publish"):
    """-> Published. Flips each inode to its new content, old or new, never a mixture (F2).

    `make_parents` creates missing directories on the way. `release` gives up claims afterwards.
    """

    files: tuple[PublishFile, ...]
    release: tuple[ChunkId, ...] = ()
    make_parents: bool = False


class ReleaseChunks(Word, frozen=True, tag="release_chunks"):
    """-> Done. The session ends its claims; a chunk without references is dead at once (C11)."""

    chunk_ids: tuple[ChunkId, ...]


# Requests to which the leader adds something ------------------------------------------------------


class AllocateChunk(Word, frozen=True, tag="allocate_chunk"):
    """-> ChunkAllocated. Raises: NoServers, NoSpace."""

    kind: str = PUT
    durability: str = DISK
    goal: int = 0  # 0: the cluster's setting.
    machine: str = ""
    rack: str = ""
    failed: tuple[ServerId, ...] = ()  # Servers that this client saw fail lately (G6).
    rule: str = ""  # Of placement; empty: the cluster's setting.
    chunk_bytes: int = 0  # 0: the cluster's setting.
    failed_disks: tuple[DiskId, ...] = ()  # The same of disks: others of their servers may do.


class SealChunk(Word, frozen=True, tag="seal_my_chunk"):
    """-> ChunkSealed once the leader sealed the session's own broken chunk (C2-C4), or Busy."""

    chunk_id: ChunkId
    failed: tuple[ServerId, ...] = ()
    failed_disks: tuple[DiskId, ...] = ()  # Of servers in `failed` that could be reached.


ReadRequest = Stat | ListDirectory | OpenFile | ReadExtents | Locate | Renew | ReportReplica
PureMutation = (
    OpenSession
    | CloseSession
    | Mkdir
    | Rename
    | Remove
    | SetAttributes
    | FinishChunk
    | StageExtents
    | Publish
    | ReleaseChunks
)
LedMutation = AllocateChunk | SealChunk
MetadataReply = (
    Failure
    | Done
    | SessionOpened
    | FileStatus
    | Listing
    | Removed
    | ChunkAllocated
    | ChunkSealed
    | Staged
    | Published
    | FileOpened
    | Located
)
