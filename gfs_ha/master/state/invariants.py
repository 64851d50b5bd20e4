"""What must hold between the tables at every log index, and the fingerprint that replicas compare.

For tests, fuzzers and fsck: it reads everything.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from gfs_ha.ids import NO_SESSION, ROOT_INODE, ChunkId, ContentId, InodeId, ServerId, split_chunk_id
from gfs_ha.kv.ordered import Reader
from gfs_ha.master.state import (
    events,
    garbage_invariants,
    jobs,
    mutes,
    policy_invariants,
    records,
    scrubs,
    server_modes,
    tables,
    tail_invariants,
)
from gfs_ha.master.state.chunk_rows import below_goal, busy, leaving, surplus
from gfs_ha.master.state.records import DEAD, SEALED, SEALING, UNSEALED, Chunk
from gfs_ha.master.state.tables import TABLES, read_id, read_pair
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DIRECTORY, FILE

Check = Callable[[View], Iterator[str]]


def check_all(view: View) -> list[str]:
    """Return every violation, one line each; none is how it should be."""
    return [line for check in _CHECKS for line in check(view)]


def fingerprint(reader: Reader) -> str:
    """Return a digest over every row of every table: equal on replicas at the same log index."""
    digest = hashlib.blake2b(digest_size=16)
    for table in TABLES:
        digest.update(table.name.encode())
        for key, value in reader.scan(table.table):
            digest.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
    return digest.hexdigest()


def _check_names(view: View) -> Iterator[str]:
    """Each inode but the root has one name, or is the top of a detached tree."""
    inodes = {read_id(key): row for key, row in view.rows.scan(tables.INODES)}
    names: Counter[int] = Counter()
    children: Counter[int] = Counter()
    for key, entry in view.rows.scan(tables.DENTRIES):
        directory, name = read_id(key), tables.dentry_name(key)
        names[entry.inode_id] += 1
        children[directory] += 1
        inode = inodes.get(entry.inode_id)
        if inode is None or inode.kind != entry.kind:
            yield f"name {name!r} in {directory} leads to {entry.inode_id}, which is {inode}"
    tops = {read_id(key) for key, _ in view.rows.scan(tables.DETACHED_TREES)}
    for inode_id, inode in inodes.items():
        wanted = 0 if inode_id in tops or inode_id == ROOT_INODE else 1
        if names[inode_id] != wanted:
            yield f"inode {inode_id} has {names[inode_id]} names, not {wanted}"
        # A detached tree loses its names step by step; its count is never looked at again.
        counted = inode.kind == DIRECTORY and inode_id not in tops
        if counted and children[inode_id] != inode.entry_count:
            yield f"directory {inode_id} counts {inode.entry_count}, has {children[inode_id]}"
    for directory in children:
        if directory not in inodes:
            yield f"names lie in directory {directory}, which is not there"
    yield from _check_reachable(view, tops)


def _check_reachable(view: View, tops: set[int]) -> Iterator[str]:
    """No directory is its own ancestor: walking down from the tops meets every inode once."""
    seen: set[int] = set()
    todo = [int(ROOT_INODE), *tops]
    while todo:
        inode_id = todo.pop()
        if inode_id in seen:
            yield f"inode {inode_id} is met twice on the way down"
            continue
        seen.add(inode_id)
        todo.extend(child for _, child in view.entries(InodeId(inode_id)))
    for key, _ in view.rows.scan(tables.INODES):
        if read_id(key) not in seen and view.settings() is not None:
            yield f"inode {read_id(key)} hangs in no tree"


def _check_contents(view: View) -> Iterator[str]:
    """Each content belongs to one file, one session's staging or the reaper; without holes."""
    owners: dict[int, str] = {}
    for key, inode in view.rows.scan(tables.INODES):
        if inode.kind != FILE:
            continue
        yield from _own(owners, inode.content_id, f"inode {read_id(key)}")
        end = count = 0
        for extent in view.extents(inode.content_id):
            if extent.file_offset != end:
                yield f"content {inode.content_id} has a hole or overlap at {end}"
            end, count = extent.file_offset + extent.length, count + 1
        if (end, count) != (inode.size, inode.extent_count):
            said = (inode.size, inode.extent_count)
            yield f"inode {read_id(key)} has (size, extents) {(end, count)}, says {said}"
    for key, staged in view.rows.scan(tables.STAGED):
        content_id = read_pair(key)[1]
        yield from _own(owners, content_id, f"session {read_id(key)}")
        extents = list(view.extents(ContentId(content_id)))
        total = sum(extent.length for extent in extents)
        end = max((extent.file_offset + extent.length for extent in extents), default=0)
        if (len(extents), total, end) != (staged.extent_count, staged.total, staged.end):
            yield f"staged content {content_id} counts {staged}"
    for key, _ in view.rows.scan(tables.OLD_CONTENTS):
        yield from _own(owners, read_id(key), "the reaper")
    for key, _ in view.rows.scan(tables.EXTENTS):
        if read_id(key) not in owners:
            yield f"extents of content {read_id(key)}, which belongs to nobody"


def _own(owners: dict[int, str], content_id: int, owner: str) -> Iterator[str]:
    if content_id in owners:
        yield f"content {content_id} belongs to {owners[content_id]} and {owner}"
    owners[content_id] = owner


def _check_references(view: View) -> Iterator[str]:
    """References mirror extents, and lie within what their chunk keeps alive."""
    wanted = {}
    for key, extent in view.rows.scan(tables.EXTENTS):
        content_id, offset = read_pair(key)
        reference = tables.reference_key(
            extent.chunk_id, extent.chunk_offset, ContentId(content_id), offset
        )
        wanted[reference] = extent.length
    found = {key: row.length for key, row in view.rows.scan(tables.REFERENCES)}
    if wanted != found:
        yield f"{len(wanted.items() ^ found.items())} references differ from the extents"
    for key, length in found.items():
        chunk_id, offset, content_id, _ = tables.read_reference_key(key)
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state == DEAD:
            yield f"content {content_id} refers to chunk {chunk_id:#x}, which is gone"
        elif offset + length > (chunk.length if chunk.state == SEALED else chunk.published_end):
            yield f"content {content_id} refers to bytes beyond the end of chunk {chunk_id:#x}"


def _check_chunks(view: View) -> Iterator[str]:
    """Each chunk is in itself what its state says, and listed where it belongs."""
    chunks = {read_id(key): row for key, row in view.rows.scan(tables.CHUNKS)}
    placed = set()
    settings, counters = view.settings(), view.counters()
    for chunk_id, chunk in chunks.items():
        placed |= {(one.server_id, one.disk_id, chunk_id) for one in chunk.replicas}
        yield from _check_chunk(view, chunk_id, chunk)
        if settings and split_chunk_id(ChunkId(chunk_id)) > (
            settings.incarnation,
            counters.last_chunk,
        ):
            yield f"chunk {chunk_id:#x} lies above the counter {counters.last_chunk}"
    found = {tables.read_replica_key(key) for key, _ in view.rows.scan(tables.REPLICAS_BY_SERVER)}
    if placed != found:
        yield f"{len(placed ^ found)} rows of replicas_by_server differ from the chunks"
    counts = Counter(server_id for server_id, _, _ in placed)
    for key, row in view.rows.scan(tables.REPLICA_COUNTS):
        if counts.pop(ServerId(read_id(key)), 0) != row.count:
            yield f"server {read_id(key)} counts {row.count} replicas"
    if counts:
        yield f"servers without a count of replicas: {sorted(counts)}"
    for table, belongs in (
        (tables.UNSEALED_CHUNKS, lambda chunk: chunk.state in UNSEALED),
        (tables.DEAD_CHUNKS, lambda chunk: chunk.state == DEAD),
        (tables.TAIL_CHUNKS, lambda chunk: chunk.tail_of != 0),
        (tables.UNOPENED_TAILS, lambda chunk: chunk.unopened),
        (tables.UNDER_CHUNKS, below_goal),
        (tables.BUSY_CHUNKS, busy),
        (tables.SURPLUS_CHUNKS, surplus),
        (tables.LEAVING_CHUNKS, leaving),
    ):
        listed = {read_id(key) for key, _ in view.rows.scan(table)}
        if listed != {chunk_id for chunk_id, chunk in chunks.items() if belongs(chunk)}:
            yield f"{table.name} lists {sorted(listed)}"


def _check_chunk(view: View, chunk_id: int, chunk: Chunk) -> Iterator[str]:
    name = f"chunk {chunk_id:#x}"
    members = {replica.server_id for replica in chunk.replicas}
    if len(members) != len(chunk.replicas) or not members:
        yield f"{name} has replicas {chunk.replicas}"
    if chunk.state == SEALED:
        if not chunk.holders or not set(chunk.holders) <= members:
            yield f"{name} has holders {chunk.holders}"
        if not chunk.published_end <= chunk.length <= chunk.capacity:
            yield f"{name} ends at {chunk.length}, published to {chunk.published_end}"
    ordered = [one.server_id for one in chunk.copying + chunk.deleting]
    if not set(ordered) <= members or len(set(ordered)) != len(ordered):
        yield f"{name} has orders for {ordered}, places on {sorted(members)}"
    within = {one.server_id for one in chunk.copying if one.disk_id}
    if ordered and (chunk.state != SEALED or set(ordered) & set(chunk.holders) - within):
        yield f"{name} is {chunk.state} and has orders for {ordered}, holders {chunk.holders}"
    if chunk.leaving and not (surplus(chunk) and set(chunk.leaving) <= set(chunk.holders)):
        yield f"{name} lets {chunk.leaving} go, of holders {chunk.holders}"
    if chunk.state == SEALING and not chunk.begin_index:
        yield f"{name} is sealing without an order"
    alive = chunk.claimed_by != NO_SESSION or view.referenced(ChunkId(chunk_id))
    if (alive or bool(chunk.tail_of) or chunk.unopened) == (chunk.state == DEAD):
        yield f"{name} is {chunk.state}, claimed by {chunk.claimed_by}, referenced: {alive}"


def _check_sessions(view: View) -> Iterator[str]:
    """Claims mirror the chunks; answers and staged contents belong to a session that is known."""
    claimed = {
        (chunk.claimed_by, read_id(key))
        for key, chunk in view.rows.scan(tables.CHUNKS)
        if chunk.claimed_by != NO_SESSION
    }
    claims = {read_pair(key) for key, _ in view.rows.scan(tables.CLAIMS)}
    if claims != claimed:
        yield f"claims {sorted(claims)} differ from the chunks' {sorted(claimed)}"
    counts = Counter(session_id for session_id, _ in claims)
    sessions = {read_id(key): row for key, row in view.rows.scan(tables.SESSIONS)}
    ended = {read_id(key) for key, _ in view.rows.scan(tables.ENDED_SESSIONS)}
    for session_id, row in sessions.items():
        if row.claim_count != counts.pop(session_id, 0):
            yield f"session {session_id} counts {row.claim_count} claims"
        if session_id in ended:
            yield f"session {session_id} has ended and goes on"
    if counts:
        yield f"claims of sessions that are not there: {sorted(counts)}"
    for key, _ in view.rows.scan(tables.REPLIES):
        session_id, sequence = read_pair(key)
        if session_id in sessions and sequence < sessions[session_id].window_start:
            yield f"an answer of session {session_id} lies below its window"
        if session_id not in sessions and session_id not in ended:
            yield f"an answer of session {session_id}, which is not there"
    for key, _ in view.rows.scan(tables.STAGED):
        if read_id(key) not in sessions and read_id(key) not in ended:
            yield f"a content staged by session {read_id(key)}, which is not there"


def _check_counters(view: View) -> Iterator[str]:
    """What is counted step by step is what counting from scratch gives."""
    counters = view.counters()
    kinds = Counter(row.kind for _, row in view.rows.scan(tables.INODES))
    states: Counter[str] = Counter()
    copies: Counter[int] = Counter()
    for _, chunk in view.rows.scan(tables.CHUNKS):
        states[chunk.state] += 1
        if chunk.state != DEAD:
            copies[min(chunk.copies, 3)] += 1
    reapable = (
        tables.DETACHED_TREES,
        tables.OLD_CONTENTS,
        tables.OLD_RESULTS,
        tables.ENDED_SESSIONS,
    )
    wanted = {
        "files": kinds[FILE],
        "directories": kinds[DIRECTORY],
        "sessions": _size(view, tables.SESSIONS),
        "servers": _size(view, tables.SERVERS),
        "claims": _size(view, tables.CLAIMS),
        "open_chunks": states[records.OPEN],
        "sealing_chunks": states[SEALING],
        "sealed_chunks": states[SEALED],
        "dead_chunks": states[DEAD],
        "under_chunks": _size(view, tables.UNDER_CHUNKS),
        "reapable": sum(_size(view, table) for table in reapable),
        "chunks_without_copy": copies[0],
        "chunks_with_one": copies[1],
        "chunks_with_two": copies[2],
        "chunks_with_more": copies[3],
        "tails": _size(view, tables.TAILS),
        "unopened_tails": _size(view, tables.UNOPENED_TAILS),
        "holds": _size(view, tables.HOLDS),
        "append_files": _size(view, tables.APPEND_FILES),
        "gone_files": _size(view, tables.GONE_FILES),
    }
    for name, value in wanted.items():
        if getattr(counters, name) != value:
            yield f"counter {name} is {getattr(counters, name)}, counted {value}"


def _check_servers(view: View) -> Iterator[str]:
    """Names and disks lead to their server, each disk to one."""
    disks: dict[int, list[int]] = defaultdict(list)
    names = {}
    for server_id, server in view.servers():
        names[server.name.encode()] = server_id
        for disk in server.disks:
            disks[disk.disk_id].append(server_id)
    owners = {read_id(key): [row.server_id] for key, row in view.rows.scan(tables.DISKS)}
    if owners != dict(disks):
        yield f"disks {owners} differ from the servers' {dict(disks)}"
    if {key: row.server_id for key, row in view.rows.scan(tables.SERVER_NAMES)} != names:
        yield "the names of servers differ from the servers"


def _size(view: View, table: tables.RowTable[tables.Row]) -> int:
    return sum(1 for _ in view.rows.scan(table))


_CHECKS: tuple[Check, ...] = (
    _check_names,
    _check_contents,
    _check_references,
    _check_chunks,
    _check_sessions,
    _check_counters,
    _check_servers,
    tail_invariants.check_tails,
    tail_invariants.check_parents,
    tail_invariants.check_leases,
    tail_invariants.check_holds,
    tail_invariants.check_results,
    tail_invariants.check_keys,
    garbage_invariants.check_gone,
    garbage_invariants.check_orphans,
    scrubs.check_asked,
    server_modes.check_modes,
    jobs.check_jobs,
    events.check_events,
    mutes.check_mutes,
    policy_invariants.check_policies,
    policy_invariants.check_goals,
)
