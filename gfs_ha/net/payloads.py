"""What goes into one record of a sealed stream: small parts joined, big ones cut."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.limits import KIB
from gfs_ha.net.streams import Bytes

RECORD_BYTES_MAX = 256 * KIB  # Of payload.
SMALL_BYTES = 32 * KIB  # Shorter parts are joined.


def payloads_of(parts: Sequence[Bytes]) -> list[Bytes]:
    """Return the payloads that parts are sent in."""
    found: list[Bytes] = []
    small: list[Bytes] = []
    size = 0
    for part in parts:
        if len(part) < SMALL_BYTES:
            if size + len(part) > SMALL_BYTES:
                found.append(b"".join(small))
                small, size = [], 0
            small.append(part)
            size += len(part)
            continue
        if size:
            found.append(b"".join(small))
            small, size = [], 0
        view = memoryview(part).cast("B")
        for start in range(0, len(view), RECORD_BYTES_MAX):
            found.append(view[start : start + RECORD_BYTES_MAX])
    if size:
        found.append(b"".join(small))
    return found
