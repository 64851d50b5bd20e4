"""Places of chunks, as plans of drains are made of them."""

from __future__ import annotations

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.server_modes import PlaceRow


def place(number: int, good: tuple[int, ...], **changes: object) -> PlaceRow:
    """Return a sealed chunk of 1,000 bytes that these servers have."""
    fields: dict[str, object] = {
        "chunk_id": ChunkId(number),
        "state": "sealed",
        "length": 1000,
        "goal": 3,
        "min_copies": 2,
        "rule": "spread",
        "good": good,
        "holds": True,
    }
    return PlaceRow(**{**fields, **changes})
