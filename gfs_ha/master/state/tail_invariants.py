"""What must hold between tails, leases, holds, results of records and the tables around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gfs_ha.ids import InodeId, ServerId
from gfs_ha.limits import (
    APPEND_WINDOW,
    APPENDERS_PER_FILE_MAX,
    GONE_FILES_MAX,
    LEASE_EVENTS_MAX,
    TAILS_PER_SERVER_MAX,
)
from gfs_ha.master.state import tables
from gfs_ha.master.state.records import UNSEALED
from gfs_ha.master.state.tables import id_key, read_id, read_pair
from gfs_ha.master.state.tail_records import AppendResults, Tail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DIRECTORY, FILE, TAIL


def check_tails(view: View) -> Iterator[str]:
    """A tail is an unsealed chunk at the end of a file that has a name; listed where it belongs."""
    tails = {InodeId(read_id(key)): row for key, row in view.rows.scan(tables.TAILS)}
    chunks = {
        chunk.tail_of: read_id(key) for key, chunk in view.rows.scan(tables.CHUNKS) if chunk.tail_of
    }
    if chunks != {inode_id: tail.chunk_id for inode_id, tail in tails.items()}:
        yield f"tails {tails} differ from those of the chunks {chunks}"
    for inode_id, tail in tails.items():
        yield from _check_tail(view, inode_id, tail)
    for table, wanted in (
        (tables.TAILS_BY_SERVER, {(tail.server_id, one) for one, tail in tails.items()}),
        (tables.TAILS_BY_DIRECTORY, {(tail.directory, one) for one, tail in tails.items()}),
    ):
        listed = {read_pair(key) for key, _ in view.rows.scan(table)}
        if listed != wanted:
            yield f"{table.name} lists {sorted(listed)}, not {sorted(wanted)}"


def _check_tail(view: View, inode_id: InodeId, tail: Tail) -> Iterator[str]:
    name = f"the tail of inode {inode_id}"
    chunk = view.chunk(tail.chunk_id)
    if chunk is None or chunk.kind != TAIL or chunk.state not in UNSEALED:
        yield f"{name} is chunk {tail.chunk_id:#x}, which is {chunk and (chunk.kind, chunk.state)}"
    elif chunk.replicas[0].server_id != tail.server_id:
        yield f"{name} has the primary {tail.server_id}, which is not its head"
    elif chunk.published_end:
        yield f"{name} is published up to {chunk.published_end}"
    inode = view.inode(inode_id)
    if inode is None or inode.kind != FILE or inode.size != tail.file_offset:
        yield f"{name} begins at {tail.file_offset} of {inode}"
    found = view.entries(tail.directory)
    if inode_id not in {child for _, child in found}:
        yield f"{name} lies in directory {tail.directory}, its file does not"
    current = view.inode(tail.directory)
    way = [tail.directory]
    while current is not None and current.parent and len(way) < 10_000:
        way.append(current.parent)
        current = view.inode(current.parent)
    tops = {read_id(key) for key, _ in view.rows.scan(tables.DETACHED_TREES)}
    if tops & {*way}:
        yield f"{name} lies in a tree that was removed"


def check_parents(view: View) -> Iterator[str]:
    """A directory that knows where it lies is right; its old place means nothing once detached."""
    tops = {read_id(key) for key, _ in view.rows.scan(tables.DETACHED_TREES)}
    for key, entry in view.rows.scan(tables.DENTRIES):
        inode = view.inode(entry.inode_id)
        if inode is None or inode.kind != DIRECTORY or entry.inode_id in tops:
            continue
        if inode.parent not in (0, read_id(key)):
            yield f"directory {entry.inode_id} lies in {read_id(key)}, says in {inode.parent}"


def check_leases(view: View) -> Iterator[str]:
    """A server has a lease while it is the primary of tails; history is bounded and whole."""
    counts = Counter(row.server_id for _, row in view.rows.scan(tables.TAILS))
    for key, lease in view.rows.scan(tables.LEASES):
        count = counts.pop(ServerId(read_id(key)), 0)
        if not 0 < count == lease.tail_count <= TAILS_PER_SERVER_MAX:
            yield f"the lease of server {read_id(key)} counts {lease.tail_count} tails, has {count}"
        if not lease.since_ms < lease.until_ms:
            yield f"the lease of server {read_id(key)} ends before it begins: {lease}"
    if counts:
        yield f"servers are primaries without a lease: {dict(counts)}"
    last = view.counters().last_lease_event
    events = [read_id(key) for key, _ in view.rows.scan(tables.LEASE_EVENTS)]
    if events != list(range(max(1, last - LEASE_EVENTS_MAX + 1), last + 1)):
        yield f"{len(events)} lease events, the last has number {last}"


def check_holds(view: View) -> Iterator[str]:
    """Only what exists is held."""
    for key, _ in view.rows.scan(tables.HOLDS):
        if view.rows.get(tables.INODES, key) is None:
            yield f"inode {read_id(key)} is held and does not exist"


def check_results(view: View) -> Iterator[str]:
    """Results are those of files that exist, or wait for the reaper; each within its window."""
    wanted = set()
    gone = {read_pair(key)[1] for key, _ in view.rows.scan(tables.GONE_FILES)}
    if len(gone) > GONE_FILES_MAX:
        yield f"the results of {len(gone)} files that are gone are kept"
    for key, file in view.rows.scan(tables.APPEND_FILES):
        inode = view.rows.get(tables.INODES, key)
        if (inode is None) != (read_id(key) in gone):
            yield f"results of inode {read_id(key)}, which is {inode}; gone are {sorted(gone)}"
        elif inode is not None and inode.kind != FILE:
            yield f"results of inode {read_id(key)}, which is {inode}"
        appenders = [appender for appender, _ in file.uses]
        if not len(set(appenders)) == len(appenders) <= APPENDERS_PER_FILE_MAX:
            yield f"inode {read_id(key)} has {len(appenders)} appenders, {len(set(appenders))} once"
        indexes = [index for _, index in file.uses]
        if indexes != sorted(indexes):
            yield f"the appenders of inode {read_id(key)} are not in the order of their use"
        wanted |= {(read_id(key), appender) for appender in appenders}
    old = {read_id(key) for key, _ in view.rows.scan(tables.OLD_RESULTS)}
    found = set()
    for key, row in view.rows.scan(tables.APPEND_RESULTS):
        if read_id(key) not in old:
            found.add(read_pair(key))
        yield from _check_window(read_pair(key), row)
    if found != wanted:
        yield f"results of {sorted(found ^ wanted)} differ from what their files say"
    for inode_id in old:
        if view.rows.get(tables.INODES, id_key(inode_id)) is not None:
            yield f"the results of inode {inode_id} are reaped, and it is there"


def _check_window(key: tuple[int, int], row: AppendResults) -> Iterator[str]:
    sequences = [result.sequence for result in row.results]
    if sequences != sorted(set(sequences)):
        yield f"results of {key} are not in order: {sequences}"
    if any(not 0 <= sequence - row.window_start < APPEND_WINDOW for sequence in sequences):
        yield f"results of {key} lie outside of the window from {row.window_start}: {sequences}"


def check_keys(view: View) -> Iterator[str]:
    """Keys of sessions mirror the sessions."""
    keys = {key: row.session_id for key, row in view.rows.scan(tables.SESSION_KEYS)}
    wanted = {
        row.key.encode(): read_id(key) for key, row in view.rows.scan(tables.SESSIONS) if row.key
    }
    if keys != wanted:
        yield f"session keys {keys} differ from the sessions' {wanted}"
