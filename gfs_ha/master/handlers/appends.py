"""Record append at the leader: who takes a file's records, and what became of earlier ones.

A grant is answered from one moment of the state, like a read (M4): the open tail, and what lies in
the sealed chunks before it (C8). Without an open tail one is opened first.
"""

from __future__ import annotations

from functools import partial

from gfs_ha.errors import (
    Busy,
    FileChanged,
    GfsError,
    InvalidArgument,
    IsADirectory,
    NotFound,
    NotInitialized,
    SessionExpired,
)
from gfs_ha.ids import ChunkId, InodeId
from gfs_ha.limits import APPEND_WINDOW, RECORD_BYTES_MAX, SERVERS_MAX
from gfs_ha.master.applicants import RETRY_MS, Applicant
from gfs_ha.master.complaints import take_complaint
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.growing import file_tail
from gfs_ha.master.handlers.session_owners import check_owner
from gfs_ha.master.handlers.tickets import tail_tickets
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.planners.primaries import why_over
from gfs_ha.master.primaries_heard import primary_heard
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.state.bounds import check_range
from gfs_ha.master.state.records import OPEN, Chunk
from gfs_ha.master.state.tail_reads import lease_of, records_known, tail_of, why_ended
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.master.state.view import View
from gfs_ha.master.unreached import SESSION
from gfs_ha.protocol.append import AppendGrant, ConfirmTail, GrantAppend
from gfs_ha.protocol.metadata import DIRECTORY, DISK, MEMORY, Done

REFUSED = "its primary took no more appends"
_ID_MAX = (1 << 63) - 1
_LEFT_MIN_S = 0.2  # Who has less time left is told to ask again before anything is begun for him.


def grant_append(desk: Desk, request: GrantAppend, slot: Slot) -> None:
    """Answer with the open tail of a file, or have one opened (C8, C10)."""
    desk.leading()
    if request.durability not in (DISK, MEMORY):
        raise InvalidArgument(f"no chunk can be of durability {request.durability!r}")
    if len(request.sequences) > APPEND_WINDOW or len(request.failed) > SERVERS_MAX:
        raise InvalidArgument(
            f"{len(request.sequences)} records and {len(request.failed)} servers in one question"
        )
    for name, value in (("appender", request.appender), ("inode", request.inode_id)):
        check_range(name, value, 0, _ID_MAX)
    desk.opening()
    _look_when_confirmed(desk, request, slot)


def _look_when_confirmed(desk: Desk, request: GrantAppend, slot: Slot) -> None:
    def look(error: GfsError | None) -> None:
        if error is None:
            desk.post_or_fail(partial(_answer, desk, request, slot), slot.fail)
        else:
            slot.fail(desk.proposer.for_client(error))

    desk.proposer.read_index(slot.left_s() - MARGIN_S, look)


def _answer(desk: Desk, request: GrantAppend, slot: Slot) -> None:
    if slot.closed:
        return
    try:
        _grant(desk, request, slot)
    except GfsError as error:
        slot.fail(desk.weigh(error))


def _grant(desk: Desk, request: GrantAppend, slot: Slot) -> None:
    opener = desk.opening()
    if slot.left_s() < _LEFT_MIN_S:
        raise Busy("there is no time left for it; ask again", retry_ms=RETRY_MS)
    condemned: dict[ChunkId, str] = {}
    with desk.kv.read() as reader:
        view = View(reader)
        if view.settings() is None:
            raise NotInitialized("the cluster has no settings yet; its first leader writes them")
        for session_id in {slot.session_id, request.appender or slot.session_id}:
            session = view.session(session_id)
            if session is None:
                raise SessionExpired(f"session {session_id:#x} is unknown or expired")
            check_owner(session, session_id, slot)
            desk.leading().observed.met_session(session_id, desk.now_s())
        take_complaint(desk.leading(), request.failed, (SESSION, slot.session_id), desk.now_s())
        inode_id = _find_file(view, request)
        tail = tail_of(view, inode_id)
        if tail is not None:
            chunk = view.chunk(tail.chunk_id)
            assert chunk is not None, f"the tail {tail.chunk_id:#x} is not there"
            why = _why_no_grant(desk, view, request, tail)
            if chunk.state == OPEN and not why:
                slot.show(stored_applied(reader))
                slot.reply(_granted(desk, view, (request, slot), (inode_id, tail, chunk)))
                return
            if why:
                condemned[tail.chunk_id] = why
    again = partial(_answer, desk, request, slot)
    opener.ask(inode_id, Applicant(slot, request, again), condemned)


def _find_file(view: View, request: GrantAppend) -> InodeId:
    """Raises: NotFound, NotADirectory, IsADirectory, FileChanged."""
    try:
        found = view.resolve(request.path)
    except NotFound:
        if request.inode_id:
            raise _changed(request) from None
        raise
    if found.kind == DIRECTORY:
        raise IsADirectory(f"{request.path} is a directory")
    if request.inode_id and request.inode_id != found.inode_id:
        raise _changed(request)
    return found.inode_id


def _changed(request: GrantAppend) -> FileChanged:
    return FileChanged(f"{request.path} was removed or replaced while it was appended to")


def _why_no_grant(desk: Desk, view: View, request: GrantAppend, tail: Tail) -> str:
    """Return why a tail is to be sealed before anybody appends; empty: it takes appends."""
    if request.refused == tail.chunk_id:
        return REFUSED
    reign, now_s = desk.leading(), desk.now_s()
    now_ms = cluster_ms(view.counters(), now_s - reign.elected_s)
    return why_ended(tail, lease_of(view, tail.server_id), now_ms) or why_over(
        tail, primary_heard(reign.observed, tail, request.failed, now_s)
    )


def _granted(
    desk: Desk,
    view: View,
    asked: tuple[GrantAppend, Slot],
    found: tuple[InodeId, Tail, Chunk],
) -> AppendGrant:
    (request, slot), (inode_id, tail, chunk) = asked, found
    reign, now_s = desk.leading(), desk.now_s()
    appender = request.appender or slot.session_id
    known = records_known(view, inode_id, appender, request.sequences)
    lease = lease_of(view, tail.server_id)
    assert lease is not None, f"the tail {tail.chunk_id:#x} without a lease"
    now_ms = cluster_ms(view.counters(), now_s - reign.elected_s)
    return AppendGrant(
        inode_id=inode_id,
        tail=tail_tickets(desk, slot, file_tail(desk, view, tail, chunk), chunk, appends=True),
        capacity=chunk.capacity,
        durability=chunk.durability,
        lease_ms=max(0, lease.until_ms - now_ms),
        record_bytes_max=min(RECORD_BYTES_MAX, chunk.capacity // 4),
        results=known.results,
        window_start=known.window_start,
        expired=known.expired,
    )


def confirm_tail(desk: Desk, view: View, request: ConfirmTail, slot: Slot) -> Done:
    """Say whether a file still has a tail under a grant (C10).

    Also while it is being sealed: what its primary said before that is below no seal.
    """
    desk.leading()
    check_range("inode", request.inode_id, 0, _ID_MAX)
    tail = tail_of(view, request.inode_id)
    if tail is None and view.inode(request.inode_id) is None:
        raise NotFound("the file was removed")
    if tail is None or (tail.chunk_id, tail.granted_index) != (
        request.chunk_id,
        request.granted_index,
    ):
        raise FileChanged("its tail was sealed meanwhile; open the file again")
    return Done()
