"""Sealing and opening tickets: key id, nonce, and the facts under the key of one chunkserver."""

from __future__ import annotations

import struct

from gfs_ha.errors import ProtocolError
from gfs_ha.pki.seals import NONCE_BYTES, TAG_BYTES, Seal
from gfs_ha.protocol.tickets import TicketFacts, decode_facts, encode_facts

SEALED_TICKET_BYTES_MAX = 200
_BESIDE = b"gfs-ha ticket 1"
_KEY_ID = struct.Struct("<Q")
_HEAD_BYTES = _KEY_ID.size + NONCE_BYTES


def seal_ticket(key_id: int, seal: Seal, facts: TicketFacts, nonce: bytes) -> bytes:
    """Return a ticket. The nonce is used for this one alone, whoever seals with the key."""
    named = _KEY_ID.pack(key_id)
    return named + nonce + seal.close(nonce, encode_facts(facts), _BESIDE + named)


def key_id_of(ticket: bytes) -> int:
    """Return with which key a ticket is sealed. Raises: ProtocolError when it is none."""
    if not _HEAD_BYTES + TAG_BYTES < len(ticket) <= SEALED_TICKET_BYTES_MAX:
        raise ProtocolError(f"{len(ticket)} bytes are no ticket")
    return int(_KEY_ID.unpack_from(ticket)[0])


def open_ticket(ticket: bytes, seal: Seal) -> TicketFacts | None:
    """Return what a ticket says; None when it was not sealed with this key, or was altered.

    Raises: ProtocolError when it is none, or says what no ticket says.
    """
    named = _KEY_ID.pack(key_id_of(ticket))
    nonce, sealed = ticket[_KEY_ID.size : _HEAD_BYTES], ticket[_HEAD_BYTES:]
    opened = seal.open(nonce, sealed, _BESIDE + named)
    return None if opened is None else decode_facts(opened)
