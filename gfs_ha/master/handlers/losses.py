"""A person ends a chunk that cannot be sealed: a replica is out of reach for good (C3)."""

from __future__ import annotations

from gfs_ha.errors import PreconditionFailed, UnknownChunk
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.growing import known_length
from gfs_ha.master.losses import NO_LENGTH, Loss
from gfs_ha.master.observed import DEAD
from gfs_ha.master.state.records import DEAD as DEAD_CHUNK
from gfs_ha.master.state.records import SEALING, Chunk
from gfs_ha.master.state.tail_reads import lease_of, tail_of, why_ended
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.losses import AcceptLoss, GetLoss, LossPlan, LossReplica

_NOTHING = Loss(frozenset(), NO_LENGTH, "", {})


def get_loss(desk: Desk, view: View, request: GetLoss, slot: Slot) -> LossPlan:
    """Return what a seal without the replicas out of reach would be. Raises: UnknownChunk."""
    return _plan(desk, view, request.chunk_id)[0]


def accept_loss(desk: Desk, request: AcceptLoss, slot: Slot) -> None:
    """Seal a chunk as a person accepted it, if that is what would be done now.

    Raises: UnknownChunk, PreconditionFailed.
    """
    with desk.kv.read() as reader:
        plan, loss = _plan(desk, View(reader), request.chunk_id)
    if plan.refused:
        raise PreconditionFailed(f"chunk {format_id(request.chunk_id)}: {plan.refused}")
    given_up = tuple(sorted(loss.missing))
    now = (plan.begin_index, plan.length, given_up)
    if now != (request.begin_index, request.length, tuple(sorted(request.given_up))):
        raise PreconditionFailed(
            f"chunk {format_id(request.chunk_id)} is not as the plan said any more; look again"
        )
    desk.sealing().accept_loss(request.chunk_id, loss, slot)


def _plan(desk: Desk, view: View, chunk_id: ChunkId) -> tuple[LossPlan, Loss]:
    chunk = view.chunk(chunk_id)
    if chunk is None or chunk.state == DEAD_CHUNK:
        raise UnknownChunk(f"there is no chunk {format_id(chunk_id)} (any more)")
    tail = tail_of(view, chunk.tail_of) if chunk.tail_of else None
    loss = desk.sealing().loss(chunk_id) or _NOTHING
    refused = loss.refused or _why_not(desk, view, (chunk, tail), loss)
    plan = LossPlan(
        chunk_id=chunk_id,
        state=chunk.state,
        begin_index=chunk.begin_index,
        blocked=desk.sealing().blocked().get(chunk_id, ""),
        refused=refused,
        length=loss.length,
        published_end=chunk.published_end,
        reported=known_length(desk, tail) if tail is not None else NO_LENGTH,
        path=tail.path if tail is not None else "",
        file_offset=tail.file_offset if tail is not None else 0,
        referenced=view.referenced(chunk_id),
        replicas=tuple(_replica(desk, view, one.server_id, loss) for one in chunk.replicas),
    )
    return plan, loss


def _why_not(desk: Desk, view: View, known: tuple[Chunk, Tail | None], loss: Loss) -> str:
    """Return what speaks against giving the missing replicas up now; empty: nothing."""
    chunk, tail = known
    if chunk.state != SEALING:
        return f"it is {chunk.state}; only a chunk that is being sealed and is blocked is ended so"
    if not loss.missing | loss.lacking:
        return "the leader has just begun to ask its replicas; ask again in 10 s"
    observed, now_s = desk.leading().observed, desk.now_s()
    for server_id in sorted(loss.missing):
        state = observed.state(server_id, now_s)
        if state != DEAD:
            return f"server {_name(view, server_id)} is {state}, not dead: it may answer soon"
    if tail is not None and tail.server_id in loss.missing:
        lease = lease_of(view, tail.server_id)
        if not why_ended(tail, lease, view.counters().cluster_ms):
            name = _name(view, tail.server_id)
            return f"the lease of {name} has not ended: it may still answer appenders; wait 60 s"
    return ""


def _replica(desk: Desk, view: View, server_id: ServerId, loss: Loss) -> LossReplica:
    server = view.server(server_id)
    state = desk.leading().observed.state(server_id, desk.now_s())
    return LossReplica(
        server_id,
        _name(view, server_id),
        "" if server is None else server.rack,
        state,
        server_id in loss.missing,
        loss.said.get(server_id, "not asked"),
    )


def _name(view: View, server_id: ServerId) -> str:
    server = view.server(server_id)
    return f"#{server_id}" if server is None else server.name
