"""The end of a server, or of a lost disk: its places are forgotten in steps, then its rows go.

The server is away for good and deletes nothing. What it held is forgotten only while as many
others hold it as the chunk wants (G3); should it come back after all, its replicas are strays,
which a comparison of tallies finds (G7). So it is with a disk that its server came back without.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from gfs_ha.errors import StaleCommand, UnknownServer
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.limits import GOAL_MAX, ITEMS_PER_COMMAND_MAX, SPARE_PLACES_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.chunk_rows import put_chunk
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.master.state.server_mode_commands import ForgetDisk, ForgetPlaces, RemoveServer
from gfs_ha.master.state.server_modes import known_server
from gfs_ha.master.state.tables import (
    ASKED_SCRUBS,
    DISK_MODES,
    DISKS,
    ORPHANS,
    REPLICAS_BY_SERVER,
    SERVER_MODES,
    SERVER_NAMES,
    SERVERS,
    below,
    id_key,
    pair_key,
)
from gfs_ha.master.state.tail_reads import lease_of
from gfs_ha.protocol.events import DISK, SERVER
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.server_modes import EMPTY, IN_SERVICE, LEAVING


@step(ForgetPlaces)
def forget_places(draft: Draft, command: ForgetPlaces) -> Done:
    """Forget places on a server that does not come back, those that nobody misses.

    Refuses: UnknownServer, LimitExceeded, InvalidArgument.
    """
    server_id = command.server_id
    known_server(draft, server_id)
    check_count("places", command.places, ITEMS_PER_COMMAND_MAX)
    check_range("orphans", command.orphans, 0, ITEMS_PER_COMMAND_MAX)
    check_range("disk", command.disk_id, 0, U64_MAX)
    for chunk_id, evidence in command.places:
        check_range("chunk", chunk_id, 0, U64_MAX)
        check_count("holders", evidence, GOAL_MAX + SPARE_PLACES_MAX)
        chunk = draft.view.chunk(chunk_id)
        if chunk is None or not _lies_on(chunk, server_id, command.disk_id):
            continue
        if not _missed(chunk, server_id, set(evidence)):
            _forget(draft, chunk_id, chunk, server_id)
    disk_id = command.disk_id
    found = draft.rows.scan(
        ORPHANS, *below(pair_key(server_id, disk_id) if disk_id else id_key(server_id))
    )
    for key in [key for key, _ in islice(found, command.orphans)]:
        draft.rows.delete(ORPHANS, key)
        draft.counters.orphans -= 1
    return Done()


def _lies_on(chunk: Chunk, server_id: ServerId, disk_id: DiskId) -> bool:
    """Return whether the place of a chunk on a server is on this disk; 0: on any."""
    places = (one for one in chunk.replicas if one.server_id == server_id)
    return any(disk_id in (0, one.disk_id) for one in places)


def _missed(chunk: Chunk, server_id: ServerId, evidence: set[ServerId]) -> bool:
    """Return whether a chunk cannot do without its place on a server."""
    if chunk.state == DEAD:
        return False
    others = set(chunk.holders) - {server_id}
    return chunk.state != SEALED or not evidence <= others or len(evidence) < chunk.goal


def _forget(draft: Draft, chunk_id: ChunkId, chunk: Chunk, server_id: ServerId) -> None:
    left = msgspec.structs.replace(
        chunk,
        replicas=tuple(one for one in chunk.replicas if one.server_id != server_id),
        holders=tuple(one for one in chunk.holders if one != server_id),
        copying=tuple(one for one in chunk.copying if one.server_id != server_id),
        deleting=tuple(one for one in chunk.deleting if one.server_id != server_id),
    )
    if left != chunk:
        put_chunk(draft, chunk_id, chunk, left if left.replicas else None)


@step(RemoveServer)
def remove_server(draft: Draft, command: RemoveServer) -> Done:
    """Take a server out of the tables that has nothing in them any more.

    Refuses: UnknownServer, StaleCommand, InvalidArgument.
    """
    server_id = command.server_id
    server = known_server(draft, server_id)
    mode = draft.view.server_mode(server_id).mode
    if mode != command.seen:
        raise StaleCommand(f"{server.name} is {mode} by now, not {command.seen}")
    count = draft.view.replica_count(server_id)
    if count:
        raise StaleCommand(f"{server.name} has {count} places of chunks still")
    if lease_of(draft.view, server_id) is not None:
        raise StaleCommand(f"{server.name} orders the appends to tails still")
    if next(draft.rows.scan(ORPHANS, *below(id_key(server_id))), None) is not None:
        raise StaleCommand(f"{server.name} has replicas of unknown chunks that are noted")
    for disk in server.disks:
        draft.rows.delete(DISKS, id_key(disk.disk_id))
        draft.rows.delete(DISK_MODES, pair_key(server_id, disk.disk_id))
    draft.rows.delete(SERVER_NAMES, server.name.encode())
    for table in (SERVERS, SERVER_MODES, ASKED_SCRUBS):
        draft.rows.delete(table, id_key(server_id))
    draft.counters.servers -= 1
    note_event(draft, SERVER, server.name, "removed from the cluster")
    return Done()


@step(ForgetDisk)
def forget_disk(draft: Draft, command: ForgetDisk) -> Done:
    """Take a lost disk out of the row of its server once nothing of it is in the tables.

    Refuses: UnknownServer, StaleCommand, InvalidArgument.
    """
    server_id, disk_id = command.server_id, command.disk_id
    check_range("disk", disk_id, 0, U64_MAX)
    server = known_server(draft, server_id)
    name = f"disk {format_id(disk_id)} of {server.name}"
    disk = next((one for one in server.disks if one.disk_id == disk_id), None)
    if disk is None:
        raise UnknownServer(f"{server.name} has no disk {format_id(disk_id)}")
    if not disk.lost:
        raise StaleCommand(f"{name} is not lost: its server came with it")
    key = pair_key(server_id, disk_id)
    row = draft.view.disk_mode(server_id, disk_id)
    mode = IN_SERVICE if row is None else row.mode
    if mode != command.seen or mode in LEAVING:
        raise StaleCommand(f"{name} is {mode}, not {command.seen} and at rest")
    if next(draft.rows.scan(REPLICAS_BY_SERVER, *below(key)), None) is not None:
        raise StaleCommand(f"{name} has places of chunks still")
    if next(draft.rows.scan(ORPHANS, *below(key)), None) is not None:
        raise StaleCommand(f"{name} has replicas of unknown chunks that are noted")
    left = tuple(one for one in server.disks if one.disk_id != disk_id)
    draft.rows.put(SERVERS, id_key(server_id), msgspec.structs.replace(server, disks=left))
    draft.rows.delete(DISKS, id_key(disk_id))
    draft.rows.delete(DISK_MODES, key)
    how = f"was {mode}, and its server came back without it" if mode in EMPTY else "was lost"
    note_event(draft, DISK, server.name, f"disk {format_id(disk_id)} is forgotten: it {how}")
    return Done()
