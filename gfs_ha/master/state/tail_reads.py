"""Typed reads of tails, leases, holds and results of records, for steps, handlers and planners.

Like View: one moment of the state, lists bounded by a `limit`, going on `after` the last key.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from gfs_ha.errors import Refused
from gfs_ha.ids import ROOT_INODE, ChunkId, InodeId, ServerId, SessionId
from gfs_ha.master.state import tables
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import below, id_key, pair_key, read_id, read_pair
from gfs_ha.master.state.tail_records import AppendFile, Hold, Lease, Tail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.append import AppendResult, LeaseEvent
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DIRECTORY


class RecordsKnown(Word, frozen=True):
    """What a file's table says of records of an appender, for a grant (C8).

    `expired`: some of them may have been there and forgotten, so nothing is known of the others.
    """

    results: tuple[AppendResult, ...] = ()
    window_start: int = 0
    expired: bool = False


# Tails ------------------------------------------------------------------------------------------


def tail_of(view: View, inode_id: InodeId) -> Tail | None:
    """Return the open or sealing tail of a file."""
    return view.rows.get(tables.TAILS, id_key(inode_id))


def keeps_name(view: View, inode_id: InodeId, tail: Tail) -> bool:
    """Return whether a file is called as when its tail was opened; who appends follows the name."""
    try:
        return view.resolve(tail.path).inode_id == inode_id
    except Refused:
        return False


def tails_of_server(
    view: View, server_id: ServerId, after: InodeId, limit: int
) -> list[tuple[InodeId, Tail]]:
    """Return the tails whose primary is a server, of any of its runs, by inode above `after`."""
    _, end = below(id_key(server_id))
    found = view.rows.scan(tables.TAILS_BY_SERVER, pair_key(server_id, after + 1), end)
    keys = [InodeId(read_pair(key)[1]) for key, _ in islice(found, limit)]
    return [(inode_id, _listed(view, inode_id)) for inode_id in keys]


def open_tails(view: View, after: ChunkId, limit: int) -> list[tuple[ChunkId, InodeId, Tail]]:
    """Return the tails that are open or being sealed, by chunk above `after`."""
    found = []
    for key, _ in islice(view.rows.scan(tables.TAIL_CHUNKS, id_key(after + 1)), limit):
        chunk = view.rows.get(tables.CHUNKS, key)
        assert chunk is not None, f"tail {read_id(key):#x} is not there"
        found.append((ChunkId(read_id(key)), chunk.tail_of, _listed(view, chunk.tail_of)))
    return found


def unopened_tails(view: View, after: ChunkId, limit: int) -> list[tuple[ChunkId, Chunk]]:
    """Return the tails that were placed and not opened (yet), above `after`."""
    found = []
    for key, _ in islice(view.rows.scan(tables.UNOPENED_TAILS, id_key(after + 1)), limit):
        chunk = view.rows.get(tables.CHUNKS, key)
        assert chunk is not None, f"placed tail {read_id(key):#x} is not there"
        found.append((ChunkId(read_id(key)), chunk))
    return found


def tails_below(view: View, inode_id: InodeId, limit: int) -> list[tuple[InodeId, Tail]]:
    """Return tails of a file, or of files below a directory, at most `limit`.

    A directory made by an older release does not know where it lies: tails in it count as below.
    """
    row = view.inode(inode_id)
    if row is None:
        return []
    if row.kind != DIRECTORY:
        tail = tail_of(view, inode_id)
        return [] if tail is None else [(inode_id, tail)]
    if inode_id != ROOT_INODE and not row.entry_count:
        return []
    found: list[tuple[InodeId, Tail]] = []
    known = {inode_id: True, ROOT_INODE: inode_id == ROOT_INODE}
    for directory in _tail_directories(view.rows):
        if not _lies_below(view, directory, known):
            continue
        listed = view.rows.scan(tables.TAILS_BY_DIRECTORY, *below(id_key(directory)))
        for key, _ in islice(listed, limit - len(found)):
            below_id = InodeId(read_pair(key)[1])
            found.append((below_id, _listed(view, below_id)))
        if len(found) >= limit:
            break
    return found


def _tail_directories(rows: Rows) -> Iterator[InodeId]:
    """Yield the directories in which a file with a tail lies."""
    start: bytes | None = b""
    while start is not None:
        key, _ = next(rows.scan(tables.TAILS_BY_DIRECTORY, start), (None, None))
        if key is None:
            return
        yield InodeId(read_id(key))
        start = below(key[:8])[1]


def _lies_below(view: View, directory: InodeId, known: dict[InodeId, bool]) -> bool:
    """Return whether the way up from a directory meets what `known` says is at or below."""
    way = []
    current = directory
    while current not in known:
        way.append(current)
        row = view.inode(current)
        assert row is not None, f"a tail lies in directory {current}, which is not there"
        if not row.parent:
            known[current] = True  # Unknown counts as below.
            break
        current = row.parent
    answer = known[current]
    known.update(dict.fromkeys(way, answer))
    return answer


def _listed(view: View, inode_id: InodeId) -> Tail:
    tail = tail_of(view, inode_id)
    assert tail is not None, f"inode {inode_id} is listed with a tail that is not there"
    return tail


# Leases and holds -------------------------------------------------------------------------------


def lease_of(view: View, server_id: ServerId) -> Lease | None:
    """Return the lease of a server, also one that ran out while its tails are being sealed."""
    return view.rows.get(tables.LEASES, id_key(server_id))


def leases(view: View) -> list[tuple[ServerId, Lease]]:
    """Return all leases; there is at most one for each server."""
    return [(ServerId(read_id(key)), row) for key, row in view.rows.scan(tables.LEASES)]


def why_ended(tail: Tail, lease: Lease | None, cluster_ms: int) -> str:
    """Return why the lease under which a tail was opened does not stand any more; empty: it does.

    Such a tail is to be sealed. Nothing unsafe happens before: its replicas are fenced first.
    """
    if lease is None or lease.start_id != tail.start_id:
        return "the primary started again"
    if tail.granted_index < lease.granted_index or lease.until_ms <= cluster_ms:
        return "its lease ended"
    return ""


def lease_events(view: View, limit: int) -> list[LeaseEvent]:
    """Return what happened to leases, the newest first."""
    found = islice(view.rows.scan(tables.LEASE_EVENTS, reverse=True), limit)
    told = []
    for _, row in found:
        server = view.server(row.server_id)
        told.append(
            LeaseEvent(
                index=row.index,
                wall_ns=row.wall_ns,
                kind=row.kind,
                chunk_id=row.chunk_id,
                inode_id=row.inode_id,
                path=row.path,
                holder=server.name if server else str(row.server_id),
                epoch=row.epoch,
                reason=row.reason,
            )
        )
    return told


def hold_on(view: View, inode_id: InodeId) -> Hold | None:
    """Return the hold on an inode, also one that counts no more (see Hold.stands)."""
    return view.rows.get(tables.HOLDS, id_key(inode_id))


def holds_after(view: View, after: InodeId, limit: int) -> list[tuple[InodeId, Hold]]:
    """Return holds, void ones too, by inode above `after`."""
    found = islice(view.rows.scan(tables.HOLDS, id_key(after + 1)), limit)
    return [(InodeId(read_id(key)), row) for key, row in found]


# Results of records -----------------------------------------------------------------------------


def append_file(view: View, inode_id: InodeId) -> AppendFile | None:
    """Return whose results a file keeps; None when nothing was ever appended to it."""
    return view.rows.get(tables.APPEND_FILES, id_key(inode_id))


def append_files(view: View, after: InodeId, limit: int) -> list[tuple[InodeId, AppendFile]]:
    """Return whose results files keep, by inode above `after`."""
    found = islice(view.rows.scan(tables.APPEND_FILES, id_key(after + 1)), limit)
    return [(InodeId(read_id(key)), row) for key, row in found]


def gone_since_ms(view: View) -> int | None:
    """Return since when the file is gone that is gone longest and whose results are kept."""
    return next((row.since_ms for _, row in view.rows.scan(tables.GONE_FILES)), None)


def records_known(
    view: View, inode_id: InodeId, appender: SessionId, sequences: tuple[int, ...]
) -> RecordsKnown:
    """Return what lies in the sealed chunks of a file of these records of an appender (C8)."""
    wanted = set(sequences)
    row = view.rows.get(tables.APPEND_RESULTS, pair_key(inode_id, appender))
    file = append_file(view, inode_id) if wanted else None
    if wanted and file is None and view.inode(inode_id) is None:
        return RecordsKnown(expired=True)  # It is gone for long, and its results with it.
    blurred = file is not None and appender <= file.blurred
    if row is None:
        return RecordsKnown(expired=file is not None and (blurred or appender <= file.horizon))
    found = tuple(result for result in row.results if result.sequence in wanted)
    lacking = wanted - {result.sequence for result in found}
    expired = any(
        row.window_start <= one and (blurred or one < row.forgotten_below) for one in lacking
    )
    return RecordsKnown(found, row.window_start, expired)
