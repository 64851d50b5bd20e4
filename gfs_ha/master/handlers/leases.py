"""What operators ask about leases: who orders the appends to what, what happened, and its end."""

from __future__ import annotations

from functools import partial

from gfs_ha.errors import (
    GfsError,
    InvalidArgument,
    NotInitialized,
    UnknownChunk,
    UnknownServer,
    WrongState,
)
from gfs_ha.ids import ChunkId, InodeId, ServerId, format_id
from gfs_ha.limits import LEASE_EVENTS_MAX, LIST_PAGE_MAX, TAILS_PER_SERVER_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.state.bounds import check_range
from gfs_ha.master.state.records import OPEN
from gfs_ha.master.state.tail_reads import (
    lease_events,
    lease_of,
    open_tails,
    tails_of_server,
)
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.master.state.view import View
from gfs_ha.master.waiting import Ends
from gfs_ha.protocol.append import (
    LeaseHistory,
    LeaseList,
    LeaseRevoked,
    LeaseRow,
    ListLeaseHistory,
    ListLeases,
    RevokeLease,
)

REVOKED = "revoked by an operator"
_ID_MAX = (1 << 63) - 1


def list_leases(desk: Desk, view: View, request: ListLeases, slot: Slot) -> LeaseList:
    """Return one page of the open tails and of who holds what for how long."""
    if not 1 <= request.limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {LIST_PAGE_MAX} rows, not {request.limit}")
    check_range("chunk", request.after, 0, _ID_MAX)
    page = open_tails(view, request.after, request.limit + 1)
    rows = [lease_row(desk, view, inode_id, tail) for _, inode_id, tail in page[: request.limit]]
    return LeaseList(tuple(rows), len(page) > request.limit, view.counters().tails)


def list_lease_history(
    desk: Desk, view: View, request: ListLeaseHistory, slot: Slot
) -> LeaseHistory:
    """Return what happened to leases, the newest first."""
    desk.leading()
    if not 1 <= request.limit <= LEASE_EVENTS_MAX:
        raise InvalidArgument(f"1 to {LEASE_EVENTS_MAX} events are kept, not {request.limit}")
    return LeaseHistory(tuple(lease_events(view, request.limit)))


def lease_row(desk: Desk, view: View, inode_id: InodeId, tail: Tail) -> LeaseRow:
    """Return an open tail as operators see it."""
    reign, now_s = desk.leading(), desk.now_s()
    now_ms = cluster_ms(view.counters(), now_s - reign.elected_s)
    lease = lease_of(view, tail.server_id)
    holds = lease is not None and lease.start_id == tail.start_id
    server = view.server(tail.server_id)
    led = reign.observed.led(tail.chunk_id, (tail.server_id, tail.start_id))
    return LeaseRow(
        chunk_id=tail.chunk_id,
        inode_id=inode_id,
        path=tail.path,
        holder=server.name if server else f"#{tail.server_id}",
        server_id=tail.server_id,
        start_id=tail.start_id,
        epoch=tail.epoch,
        granted_index=tail.granted_index,
        file_offset=tail.file_offset,
        length=0 if led is None else led.length,
        left_ms=max(0, lease.until_ms - now_ms) if lease and holds else 0,
        held_ms=max(0, now_ms - lease.since_ms) if lease and holds else 0,
        renewed=lease.renewed if lease and holds else 0,
        idle_ms=-1 if led is None else led.idle_ms,
    )


def revoke_lease(desk: Desk, request: RevokeLease, slot: Slot) -> None:
    """Seal the tail of a chunk, or all whose appends a server orders; answer when that is done."""
    desk.sealing()
    for name, value in (("chunk", request.chunk_id), ("server", request.server_id)):
        check_range(name, value, 0, _ID_MAX)
    if bool(request.chunk_id) == bool(request.server_id):
        raise InvalidArgument("name one chunk, or one server")

    def look(error: GfsError | None) -> None:
        if error is None:
            desk.post_or_fail(partial(_revoke_visible, desk, request, slot), slot.fail)
        else:
            slot.fail(desk.proposer.for_client(error))

    desk.proposer.read_index(slot.left_s() - MARGIN_S, look)


def _revoke_visible(desk: Desk, request: RevokeLease, slot: Slot) -> None:
    try:
        _revoke(desk, request, slot)
    except GfsError as error:
        slot.fail(desk.weigh(error))


def _revoke(desk: Desk, request: RevokeLease, slot: Slot) -> None:
    sealer = desk.sealing()
    with desk.kv.read() as reader:
        view = View(reader)
        if view.settings() is None:
            raise NotInitialized("the cluster has no settings yet; its first leader writes them")
        named = _named(view, request)
        chunks = [(chunk_id, view.chunk(chunk_id)) for chunk_id in named]
    if not named:
        slot.reply(LeaseRevoked(()))
        return

    def ended(error: GfsError | None) -> None:
        if error is None:
            slot.reply(LeaseRevoked(tuple(named)))
        else:
            slot.fail(error)

    ends = Ends(named, slot.left_s, ended)
    for chunk_id, chunk in chunks:
        waiting = ends.one(chunk_id)
        if chunk is not None and chunk.state == OPEN:
            sealer.seal(chunk_id, REVOKED, waiting, frozenset())
        else:
            sealer.wait_for(chunk_id, waiting, frozenset())
            sealer.look_at(chunk_id, chunk)


def _named(view: View, request: RevokeLease) -> list[ChunkId]:
    """Raises: UnknownChunk, WrongState, UnknownServer."""
    if request.server_id:
        return _of_server(view, request.server_id)
    chunk, name = view.chunk(request.chunk_id), format_id(request.chunk_id)
    if chunk is None:
        raise UnknownChunk(f"there is no chunk {name} (any more)")
    if not chunk.tail_of:
        raise WrongState(f"nobody orders appends to chunk {name}; it is {chunk.state}")
    return [request.chunk_id]


def _of_server(view: View, server_id: ServerId) -> list[ChunkId]:
    if view.server(server_id) is None:
        raise UnknownServer(f"there is no chunkserver {server_id}")
    found = tails_of_server(view, server_id, InodeId(0), TAILS_PER_SERVER_MAX)
    return [tail.chunk_id for _, tail in found]
