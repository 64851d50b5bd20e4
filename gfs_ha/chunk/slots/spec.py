"""What a new replica is made from, and the first header that says so."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.chunk.slots.format import Header, State
from gfs_ha.ids import Birth, ChunkId
from gfs_ha.protocol.data import ChunkKind, Durability


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """Fields of the chunk's row."""

    chunk_id: ChunkId
    birth: Birth
    kind: ChunkKind
    capacity: int
    durability: Durability

    def describes(self, header: Header) -> bool:
        """Return whether a header is that of a replica which was made from it."""
        made = (header.chunk_id, header.birth, header.kind, header.capacity, header.durability)
        return made == (self.chunk_id, self.birth, self.kind, self.capacity, self.durability)


def first_header(spec: ReplicaSpec, boot_id: int, now_ms: int, journal_floor: int = 0) -> Header:
    """Return the header of an empty replica that takes appends.

    The boot id is that of the making, not of the first append: a chunk kept in memory only must
    never look untouched after a reboot. What is in the journal by now is of an older replica.
    """
    return Header(
        generation=0,
        chunk_id=spec.chunk_id,
        birth=spec.birth,
        kind=spec.kind,
        durability=spec.durability,
        state=State.OPEN,
        capacity=spec.capacity,
        first_boot_id=boot_id,
        written_ms=now_ms,
        journal_floor=journal_floor,
    )
