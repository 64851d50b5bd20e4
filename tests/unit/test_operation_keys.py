"""What makes one key of an operation another one, and one proof."""

from __future__ import annotations

from msgspec.structs import replace

from gfs_ha.ids import ChunkId, Epoch, ServerId
from gfs_ha.net.operation_keys import down_seal, proof, up_seal
from gfs_ha.pki.seals import NONCE_BYTES, Seal
from gfs_ha.protocol.data import DataRequest, Op
from gfs_ha.protocol.tickets import Level, OperationPass

GIVEN = OperationPass(b"s" * 32, Level.ENCRYPT, 300_000)
REQUEST = DataRequest(Op.PUSH, 1, ServerId(3), ChunkId(9), Epoch(1, 2), 0, 9, 9, 9, nonce=b"r" * 16)
STREAM = b"n" * 16


def fingerprint(seal: Seal) -> bytes:
    return seal.close(bytes(NONCE_BYTES), bytes(16), b"")


def test_each_operation_level_request_direction_server_and_stream_has_keys_of_its_own() -> None:
    """So none seals two records with one counter: those of each begin with one."""
    seals: list[Seal] = []
    for given in (GIVEN, replace(GIVEN, secret=b"t" * 32), replace(GIVEN, level=Level.INTEGRITY)):
        for request in (REQUEST, replace(REQUEST, nonce=b"q" * 16)):
            seals.append(down_seal(given, request))
            for server_id in (ServerId(3), ServerId(4)):
                seals += [up_seal(given, request, server_id, one) for one in (STREAM, b"m" * 16)]
    assert len({fingerprint(one) for one in seals}) == len(seals) == 30
    # All servers of a chain open what goes down with one key.
    below = replace(REQUEST, target=ServerId(4), op_id=8)
    assert fingerprint(down_seal(GIVEN, REQUEST)) == fingerprint(down_seal(GIVEN, below))
    # Nor can who says a nonce make a key of the other direction of it.
    about = REQUEST.nonce + (3).to_bytes(8, "little") + STREAM
    longer = down_seal(GIVEN, replace(REQUEST, nonce=about))
    assert fingerprint(longer) != fingerprint(up_seal(GIVEN, REQUEST, ServerId(3), STREAM))


def test_a_proof_is_of_one_secret_stream_number_and_every_byte() -> None:
    header = bytes(range(256))
    mine = proof(b"s" * 32, STREAM, 1, header)
    others = [
        proof(b"t" * 32, STREAM, 1, header),
        proof(b"s" * 32, b"m" * 16, 1, header),
        proof(b"s" * 32, STREAM, 2, header),
        proof(b"s" * 32, STREAM, 1, header[:-1]),
    ]
    for at in range(len(header)):
        others.append(proof(b"s" * 32, STREAM, 1, header[:at] + b"\xff" * 2 + header[at + 1 :]))
    assert mine not in others and len(set(others)) == len(others)
