"""The keys that chunkservers told this master, and the tickets that it seals with them.

Only in memory, and kept when another one leads: a key is good until its server has another one.
Times in a ticket are those of its server's clock: what it told with the key, and what has passed
here since. Thread-safe: what is heard comes on the door's thread, and is replaced, never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

from msgspec.structs import replace

from gfs_ha.config import AUTO, is_loopback
from gfs_ha.ids import Birth, ChunkId, ServerId, StartId
from gfs_ha.limits import CHUNK_BYTES_MAX, TICKET_LIFE_S, TICKETS_PER_ANSWER_MAX
from gfs_ha.net.tickets import seal_ticket
from gfs_ha.pki.seals import NONCE_BYTES, Seal
from gfs_ha.protocol.control import CopyReplica, CopySource, CreateReplica, Order
from gfs_ha.protocol.metadata import ChunkLocations, Location
from gfs_ha.protocol.tickets import (
    CLIENT_BYTES_MAX,
    KEY_BYTES,
    SECRET_BYTES,
    Level,
    OperationPass,
    Right,
    TicketFacts,
    TicketKey,
)
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_LIFE_MS = int(TICKET_LIFE_S * 1000)
_U64 = 1 << 64
_NOW_MS_MAX = 1 << 62  # Beyond it no ticket could say when it ends.
_NONCE_MASK = (1 << 8 * NONCE_BYTES) - 1

_on_loopback = lru_cache(maxsize=4096)(is_loopback)


def _level_of(hosts: Iterable[str]) -> Level:
    return Level.NONE if all(map(_on_loopback, hosts)) else Level.ENCRYPT


@dataclass(frozen=True, slots=True)
class _Heard:
    """The newest key of a server, and by which time of its clock and of ours it was told."""

    start_id: StartId
    key_id: int
    seal: Seal
    now_ms: int
    heard_s: float


@dataclass(frozen=True, slots=True)
class Permit:
    """What tickets of one chunk allow."""

    chunk_id: ChunkId
    birth: Birth
    rights: Right
    byte_limit: int


class TicketOffice:
    """Args: `data` is the level that the configuration asks for, `auto` by the hosts."""

    def __init__(self, runtime: Runtime, data: str = AUTO) -> None:
        self._runtime = runtime
        self._data = data
        self._heard: dict[ServerId, _Heard] = {}
        self.given = 0  # For whoever watches; about right.
        # Counted on from a place by chance: under a key no two tickets have the same, nor do two
        # masters meet.
        self._nonces = count(int.from_bytes(runtime.random_bytes(NONCE_BYTES), "big"))

    def heard(self, server_id: ServerId, start_id: StartId, key: TicketKey | None) -> None:
        """Take note of what a start of a server told; what was overtaken is old news.

        Another start has other keys, and its clock may begin anew.
        """
        known = self._heard.get(server_id)
        if known is not None and known.start_id != start_id:
            del self._heard[server_id]
            known = None
        if key is None:
            return
        fits = 0 <= key.key_id < _U64 and 0 <= key.now_ms <= _NOW_MS_MAX
        if len(key.key) != KEY_BYTES or not fits:
            logger.warning("a ticket key of the wrong shape is not taken server=%d", server_id)
            return
        if known is not None and key.now_ms < known.now_ms:
            return
        seal = known.seal if known is not None and known.key_id == key.key_id else Seal(key.key)
        now_s = self._runtime.monotonic_s()
        self._heard[server_id] = _Heard(start_id, key.key_id, seal, key.now_ms, now_s)

    def knows(self, server_id: ServerId, start_id: StartId) -> bool:
        """Return whether that start of a server told a key, so that tickets for it work."""
        known = self._heard.get(server_id)
        return known is not None and known.start_id == start_id

    def forget(self, server_id: ServerId) -> None:
        """Forget the key of a server that is no member of the cluster any more."""
        self._heard.pop(server_id, None)

    def level(self, hosts: Iterable[str]) -> Level:
        """Return how the bytes of a chunk travel whose servers listen there."""
        if self._data != AUTO:
            return Level[self._data.upper()]
        return _level_of(hosts)

    def log_level(self, hosts: Iterable[str]) -> Level:
        """Return how log lines of servers travel that listen there: for administrators alone.

        So they are encrypted beyond one machine also where the bytes of chunks are not.
        """
        there = tuple(hosts)
        return max(self.level(there), _level_of(there))

    def begin(self, client: str) -> Operation:
        """Return what makes the tickets of one answer. Args: `client` as its certificate says."""
        return Operation(self, client)

    def new_secret(self) -> bytes:
        """Return what the tickets of one operation shall have in common."""
        return self._runtime.random_bytes(SECRET_BYTES)

    def seal(self, server_id: ServerId, facts: tuple[Permit, Level, str, bytes]) -> bytes:
        """Return a ticket for one server; empty while its key is not known."""
        known = self._heard.get(server_id)
        if known is None:
            return b""
        permit, level, client, secret = facts
        passed_ms = int((self._runtime.monotonic_s() - known.heard_s) * 1000)
        sealed = TicketFacts(
            server_id=server_id,
            chunk_id=permit.chunk_id,
            birth=permit.birth,
            rights=int(permit.rights),
            byte_limit=permit.byte_limit,
            ends_ms=known.now_ms + passed_ms + _LIFE_MS,
            level=int(level),
            client=client,
            secret=secret,
        )
        self.given += 1
        nonce = (next(self._nonces) & _NONCE_MASK).to_bytes(NONCE_BYTES, "big")
        return seal_ticket(known.key_id, known.seal, sealed, nonce)

    def for_orders(self, server_id: ServerId, orders: tuple[Order, ...]) -> tuple[Order, ...]:
        """Return orders with the tickets that their server needs for other ones.

        Without one to lead a tail while there is no ticket for somebody in its chain: the first
        records would end it.
        """
        dressed = (self._for_order(server_id, order) for order in orders)
        return tuple(order for order in dressed if order is not None)

    def _for_order(self, server_id: ServerId, order: Order) -> Order | None:
        if isinstance(order, CopyReplica):
            permit = Permit(order.chunk_id, order.birth, Right.READ, order.length)
            given = self._for_sources(server_id, order.sources, permit)
            return order if given is None else replace(order, sources=given[0], pass_=given[1])
        if isinstance(order, CreateReplica) and order.chain:
            permit = Permit(order.chunk_id, order.birth, Right.RECORDS, order.capacity)
            given = self._for_sources(server_id, order.chain, permit)
            if given is None or not all(one.ticket for one in given[0]):
                return None
            return replace(order, chain=given[0], pass_=given[1])
        return order

    def _for_sources(
        self, server_id: ServerId, sources: tuple[CopySource, ...], permit: Permit
    ) -> tuple[tuple[CopySource, ...], OperationPass] | None:
        operation = self.begin(f"chunkserver {server_id}")
        level = self.level(one.host for one in sources)
        made = tuple(
            replace(one, ticket=operation.ticket(one.server_id, permit, level)) for one in sources
        )
        return (made, operation.pass_of(level)) if any(one.ticket for one in made) else None


class Operation:
    """The tickets of one answer: for one client, and not too many.

    Those of one chunk have one secret, others another: whom one is shown cannot read another chunk.
    """

    __slots__ = ("_client", "_left", "_office", "_secret")

    def __init__(self, office: TicketOffice, client: str) -> None:
        self._office = office
        self._client = client.encode()[:CLIENT_BYTES_MAX].decode(errors="ignore")
        self._secret = office.new_secret()
        self._left = TICKETS_PER_ANSWER_MAX

    def ticket(self, server_id: ServerId, permit: Permit, level: Level) -> bytes:
        """Return a ticket for one server, empty while its key is not known."""
        return self._office.seal(server_id, (permit, level, self._client, self._secret))

    def pass_of(self, level: Level) -> OperationPass:
        """Return what the client has to know of tickets of a level."""
        return OperationPass(self._secret, int(level), _LIFE_MS)

    def cover(
        self, places: tuple[Location, ...], permit: Permit
    ) -> tuple[tuple[Location, ...], OperationPass | None]:
        """Return places with tickets, and the pass for them; None when there are none.

        A place whose server told no key yet cannot be used, as if it were not alive.
        """
        if self._left < len(places):
            return places, None  # It is asked for again by itself.
        self._left -= len(places)
        self._secret = self._office.new_secret()
        level = self._office.level(place.host for place in places)
        covered = tuple(
            replace(place, ticket=ticket) if ticket else replace(place, live=False)
            for place, ticket in (
                (place, self.ticket(place.server_id, permit, level)) for place in places
            )
        )
        if not any(place.ticket for place in covered):
            return covered, None
        return covered, self.pass_of(level)

    def to_read(self, chunks: Iterable[ChunkLocations]) -> tuple[ChunkLocations, ...]:
        """Return where chunks lie with tickets to read them.

        One that is still written is readable as far as it will go: extents come after its bytes.
        """
        found = []
        for chunk in chunks:
            limit = chunk.length if chunk.sealed else CHUNK_BYTES_MAX
            permit = Permit(chunk.chunk_id, chunk.birth, Right.READ, limit)
            places, given = self.cover(chunk.replicas, permit)
            found.append(replace(chunk, replicas=places, pass_=given))
        return tuple(found)
