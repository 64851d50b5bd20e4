"""A person's order to verify a chunk: every holder reads its copy and compares it (C4, D3)."""

from __future__ import annotations

from gfs_ha.errors import UnknownChunk, WrongState
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.master.census import lost_disks
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.observed import DAMAGED, LIVE, QUARANTINED
from gfs_ha.master.orders import COMPARE
from gfs_ha.master.reign import Reign
from gfs_ha.master.repairing import failed_disks
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import CompareReplica, Heartbeat, OrderFailed
from gfs_ha.protocol.damage import (
    BUSY,
    CORRUPT,
    INTACT,
    UNREACHABLE,
    WAITING,
    VerifiedChunk,
    VerifiedReplica,
    VerifyChunk,
)

_LATER = "another order about it is under way; verify again"
_GONE = ("UnknownReplica", "WrongBirth", "NotFound")


def verify_chunk(desk: Desk, request: VerifyChunk, slot: Slot) -> None:
    """Have every holder read its copy, and answer when all have, or the deadline is near.

    Raises: UnknownChunk, WrongState (only what is sealed has a digest), Overloaded.
    """
    reign = desk.leading()
    now_s = desk.now_s()
    if reign.checks.known(request.chunk_id, slot, now_s):
        return
    with desk.kv.read() as reader:
        view = View(reader)
        chunk = view.chunk(request.chunk_id)
        if chunk is None or chunk.state == DEAD:
            raise UnknownChunk(f"there is no chunk {format_id(request.chunk_id)}")
        if chunk.state != SEALED:
            raise WrongState(
                f"chunk {format_id(request.chunk_id)} is {chunk.state}; it can be verified once it"
                " is sealed"
            )
        end = (chunk.sealed_index, chunk.length, chunk.digest)
        order = CompareReplica(request.chunk_id, chunk.birth, *end)
        rows = _rows(desk, reign, view, chunk, order)
    known = VerifiedChunk(request.chunk_id, chunk.length, chunk.goal)
    reign.checks.begin(known, rows, slot, now_s, order)
    for row in rows:
        reign.release_if_due(row.server_id, now_s)


def _rows(
    desk: Desk, reign: Reign, view: View, chunk: Chunk, order: CompareReplica
) -> list[VerifiedReplica]:
    """Return a row for each holder; those that can be asked have been ordered."""
    now_s = desk.now_s()
    lost, failed = lost_disks(view), failed_disks(reign.observed.servers)
    rows = []
    for replica in chunk.replicas:
        server_id = replica.server_id
        if server_id not in chunk.holders:
            continue
        server = view.server(server_id)
        name, rack = (server.name, server.rack) if server else (f"#{server_id}", "")
        state = reign.observed.state(server_id, now_s)
        if (server_id, replica.disk_id) in lost:
            verdict, why = UNREACHABLE, "its server came back without the disk"
        elif (server_id, replica.disk_id) in failed:
            verdict, why = UNREACHABLE, "its disk failed and is out of service"
        elif state != LIVE:
            verdict, why = UNREACHABLE, f"its server is {state}"
        elif reign.orders.want(server_id, order):
            verdict, why = WAITING, "its server reads it"
        else:
            verdict, why = BUSY, _LATER
        rows.append(VerifiedReplica(server_id, name, rack, verdict, why))
    return rows


def compared(reign: Reign, beat: Heartbeat, chunk_id: ChunkId) -> None:
    """Take the word of a server that read its copy: the same heartbeat lists what is damaged."""
    listed = next((one for one in beat.open_replicas if one.chunk_id == chunk_id), None)
    length = reign.checks.length_of(chunk_id)
    if listed is not None and listed.state not in (DAMAGED, QUARANTINED) and listed.end < length:
        why = f"{listed.end} of {length} bytes are there"
        reign.checks.answered(chunk_id, beat.server_id, CORRUPT, why)
    elif listed is None or listed.state not in (DAMAGED, QUARANTINED):
        reign.checks.answered(chunk_id, beat.server_id, INTACT, "")
    elif listed.state == QUARANTINED:
        why = "it has other bytes than the chunk; it is quarantined"
        reign.checks.answered(chunk_id, beat.server_id, CORRUPT, why)
    else:
        why = "some of its blocks are damaged"
        reign.checks.answered(chunk_id, beat.server_id, CORRUPT, why)


def not_compared(reign: Reign, server_id: ServerId, answer: OrderFailed) -> None:
    """Take the word of a server that could not read its copy."""
    if not reign.checks.asks(answer.chunk_id, server_id):
        return
    code = answer.failure.error
    reign.orders.answered(server_id, answer.chunk_id, COMPARE, answer.order_index)
    if code == "StaleOrder":
        reign.checks.answered(answer.chunk_id, server_id, BUSY, _LATER)
    elif code in _GONE:
        reign.checks.answered(answer.chunk_id, server_id, CORRUPT, "it is not there")
    else:
        reign.checks.answered(answer.chunk_id, server_id, CORRUPT, answer.failure.message)
