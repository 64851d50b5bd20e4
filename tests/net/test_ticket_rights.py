"""What a data port asks of a ticket for each request."""

from __future__ import annotations

import os

import pytest
from wire import Wire

from gfs_ha.errors import TicketRefused
from gfs_ha.ids import ChunkId, Epoch, ServerId
from gfs_ha.limits import MIB, TICKET_LIFE_S
from gfs_ha.net.asking import showing
from gfs_ha.net.operation_keys import proof
from gfs_ha.net.sealed_stream import SealedStream
from gfs_ha.net.sealed_streams import Refusals
from gfs_ha.net.ticket_guard import TicketGuard
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tickets import seal_ticket
from gfs_ha.pki.seals import Seal
from gfs_ha.protocol.data import DataRequest, Op, RequestFlag, decode_request, encode_request
from gfs_ha.protocol.tickets import Level, OperationPass, Right, TicketFacts
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
SERVER = ServerId(3)
NONCE = b"n" * 16
GIVEN = OperationPass(b"s" * 32, Level.ENCRYPT, int(TICKET_LIFE_S * 1000))
ALL = Right.READ | Right.PUSH | Right.APPEND | Right.RECORDS | Right.LOG
NEEDED: list[tuple[Op, RequestFlag, Right]] = [
    (Op.PUSH, RequestFlag.CREATE, Right.PUSH),
    (Op.PUSH, RequestFlag(0), Right.PUSH),
    (Op.PUSH, RequestFlag.RECORDS, Right.RECORDS),
    (Op.APPEND, RequestFlag(0), Right.APPEND),
    (Op.APPEND, RequestFlag.RECORDS, Right.APPEND),
    (Op.FETCH, RequestFlag.REPAIR, Right.READ),
    (Op.FETCH, RequestFlag.RECORDS, Right.READ),
    (Op.BLOCKS, RequestFlag(0), Right.READ),
    (Op.TAIL_LENGTH, RequestFlag(0), Right.READ),
    (Op.LOG, RequestFlag(0), Right.LOG),
]


def admit(rights: Right, op: Op, flags: RequestFlag, **places: int) -> DataRequest:
    """Return what a data port makes of a request with a ticket for MIB bytes. Raises: why not."""
    keys = TicketKeys(RUNTIME)
    key = keys.newest()
    ends_ms = keys.now_ms() + GIVEN.life_ms
    facts = TicketFacts(
        *(SERVER, ChunkId(9), Epoch(1, 2), int(rights), MIB, ends_ms, int(Level.ENCRYPT)),
        *("ann", GIVEN.secret),
    )
    ticket = seal_ticket(key.key_id, Seal(key.key), facts, os.urandom(12))
    at = {"offset": 0, "length": 9, "capacity": 0, **places}
    request = DataRequest(
        op=op,
        cluster=1,
        target=SERVER,
        chunk_id=ChunkId(9),
        birth=Epoch(1, 2),
        deadline_ms=9,
        op_id=9,
        flags=flags,
        **at,
    )
    request = showing(request, GIVEN, ticket, RUNTIME)
    header = encode_request(request, lambda part: proof(GIVEN.secret, NONCE, 1, part))
    guard = TicketGuard(SERVER, keys, RUNTIME, Refusals(RUNTIME))
    stream = SealedStream(Wire(), NONCE, lambda peer: None)  # type: ignore[arg-type]
    return guard.admit(decode_request(header), memoryview(header), stream)


@pytest.mark.parametrize(("op", "flags", "needed"), NEEDED)
def test_each_request_needs_one_right_and_no_other_will_do(
    op: Op, flags: RequestFlag, needed: Right
) -> None:
    assert admit(needed, op, flags).given is not None
    with pytest.raises(TicketRefused, match=f"does not let it {needed.name}") as refused:
        admit(ALL & ~needed, op, flags)
    assert refused.value.details["reason"] == "not_allowed"


@pytest.mark.parametrize(
    "places", [{"offset": MIB - 8}, {"length": MIB + 1}, {"capacity": MIB + 1}], ids=str
)
def test_nothing_goes_beyond_the_end_of_a_ticket(places: dict[str, int]) -> None:
    for op, flags, needed in NEEDED:
        within = {name: value - 1 for name, value in places.items()}
        assert admit(needed, op, flags, **within).given is not None
        if op is Op.LOG:
            continue  # It is of no chunk.
        with pytest.raises(TicketRefused, match=f"ends at byte {MIB}") as refused:
            admit(needed, op, flags, **places)
        assert refused.value.details["reason"] == "limit"
