"""The end of a server: its places are forgotten in steps, then its rows go.

The server is away for good and deletes nothing. What it held is forgotten only while as many
others hold it as the chunk wants (G3); should it come back after all, its replicas are strays,
which a comparison of tallies finds (G7).
"""

from __future__ import annotations

from itertools import islice

import msgspec

from gfs_ha.errors import StaleCommand
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import GOAL_MAX, ITEMS_PER_COMMAND_MAX, SPARE_PLACES_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.chunk_rows import put_chunk
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.master.state.server_mode_commands import ForgetPlaces, RemoveServer
from gfs_ha.master.state.server_modes import known_server
from gfs_ha.master.state.tables import (
    ASKED_SCRUBS,
    DISK_MODES,
    DISKS,
    ORPHANS,
    SERVER_MODES,
    SERVER_NAMES,
    SERVERS,
    below,
    id_key,
    pair_key,
)
from gfs_ha.master.state.tail_reads import lease_of
from gfs_ha.protocol.events import SERVER
from gfs_ha.protocol.metadata import Done


@step(ForgetPlaces)
def forget_places(draft: Draft, command: ForgetPlaces) -> Done:
    """Forget places on a server that does not come back, those that nobody misses.

    Refuses: UnknownServer, LimitExceeded, InvalidArgument.
    """
    server_id = command.server_id
    known_server(draft, server_id)
    check_count("places", command.places, ITEMS_PER_COMMAND_MAX)
    check_range("orphans", command.orphans, 0, ITEMS_PER_COMMAND_MAX)
    for chunk_id, evidence in command.places:
        check_range("chunk", chunk_id, 0, U64_MAX)
        check_count("holders", evidence, GOAL_MAX + SPARE_PLACES_MAX)
        chunk = draft.view.chunk(chunk_id)
        if chunk is not None and not _missed(chunk, server_id, set(evidence)):
            _forget(draft, chunk_id, chunk, server_id)
    found = draft.rows.scan(ORPHANS, *below(id_key(server_id)))
    for key in [key for key, _ in islice(found, command.orphans)]:
        draft.rows.delete(ORPHANS, key)
        draft.counters.orphans -= 1
    return Done()


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
