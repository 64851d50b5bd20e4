"""The tally of one disk, kept with every change and written nowhere: a start counts anew (G7)."""

from __future__ import annotations

import struct

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.tally import BUCKETS, bucket_of, replica_hash
from gfs_ha.runtime import Runtime

_NUMBERS = struct.Struct(f">{BUCKETS}Q")


class Tally:
    """Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._numbers = [0] * BUCKETS
        self._packed = bytes(_NUMBERS.size)
        self._stale = False

    def change(self, chunk_id: ChunkId, before: int | None, after: int | None) -> None:
        """Count a sealed replica of length `after` instead of `before`; None is not counted."""
        with self._lock:
            for length in (before, after):
                if length is not None:
                    hashed = replica_hash(chunk_id, length)
                    self._numbers[bucket_of(hashed)] ^= hashed
            self._stale = True

    def packed(self) -> bytes:
        """Return the numbers as they travel; the same object while nothing changes."""
        with self._lock:
            if self._stale:
                self._packed = _NUMBERS.pack(*self._numbers)
                self._stale = False
            return self._packed
