"""Tickets: only the key that sealed one opens it, and nothing in it can be changed."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gfs_ha.errors import ProtocolError
from gfs_ha.ids import ChunkId, Epoch, ServerId
from gfs_ha.limits import CHUNK_BYTES_MAX
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tickets import SEALED_TICKET_BYTES_MAX, key_id_of, open_ticket, seal_ticket
from gfs_ha.pki.seals import KEY_BYTES, NONCE_BYTES, Seal
from gfs_ha.protocol.codec import encode
from gfs_ha.protocol.tickets import (
    CLIENT_BYTES_MAX,
    SECRET_BYTES,
    Level,
    OperationPass,
    Right,
    TicketFacts,
    TicketKey,
)
from gfs_ha.runtime import ThreadedRuntime

FACTS = TicketFacts(
    server_id=ServerId(4096),
    chunk_id=ChunkId((1 << 63) - 1),
    birth=Epoch(65535, (1 << 48) - 1),
    rights=int(Right.READ),
    byte_limit=CHUNK_BYTES_MAX,
    ends_ms=1 << 47,
    level=int(Level.ENCRYPT),
    client="x" * CLIENT_BYTES_MAX,
    secret=bytes(SECRET_BYTES),
)
KEY_ID = (1 << 64) - 1


@dataclass
class Sealed:
    seal: Seal
    ticket: bytes


def make(facts: TicketFacts = FACTS) -> Sealed:
    seal = Seal(os.urandom(KEY_BYTES))
    return Sealed(seal, seal_ticket(KEY_ID, seal, facts, os.urandom(NONCE_BYTES)))


def test_a_ticket_is_opened_by_its_key_and_never_longer_than_it_may_be() -> None:
    made = make()
    assert len(made.ticket) <= SEALED_TICKET_BYTES_MAX
    assert key_id_of(made.ticket) == KEY_ID
    assert open_ticket(made.ticket, made.seal) == FACTS


def test_another_key_does_not_open_it() -> None:
    assert open_ticket(make().ticket, make().seal) is None


@given(st.data())
def test_no_bit_of_a_ticket_can_be_changed(data: st.DataObject) -> None:
    made = make()
    at = data.draw(st.integers(0, len(made.ticket) - 1))
    bit = data.draw(st.integers(0, 7))
    altered = bytearray(made.ticket)
    altered[at] ^= 1 << bit
    assert open_ticket(bytes(altered), made.seal) is None


@given(st.integers(0, SEALED_TICKET_BYTES_MAX + 10))
def test_a_ticket_cut_off_or_lengthened_is_none(length: int) -> None:
    made = make()
    ticket = made.ticket[:length] + bytes(max(0, length - len(made.ticket)))
    if ticket == made.ticket:
        return
    try:
        assert open_ticket(ticket, made.seal) is None
    except ProtocolError:
        pass


def test_a_sealed_lie_of_the_wrong_shape_is_refused() -> None:
    made = make(TicketFacts(*[getattr(FACTS, one) for one in FACTS.__struct_fields__[:-1]], b"x"))
    with pytest.raises(ProtocolError, match="32 bytes"):
        open_ticket(made.ticket, made.seal)


def test_no_secret_is_shown() -> None:
    secret = b"\x07" * 32
    shown = repr((TicketKey(1, secret, 5), OperationPass(secret, 2, 5), FACTS))
    assert "x07" not in shown and "x00" not in shown
    assert secret in encode(TicketKey(1, secret, 5))  # It does travel.
    keys = TicketKeys(ThreadedRuntime())
    assert repr(keys.newest().key) not in repr(keys._newest)
