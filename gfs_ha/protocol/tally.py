"""The tally: what is sealed on a disk, in 256 numbers that both sides keep and compare (G7)."""

from __future__ import annotations

import struct
from hashlib import blake2b

from gfs_ha.ids import ChunkId

BUCKETS = 256
LIST_BUCKETS_MAX = 8  # Of one reply to a heartbeat.
_PAIR = struct.Struct(">QQ")


def replica_hash(chunk_id: ChunkId, length: int) -> int:
    """Return the 64-bit hash of a sealed replica; its low 8 bits are its bucket."""
    digest = blake2b(_PAIR.pack(chunk_id, length), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def bucket_of(hashed: int) -> int:
    """Return the bucket that a hash is XORed into."""
    return hashed % BUCKETS
