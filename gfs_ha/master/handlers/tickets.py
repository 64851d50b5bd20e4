"""Tickets in the answers of the leader, and those that are asked for by themselves.

Nothing here where peers show no certificates. What is replicated and recorded bears no ticket: it
gets them when it is answered.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from gfs_ha.errors import (
    Busy,
    Denied,
    InvalidArgument,
    NotClaimed,
    ProtocolError,
    UnknownChunk,
    UnknownServer,
    WrongState,
)
from gfs_ha.ids import ChunkId, Epoch, ServerId, format_id
from gfs_ha.limits import CHUNK_BYTES_MAX, SERVERS_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.session_owners import check_owner
from gfs_ha.master.state.bounds import check_range
from gfs_ha.master.state.locations import LocationReader
from gfs_ha.master.state.records import DEAD, OPEN, SEALED, Chunk
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.master.ticket_office import Operation, Permit, TicketOffice
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.protocol.codec import Failure, Word, decode, encode, prepare
from gfs_ha.protocol.metadata import ChunkAllocated, ChunkLocations, Done, FileTail
from gfs_ha.protocol.tickets import GetTickets, Level, Right, TellTicketKey, TicketsGiven

_RETRY_MS = 100
_ID_MAX = (1 << 63) - 1
_ALL = Right.READ | Right.PUSH | Right.APPEND | Right.RECORDS | Right.LOG
_NO_CHUNK = ChunkId(0)
_AllocatedOrNot = Failure | ChunkAllocated


def to_read(
    desk: Desk, slot: Slot, chunks: tuple[ChunkLocations, ...]
) -> tuple[ChunkLocations, ...]:
    """Return where chunks lie, with tickets to read them."""
    operation = begin(desk, slot)
    return chunks if operation is None else operation.to_read(chunks)


def tail_tickets(desk: Desk, slot: Slot, tail: FileTail, chunk: Chunk, appends: bool) -> FileTail:
    """Return an open tail with tickets to read it, and to append to its primary if asked."""
    operation = begin(desk, slot)
    if operation is None:
        return tail
    rights = Right.READ | Right.APPEND if appends else Right.READ
    permit = Permit(tail.chunk_id, tail.birth, rights, chunk.capacity)
    places, given = operation.cover(tail.replicas, permit)
    if appends and not (places and places[0].ticket):
        raise Busy("the primary is not heard yet by this leader", retry_ms=_RETRY_MS)
    return replace(tail, replicas=places, pass_=given)


def dress_allocated(desk: Desk, slot: Slot) -> None:
    """Have the answer to an allocation, new or recorded, get tickets to write the chunk."""
    if desk.tickets is None or slot.peer is None:
        return

    def dress(reply: bytes) -> bytes:
        try:
            told: Word = decode(_AllocatedOrNot, reply)  # type: ignore[arg-type]
        except ProtocolError:
            return reply  # Of another request, under a sequence that was used before.
        operation = begin(desk, slot)
        if operation is None or not isinstance(told, ChunkAllocated):
            return reply
        permit = Permit(told.chunk_id, told.birth, Right.PUSH, told.capacity)
        places, given = operation.cover(told.replicas, permit)
        return encode(replace(told, replicas=places, pass_=given))

    slot.dress = dress


def begin(desk: Desk, slot: Slot) -> Operation | None:
    """Return what makes the tickets of an answer; None where there are none."""
    if desk.tickets is None or slot.peer is None:
        return None
    return desk.tickets.begin(slot.peer.name)


def take_key(desk: Desk, request: TellTicketKey, slot: Slot) -> None:
    """Take note of a server's key, whether this master leads or not."""
    with desk.kv.read() as reader:
        row = View(reader).server(request.server_id)
    if row is None:
        slot.fail(UnknownServer(f"this master knows no server {request.server_id} (yet)"))
        return
    # Looked up once: between two looks the server of another name may have been written down.
    if slot.peer is not None and slot.peer.name != row.name:
        raise Denied(f"{slot.peer} cannot speak for chunkserver {row.name}")
    if desk.tickets is not None:
        desk.tickets.heard(request.server_id, request.start_id, request.key)
    slot.reply(Done())


def get_tickets(desk: Desk, view: View, request: GetTickets, slot: Slot) -> TicketsGiven:
    """Return new tickets for a chunk, or for log lines; whoever asks must be allowed that now."""
    desk.leading()
    office, peer = desk.tickets, slot.peer
    if office is None or peer is None:
        raise InvalidArgument("there are no tickets in a cluster without certificates")
    check_range("chunk", request.chunk_id, 0, _ID_MAX)
    if not 0 < request.rights <= int(_ALL) or not 0 < len(request.servers) <= SERVERS_MAX:
        raise InvalidArgument(f"rights {request.rights} on {len(request.servers)} servers")
    rights = Right(request.rights)
    if rights & Right.LOG:
        return _for_logs(office, view, request, peer)
    chunk = view.chunk(request.chunk_id)
    if chunk is None or chunk.state == DEAD:
        raise UnknownChunk(f"there is no chunk {format_id(request.chunk_id)} (any more)")
    _check_rights(view, (request.chunk_id, chunk), rights, peer, slot)
    limit = chunk.length if chunk.state == SEALED else chunk.capacity
    permit = Permit(request.chunk_id, chunk.birth, rights, min(limit, CHUNK_BYTES_MAX))
    places = LocationReader(view.rows).replicas(chunk)
    level = office.level(place.host for place in places)
    wanted = set(request.servers)
    named = [place.server_id for place in places if place.server_id in wanted]
    return _given(office.begin(peer.name), named, permit, level)


def _for_logs(
    office: TicketOffice, view: View, request: GetTickets, peer: PeerName
) -> TicketsGiven:
    """Return tickets for log lines, of no chunk; never in clear beyond one machine."""
    if peer.role != Role.ADMIN:
        raise Denied(f"{peer} may not read logs; that takes a certificate with the role admin")
    if request.rights != Right.LOG or request.chunk_id:
        raise InvalidArgument("a ticket for log lines is for nothing else, and of no chunk")
    found = [(one, view.server(one)) for one in dict.fromkeys(request.servers)]
    known = [(server_id, server.host) for server_id, server in found if server is not None]
    permit = Permit(_NO_CHUNK, Epoch(0, 0), Right.LOG, 0)
    level = office.log_level(host for _, host in known)
    return _given(office.begin(peer.name), [one for one, _ in known], permit, level)


def _given(
    operation: Operation, servers: Iterable[ServerId], permit: Permit, level: Level
) -> TicketsGiven:
    """Raises: Busy."""
    made = [(one, operation.ticket(one, permit, level)) for one in servers]
    sealed = tuple((server_id, ticket) for server_id, ticket in made if ticket)
    if not sealed:
        raise Busy(
            "this leader has heard none of these servers yet, or they are not of this chunk;"
            " look where it lies and ask again",
            retry_ms=_RETRY_MS,
        )
    return TicketsGiven(operation.pass_of(level), sealed)


def _check_rights(
    view: View, about: tuple[ChunkId, Chunk], rights: Right, peer: PeerName, slot: Slot
) -> None:
    """Raises: Denied, NotClaimed, WrongState."""
    chunk_id, chunk = about
    name = format_id(chunk_id)
    person = peer.role in (Role.CLIENT, Role.ADMIN)
    if rights & Right.PUSH:
        session_id = slot.session_id
        session = view.session(session_id) if session_id else None
        if session is None or chunk.claimed_by != session_id:
            raise NotClaimed(f"chunk {name} is not claimed by this session")
        check_owner(session, session_id, slot)
        if chunk.state != OPEN:
            raise WrongState(f"chunk {name} is {chunk.state}: nothing is written to it any more")
    if rights & Right.APPEND and not (person and chunk.tail_of):
        raise Denied(f"{peer} may not append to chunk {name}: it is no open tail, or is not asked")
    if rights & Right.RECORDS and not _leads(view, about, peer):
        raise Denied(f"{peer} does not order the appends to chunk {name}")
    if rights & Right.READ and not (person or _copies(view, chunk, peer)):
        raise Denied(f"{peer} was not ordered to copy chunk {name}")


def _leads(view: View, about: tuple[ChunkId, Chunk], peer: PeerName) -> bool:
    """Return whether a server orders the appends to a tail, or will once it is opened."""
    chunk_id, chunk = about
    if peer.role != Role.CHUNKSERVER:
        return False
    tail = tail_of(view, chunk.tail_of) if chunk.tail_of else None
    if tail is not None and tail.chunk_id == chunk_id:
        head = tail.server_id
    elif chunk.unopened:
        head = chunk.replicas[0].server_id
    else:
        return False
    server = view.server(head)
    return server is not None and server.name == peer.name


def _copies(view: View, chunk: Chunk, peer: PeerName) -> bool:
    if peer.role != Role.CHUNKSERVER:
        return False
    targets = (view.server(order.server_id) for order in chunk.copying)
    return any(server is not None and server.name == peer.name for server in targets)


prepare(_AllocatedOrNot)
