"""Tickets for data ports that are used for longer than they live: asked for anew in good time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

from msgspec.structs import replace

from gfs_ha.errors import Busy, Denied, GfsError, Refused, TicketRefused
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.calls import Request
from gfs_ha.protocol.metadata import ChunkAllocated, FileTail, Location
from gfs_ha.protocol.tickets import GetTickets, OperationPass, Right, TicketsGiven
from gfs_ha.runtime import Runtime

T = TypeVar("T")

# Tickets that are shown have at least the rest of their life left.
FRESH_SHARE = 0.5
REMEMBERED_MAX = 16_384  # Answers of the leader whose tickets are in use.
NOT_GIVEN = "not_given"  # The reason of who asked the leader, and no data port.


class Leader(Protocol):
    """Whom a session asks; a Session."""

    def ask(self, request: Request, kind: type[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class _Held:
    """The newest tickets for what the leader once answered, and since when they are here."""

    given: OperationPass
    by_server: dict[ServerId, bytes]
    since_s: float

    def fresh(self, now_s: float) -> bool:
        """Return whether less than half of their life is over."""
        return (now_s - self.since_s) * 1000 < self.given.life_ms * FRESH_SHARE


class Passes:
    """Thread-safe. Where the leader gives no tickets, everything stays as it is."""

    def __init__(self, leader: Leader, runtime: Runtime) -> None:
        self._leader = leader
        self._runtime = runtime
        self._lock = runtime.lock()
        self._held: OrderedDict[tuple[bytes, int], _Held] = OrderedDict()

    def allocated(self, chunk: ChunkAllocated) -> ChunkAllocated:
        """Return a chunk that is written with tickets to go on writing it.

        Raises: TicketRefused when the leader gives none.
        """
        try:
            held = self._newest(chunk.chunk_id, chunk.pass_, chunk.replicas, Right.PUSH)
        except GfsError as error:
            raise _not_given(error) from error
        if held is None:
            return chunk
        return replace(chunk, replicas=_dressed(chunk.replicas, held), pass_=held.given)

    def tail(self, tail: FileTail, right: Right) -> FileTail:
        """Return an open tail with tickets to read it, or to append to it.

        Raises: TicketRefused when the leader gives none (it has an end by now); NoLeader, Busy…
        """
        try:
            held = self._newest(tail.chunk_id, tail.pass_, tail.replicas, right)
        except (Refused, Denied) as error:
            raise _not_given(error) from error
        if held is None:
            return tail
        if right is Right.APPEND and not held.by_server.get(tail.primary):
            raise _not_given(Busy("it has not heard the primary yet"))
        return replace(tail, replicas=_dressed(tail.replicas, held), pass_=held.given)

    def for_log(self, server_id: ServerId) -> tuple[OperationPass, bytes]:
        """Return a ticket for the log lines of a server. Raises: Denied, Busy, NoLeader…"""
        key = b"log %d" % server_id, int(Right.LOG)
        now_s = self._runtime.monotonic_s()
        with self._lock:
            held = self._held.get(key)
        if held is None or not held.fresh(now_s):
            held = self._ask(key, ChunkId(0), Right.LOG, (server_id,))
        return held.given, held.by_server.get(server_id, b"")

    def _newest(
        self,
        chunk_id: ChunkId,
        given: OperationPass | None,
        places: Collection[Location],
        right: Right,
    ) -> _Held | None:
        if given is None:
            return None
        key = given.secret, int(right)
        now_s = self._runtime.monotonic_s()
        with self._lock:
            held = self._held.get(key)
            if held is None:
                tickets = {one.server_id: one.ticket for one in places}
                held = self._hold(key, _Held(given, tickets, now_s))
        if held.fresh(now_s):
            return held
        return self._ask(key, chunk_id, right, tuple(one.server_id for one in places))

    def _ask(
        self,
        key: tuple[bytes, int],
        chunk_id: ChunkId,
        right: Right,
        servers: tuple[ServerId, ...],
    ) -> _Held:
        told = self._leader.ask(GetTickets(chunk_id, int(right), servers), TicketsGiven)
        held = _Held(told.pass_, dict(told.tickets), self._runtime.monotonic_s())
        with self._lock:
            return self._hold(key, held)

    def _hold(self, key: tuple[bytes, int], held: _Held) -> _Held:
        self._held[key] = held
        self._held.move_to_end(key)
        if len(self._held) > REMEMBERED_MAX:
            self._held.popitem(last=False)
        return held


def _dressed(places: tuple[Location, ...], held: _Held) -> tuple[Location, ...]:
    return tuple(replace(one, ticket=held.by_server.get(one.server_id, b"")) for one in places)


def _not_given(error: GfsError) -> TicketRefused:
    return TicketRefused(f"the leader gives no new ticket: {error.message}", reason=NOT_GIVEN)
