"""The keys of one operation on one stream, and its proof, all made of the secret in its tickets.

Down the chain the first sender seals, and all servers open with one key; up each server has its
own, also for each stream. The first sender's nonce of the request is in all of them, so that no key
ever seals two records with one counter (docs/security.md).
"""

from __future__ import annotations

import hmac
import struct
from hashlib import blake2b

from gfs_ha.ids import ServerId
from gfs_ha.pki.seals import Seal
from gfs_ha.protocol.data import DataRequest
from gfs_ha.protocol.tickets import OperationPass

PROOF_BYTES = 16
_NUMBER = struct.Struct("<Q")
_UP = struct.Struct("<Q")


def proof(secret: bytes, stream_nonce: bytes, number: int, header: bytes) -> bytes:
    """Return what shows that who holds the secret asks this, now, as request `number` here."""
    mixed = blake2b(key=secret, digest_size=PROOF_BYTES, person=b"gfs-ha proof")
    mixed.update(stream_nonce + _NUMBER.pack(number))
    mixed.update(header)
    return mixed.digest()


def same_proof(one: bytes, other: bytes) -> bool:
    """Compare without telling how much of it is right."""
    return hmac.compare_digest(one, other)


def down_seal(given: OperationPass, request: DataRequest) -> Seal:
    """Return the key of what goes down the chain."""
    return _seal(given, b"gfs-ha down", request.nonce)


def up_seal(
    given: OperationPass, request: DataRequest, server_id: ServerId, stream_nonce: bytes
) -> Seal:
    """Return the key of what a server answers on one stream."""
    return _seal(given, b"gfs-ha up", request.nonce + _UP.pack(server_id) + stream_nonce)


def _seal(given: OperationPass, purpose: bytes, about: bytes) -> Seal:
    data = bytes((given.level,)) + about
    return Seal(blake2b(data, key=given.secret, digest_size=32, person=purpose).digest())
