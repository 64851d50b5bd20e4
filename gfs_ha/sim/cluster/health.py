"""Whether a cluster has come to rest: all that counts is there, and nobody has anything to do."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.ids import NO_SESSION, ChunkId, InodeId, ServerId
from gfs_ha.master.rules import breaks
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.records import DEAD, OPEN, SEALED, Chunk, Replica, Server
from gfs_ha.master.state.tail_reads import tails_of_server
from gfs_ha.protocol.jobs import job_id
from gfs_ha.protocol.tally import BUCKETS, bucket_of, replica_hash
from gfs_ha.sim.cluster.bay import Bay
from gfs_ha.sim.cluster.truth import Truth, replicas_on
from gfs_ha.sim.masters.ledger import applied_mark
from gfs_ha.sim.masters.master import SimMaster

AGAINST_RULE = "lies against its rule"
_TAILS_MAX = 1000
_NUMBERS = struct.Struct(f">{BUCKETS}Q")


@dataclass(frozen=True, slots=True)
class _Picture:
    """The tables of whoever applied most."""

    chunks: dict[ChunkId, Chunk]
    servers: Mapping[ServerId, Server]
    rule: str  # Of placement, where a chunk names none.
    ready: frozenset[ChunkId]  # Tails that a leader keeps ready to be opened.
    led: frozenset[ChunkId]  # Tails whose primaries run as they did when these were opened.
    least_known: dict[tuple[str, int], int] = field(default_factory=dict)

    def least(self, rule: str, goal: int) -> int:
        """Return how far from a rule copies must lie at the least, on these servers."""
        known = self.least_known
        if (rule, goal) not in known:
            places = combinations(self.servers.values(), goal)
            known[rule, goal] = min((breaks(rule, goal, some) for some in places), default=0)
        return known[rule, goal]


def unrest(truth: Truth, masters: dict[str, SimMaster]) -> str:
    """Return what is still to be done; empty when nothing is."""
    if not any(master.leading for master in masters.values()):
        return "nobody leads"
    positions = {}
    for master in masters.values():
        with master.disk.held.read() as reader:
            positions[master.name] = applied_mark(reader)
    if len(set(positions.values())) > 1:
        return f"the masters applied up to {positions}"
    with truth.view() as view:
        settings = view.settings()
        if settings is None:
            return "the cluster has no settings yet"
        rows = view.servers()
        led = {
            tail.chunk_id
            for server_id, row in rows
            for _, tail in tails_of_server(view, server_id, InodeId(0), _TAILS_MAX)
            if tail.start_id == row.start_id
        }
        if view.counters().reapable:
            return "something is still to be reaped"
        for number, job in running_jobs(view):
            return f"job {job_id(job.kind, number)} is {job.phase}: {job.last_error or 'no error'}"
    if len(rows) < len(truth.servers):
        return f"{len(rows)} of {len(truth.servers)} chunkservers are known"
    ready = [
        chunk_id
        for master in masters.values()
        if master.desk is not None and master.desk.opener is not None
        for chunk_id in master.desk.opener.opening()
    ]
    picture = _Picture(
        dict(truth.chunks()), dict(rows), settings.rule, frozenset(ready), frozenset(led)
    )
    for chunk_id, chunk in picture.chunks.items():
        why = "" if chunk_id in picture.ready else _chunk_unrest(picture, chunk_id, chunk)
        if why:
            return f"chunk {chunk_id:#x} ({chunk.state}) {why}"
    return _disk_unrest(truth, picture)


def _chunk_unrest(picture: _Picture, chunk_id: ChunkId, chunk: Chunk) -> str:
    if chunk.state == DEAD:
        return (
            f"is not deleted on {[picture.servers[one.server_id].name for one in chunk.replicas]}"
        )
    if chunk.state == OPEN and chunk.tail_of:
        return "" if chunk_id in picture.led else "is open, and its primary leads it no more"
    if chunk.state != SEALED:
        return "is not sealed"
    if chunk.claimed_by != NO_SESSION:
        return f"is claimed by session {chunk.claimed_by}, which is over"
    if chunk.copying or chunk.deleting or chunk.late:
        return f"has orders: {chunk.copying} {chunk.deleting} {chunk.late}"
    names = [picture.servers[one].name for one in chunk.holders]
    if len(chunk.holders) != chunk.goal:
        return f"has copies on {names}, the goal is {chunk.goal}"
    spots = [picture.servers[one] for one in chunk.holders]
    rule = chunk.rule or picture.rule
    if breaks(rule, chunk.goal, spots) > picture.least(rule, chunk.goal):
        return f"{AGAINST_RULE} on {[f'{one.name} in {one.rack}' for one in spots]}"
    return ""


def _disk_unrest(truth: Truth, picture: _Picture) -> str:
    by_name = {row.name: server_id for server_id, row in picture.servers.items()}
    for server in truth.servers:
        server_id = by_name.get(server.name)
        store = server.store
        if server_id is None or store is None:
            return f"{server.name} does not serve"
        for bay in server.bays:
            shelf = next((one for one in store.shelves if one.directory == bay.name), None)
            if shelf is None or not server.serves(bay):
                return f"{bay.name} does not serve"
            why = _shelf_unrest(picture, server_id, shelf, bay)
            if why:
                return why
    return ""


def _shelf_unrest(picture: _Picture, server_id: ServerId, shelf: Shelf, bay: Bay) -> str:
    here = Replica(server_id, shelf.disk_id)
    numbers = [0] * BUCKETS
    for chunk_id, chunk in picture.chunks.items():
        if chunk.state == SEALED and server_id in chunk.holders and here in chunk.replicas:
            hashed = replica_hash(chunk_id, chunk.length)
            numbers[bucket_of(hashed)] ^= hashed
    if shelf.tally.packed() != _NUMBERS.pack(*numbers):
        return f"the tally of {bay.name} is not that of the tables"
    for chunk_id, slots in replicas_on(bay.disk).items():
        row = picture.chunks.get(chunk_id)
        known = row is not None and here in row.replicas
        if not known and any(one.name not in shelf.unidentified for one in slots):
            return f"{bay.name} has a stray of chunk {chunk_id:#x}"
    for name in bay.disk.names():
        reading = read_header(bay.disk, name) if name.endswith(".slot") else None
        # What could not be removed from a disk that failed for a moment goes with the next start.
        if bay.errors or reading is None:
            continue
        if reading.header.state in (State.COPYING, State.FREE):
            return f"{bay.name} keeps {name}, which is {reading.header.state.name}"
    return ""


def lacking(truth: Truth) -> str:
    """Return which chunk has fewer whole copies than the tables say."""
    disks = {bay.disk_id: bay for server in truth.servers for bay in server.bays}
    for chunk_id, chunk in truth.chunks():
        if chunk.state == SEALED:
            bays = [disks[one.disk_id] for one in chunk.replicas if one.disk_id in disks]
            whole = [bay.name for bay in bays if truth.lies_on(bay.disk, chunk_id, chunk)]
            if len(whole) < len(chunk.holders):
                return f"chunk {chunk_id:#x} is whole on {whole}, not on {len(chunk.holders)}"
    return ""
