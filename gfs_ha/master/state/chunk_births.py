"""How a chunk comes into the table, whoever will write it: open, with its places and its birth."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.errors import InvalidArgument, TooFewCopies, UnknownServer
from gfs_ha.ids import NO_SESSION, ChunkId, DiskId, ServerId, SessionId, format_id, make_chunk_id
from gfs_ha.limits import GOAL_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_chunk_bytes, check_range, check_rule
from gfs_ha.master.state.chunk_rows import put_chunk
from gfs_ha.master.state.draft import Draft
from gfs_ha.master.state.locations import LocationReader
from gfs_ha.master.state.records import OPEN, Chunk, Replica
from gfs_ha.master.state.server_modes import require_service
from gfs_ha.protocol.metadata import DISK, MEMORY, ChunkAllocated

Places = tuple[tuple[ServerId, DiskId], ...]


@dataclass(frozen=True, slots=True)
class NewChunk:
    """What a new chunk is to be; 0 and empty stand for the cluster's setting."""

    kind: str
    durability: str
    goal: int
    places: Places
    claimed_by: SessionId = NO_SESSION
    remarks: tuple[str, ...] = ()
    rule: str = ""
    capacity: int = 0


def bear(draft: Draft, wanted: NewChunk) -> ChunkAllocated:
    """Write the row of a fresh open chunk, and return what its writer is told (C1).

    Refuses: TooFewCopies, UnknownServer, InvalidArgument.
    """
    settings = draft.settings
    check_range("goal", wanted.goal, 0, GOAL_MAX)
    if wanted.rule:
        check_rule(wanted.rule)
    if wanted.capacity:
        check_chunk_bytes(wanted.capacity)
    goal = wanted.goal or settings.goal
    min_copies = min(settings.min_copies, goal)
    if wanted.durability not in (DISK, MEMORY):
        raise InvalidArgument(f"no chunk can be of durability {wanted.durability!r}")
    replicas = _check_places(draft, wanted.places, goal, min_copies)
    draft.counters.last_chunk += 1
    chunk_id: ChunkId = make_chunk_id(settings.incarnation, draft.counters.last_chunk)
    chunk = Chunk(
        state=OPEN,
        kind=wanted.kind,
        durability=wanted.durability,
        capacity=wanted.capacity or settings.chunk_bytes,
        goal=goal,
        min_copies=min_copies,
        replicas=replicas,
        birth=draft.epoch,
        born_index=draft.stamp.index,
        claimed_by=wanted.claimed_by,
        rule=wanted.rule,
    )
    put_chunk(draft, chunk_id, None, chunk)
    return ChunkAllocated(
        chunk_id=chunk_id,
        birth=chunk.birth,
        capacity=chunk.capacity,
        replicas=LocationReader(draft.rows).replicas(chunk),
        goal=goal,
        min_copies=min_copies,
        durability=chunk.durability,
        remarks=wanted.remarks,
    )


def _check_places(
    draft: Draft, replicas: tuple[tuple[ServerId, DiskId], ...], goal: int, min_copies: int
) -> tuple[Replica, ...]:
    """Return the places of a new chunk. Raises: TooFewCopies, UnknownServer, InvalidArgument."""
    count = len(replicas)
    if count < min_copies:
        raise TooFewCopies(f"{count} servers for a chunk, {min_copies} are needed")
    if count > goal or len({server_id for server_id, _ in replicas}) != count:
        raise InvalidArgument(f"{count} replicas do not fit a goal of {goal} different servers")
    for server_id, disk_id in replicas:
        check_range("server", server_id, 0, U64_MAX)
        server = draft.view.server(server_id)
        disks = () if server is None else server.disks
        if not any(disk.disk_id == disk_id and not disk.lost for disk in disks):
            raise UnknownServer(f"server {server_id} has no disk {format_id(disk_id)}")
        require_service(draft, server_id, disk_id)
    return tuple(Replica(server_id, disk_id) for server_id, disk_id in replicas)
