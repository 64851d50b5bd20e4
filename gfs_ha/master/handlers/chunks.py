"""Requests about chunks to which the leader adds something: a place for it, or its end."""

from __future__ import annotations

import logging
from functools import partial

from gfs_ha.errors import (
    Busy,
    Denied,
    GfsError,
    InvalidArgument,
    NoServers,
    NoSpace,
    NotClaimed,
    NotInitialized,
    SessionExpired,
    Unreachable,
    WrongState,
)
from gfs_ha.ids import format_id
from gfs_ha.limits import FAILED_DISKS_MAX, GOAL_MAX, SERVERS_MAX
from gfs_ha.master.candidates import choose
from gfs_ha.master.complaints import take_complaint
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import (
    once_visible,
    propose_for_client,
    refuse_unless_answered,
)
from gfs_ha.master.handlers.tickets import dress_allocated
from gfs_ha.master.placement import Wanted
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.roster import roster
from gfs_ha.master.sealer import answer_end
from gfs_ha.master.state.bounds import check_chunk_bytes, check_rule
from gfs_ha.master.state.commands import PlaceChunk
from gfs_ha.master.state.records import DEAD, OPEN, SEALED
from gfs_ha.master.state.view import View
from gfs_ha.master.unreached import READER, SESSION
from gfs_ha.protocol.extents import MoveReferences
from gfs_ha.protocol.metadata import AllocateChunk, Done, ReportReplica, SealChunk

logger = logging.getLogger(__name__)

_PROBLEM_CHARACTERS_MAX = 200
_REASON_BYTES_MAX = 255


def allocate_chunk(desk: Desk, request: AllocateChunk, slot: Slot) -> None:
    """Choose servers for a new chunk and propose it (C1, G6)."""
    reign = desk.leading()
    dress_allocated(desk, slot)
    if not 0 <= request.goal <= GOAL_MAX or len(request.failed) > SERVERS_MAX:
        raise InvalidArgument(f"a chunk has 1 to {GOAL_MAX} copies, not {request.goal}")
    if request.rule:
        check_rule(request.rule)
    if request.chunk_bytes:
        check_chunk_bytes(request.chunk_bytes)
    with desk.kv.read() as reader:
        view = View(reader)
        settings = view.settings()
        if settings is None:
            raise NotInitialized("the cluster has no settings yet; its first leader writes them")
        now_s = desk.now_s()
        known = roster(view, now_s - reign.elected_s)
    take_complaint(reign, request.failed, (SESSION, slot.session_id), now_s)
    wanted = Wanted(
        goal=request.goal or settings.goal,
        min_copies=settings.min_copies,
        capacity=request.chunk_bytes or settings.chunk_bytes,
        machine=request.machine,
        rack=request.rack,
        failed=frozenset(request.failed),
        spread=desk.runtime.random_u64(),
        rule=request.rule or settings.rule,
        failed_disks=frozenset(request.failed_disks[:FAILED_DISKS_MAX]),
    )
    try:
        away = reign.all_hung_up() | reign.observed.unreached.all_believed(now_s)
        chosen = choose(known, reign.observed, wanted, now_s, away)
    except (NoServers, NoSpace, Busy) as error:
        refuse_unless_answered(desk, slot, error)
        return
    command = PlaceChunk(
        chosen.replicas,
        request.kind,
        request.durability,
        request.goal,
        chosen.remarks,
        request.rule,
        request.chunk_bytes,
    )
    propose_for_client(desk, command, slot)


def seal_chunk(desk: Desk, request: SealChunk, slot: Slot) -> None:
    """Seal a session's own broken chunk; the answer comes when it is sealed (C2-C4)."""
    desk.sealing()

    def look(error: GfsError | None) -> None:
        if error is None:
            desk.post_or_fail(partial(_seal_visible, desk, request, slot), slot.fail)
        else:
            slot.fail(desk.proposer.for_client(error))

    # The chunk may have been allocated a moment ago and not be visible here yet (M2).
    desk.proposer.read_index(slot.left_s() - MARGIN_S, look)


def _seal_visible(desk: Desk, request: SealChunk, slot: Slot) -> None:
    try:
        _begin_seal(desk, request, slot)
    except GfsError as error:
        slot.fail(desk.weigh(error))


def _begin_seal(desk: Desk, request: SealChunk, slot: Slot) -> None:
    sealer = desk.sealing()
    with desk.kv.read() as reader:
        view = View(reader)
        chunk = view.chunk(request.chunk_id)
        session = view.session(slot.session_id)
    if session is None:
        raise SessionExpired(f"session {slot.session_id:#x} is unknown or expired")
    if chunk is None or chunk.state in (SEALED, DEAD):
        # Also for a session whose claim is over: asked again, it must hear the same end.
        answer_end(slot, request.chunk_id, chunk)
        return
    if chunk.claimed_by != slot.session_id:
        raise NotClaimed(f"chunk {request.chunk_id:#x} is not claimed by this session")
    failed = frozenset(request.failed) & {replica.server_id for replica in chunk.replicas}
    named = set(request.failed_disks[:FAILED_DISKS_MAX])
    # Who answered that its disk does not take it can be reached.
    answered = {one.server_id for one in chunk.replicas if one.disk_id in named}
    missed = failed - answered
    take_complaint(desk.leading(), missed, (SESSION, slot.session_id), desk.now_s())
    if chunk.state != OPEN:
        sealer.wait_for(request.chunk_id, slot, failed)
        sealer.look_at(request.chunk_id, chunk)
        return
    logger.info(
        "seal asked chunk=%#x session=%d failed=%s",
        request.chunk_id,
        slot.session_id,
        sorted(failed),
    )
    sealer.seal(request.chunk_id, f"asked by session {slot.session_id:#x}", slot, failed)


def move_references(desk: Desk, request: MoveReferences, slot: Slot) -> None:
    """Propose what the server asks that was told to compact the chunk, and no other one (G8)."""
    if slot.peer is None:
        propose_for_client(desk, request, slot)
    else:
        once_visible(desk, slot, partial(_move_if_told, desk, request, slot))


def _move_if_told(desk: Desk, request: MoveReferences, slot: Slot) -> None:
    """Look at the row before it is proposed: an order that is not there yet may be by then."""
    assert slot.peer is not None
    with desk.kv.read() as reader:
        view = View(reader)
        chunk = view.chunk(request.chunk_id)
        told = None
        if chunk is not None and chunk.compactor and chunk.compact_index == request.order_index:
            told = view.server(chunk.compactor)
    if told is not None and told.name == slot.peer.name:
        propose_for_client(desk, request, slot)
        return
    name = f"chunk {format_id(request.chunk_id)}"
    error: GfsError = WrongState(f"{name} is not compacted by this order")
    if told is not None:
        error = Denied(
            f"{slot.peer} may not move what refers to {name}: {told.name} was told to compact it;"
            " wait for an order of your own"
        )
    refuse_unless_answered(desk, slot, error)


def report_replica(desk: Desk, view: View, request: ReportReplica, slot: Slot) -> Done:
    """Note that a client could not use a replica."""
    problem = request.problem[:_PROBLEM_CHARACTERS_MAX]
    reign = desk.leading()
    known = view.chunk(request.chunk_id) is not None
    if known and problem.startswith(f"{Unreachable.__name__}:"):
        take_complaint(reign, (request.server_id,), (READER, 0), desk.now_s())
    if known and reign.observed.trouble(request.chunk_id, request.server_id, problem):
        logger.warning(
            "replica reported chunk=%#x server=%d problem=%s",
            request.chunk_id,
            request.server_id,
            problem,
        )
        reign.repairs.doubt(request.chunk_id, request.server_id)
    return Done()
