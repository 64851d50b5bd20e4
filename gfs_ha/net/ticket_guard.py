"""What a data port asks of each request where tickets are shown; it asks nobody else."""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from gfs_ha.errors import ProtocolError, TicketRefused
from gfs_ha.ids import ServerId
from gfs_ha.limits import TICKET_LATE_S, TICKET_LIFE_S
from gfs_ha.logs.seldom import Seldom
from gfs_ha.net.operation_keys import down_seal, proof, same_proof, up_seal
from gfs_ha.net.sealed_stream import SealedStream
from gfs_ha.net.sealed_streams import Refusals
from gfs_ha.net.tickets import key_id_of, open_ticket
from gfs_ha.pki.seals import Seal
from gfs_ha.protocol.data import DataRequest, Op, proven_part
from gfs_ha.protocol.tickets import Level, OperationPass, Right, TicketFacts
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

# Of a ticket just sealed: clocks differ by less between two tellings of a key.
_LEFT_MS_MAX = int((TICKET_LIFE_S + TICKET_LATE_S) * 1000)


class KnownKeys(Protocol):
    """The keys that this server made."""

    def find(self, key_id: int) -> Seal | None:
        """Return what opens the tickets of that key, as long as any may be good."""
        ...


class TicketGuard:
    """Thread-safe."""

    def __init__(
        self,
        server_id: ServerId,
        keys: KnownKeys,
        runtime: Runtime,
        refusals: Refusals,
        floor: Level = Level.NONE,
    ) -> None:
        """Args: `floor` is the lowest level that this server goes down to."""
        self._server_id = server_id
        self._keys = keys
        self._runtime = runtime
        self._refusals = refusals
        self._floor = floor
        self._logged = Seldom(runtime)  # All are counted.

    def refused(self) -> dict[str, int]:
        """Return how often requests were refused, by reason."""
        return self._refusals.counts()

    def admit(self, request: DataRequest, header: memoryview, stream: SealedStream) -> DataRequest:
        """Return the request with its secret; from then on the stream speaks as it says.

        What it asks for ends soon after its ticket, and `given` says how long that is still good.
        Raises: TicketRefused, which is counted, and logged once a second.
        """
        stream.number += 1
        try:
            facts = self._open(request)
            _check_facts(facts, request)
            mine = proof(facts.secret, stream.nonce, stream.number, proven_part(header))
            if not same_proof(mine, request.proof):
                raise _refused("replayed", "it was asked on another stream, before, or is altered")
            if facts.level < self._floor:
                low, floor = Level(facts.level).name.lower(), self._floor.name.lower()
                raise _refused("level", f"it goes at level {low}, this server asks for {floor}")
        except TicketRefused as error:
            self._note(error, request, stream.peer)
            raise
        left_ms = facts.ends_ms - self._now_ms()
        given = OperationPass(facts.secret, facts.level, left_ms)
        into = down_seal(given, request)
        out = up_seal(given, request, self._server_id, stream.nonce)
        stream.begin(Level(given.level), out, into, keeps=bool(request.hops))
        deadline_ms = min(request.deadline_ms, max(1, left_ms + int(TICKET_LATE_S * 1000)))
        return msgspec.structs.replace(request, given=given, deadline_ms=deadline_ms)

    def _open(self, request: DataRequest) -> TicketFacts:
        if not request.ticket:
            raise _refused("missing", "it shows no ticket")
        try:
            key = self._keys.find(key_id_of(request.ticket))
            if key is None:
                raise _refused("unknown_key", "its ticket is sealed with no key of this server")
            facts = open_ticket(request.ticket, key)
        except ProtocolError as error:
            raise _refused("altered", error.message) from error
        if facts is None:
            raise _refused("altered", "its ticket was altered")
        if facts.server_id != self._server_id or request.target != self._server_id:
            raise _refused("foreign", f"its ticket is for server {facts.server_id}")
        left_ms = facts.ends_ms - self._now_ms()
        if left_ms <= 0:
            raise _refused("expired", "its ticket has expired")
        if left_ms > _LEFT_MS_MAX:
            # The machine slept, and its clock with it: who sealed this counted on meanwhile.
            raise _refused("expired", "its ticket would outlive what tickets may")
        return facts

    def _now_ms(self) -> int:
        return self._runtime.monotonic_ns() // 1_000_000

    def _note(self, error: TicketRefused, request: DataRequest, peer: str) -> None:
        reason = str(error.details.get("reason", ""))
        self._refusals.note(reason)
        if self._logged.now():
            about = (peer, request.op.name.lower(), request.chunk_id, reason)
            logger.warning("ticket refused peer=%s op=%s chunk=%#x reason=%s", *about)


def _check_facts(facts: TicketFacts, request: DataRequest) -> None:
    """Raise TicketRefused unless a good ticket allows what is asked."""
    if (facts.chunk_id, facts.birth) != (request.chunk_id, request.birth):
        raise _refused("foreign", "its ticket is for another chunk")
    needed = _right(request)
    if not facts.rights & needed:
        raise _refused("not_allowed", f"its ticket does not let it {needed.name}")
    end = request.offset + request.length
    if needed is not Right.LOG and max(end, request.capacity) > facts.byte_limit:
        raise _refused("limit", f"its ticket ends at byte {facts.byte_limit}")
    if facts.level not in list(Level):
        raise _refused("altered", f"no level has number {facts.level}")


def _right(request: DataRequest) -> Right:
    match request.op:
        case Op.PUSH:
            return Right.RECORDS if request.brings_records else Right.PUSH
        case Op.APPEND:
            return Right.APPEND
        case Op.LOG:
            return Right.LOG
        case _:
            return Right.READ


def _refused(reason: str, why: str) -> TicketRefused:
    return TicketRefused(f"this data port refuses a request: {why}", reason=reason)
