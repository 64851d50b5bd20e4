"""What a replica says about itself: its answer to a fence (C3), and what it may serve (C10)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from gfs_ha.checksum import chunk_digest, combine_blocks
from gfs_ha.chunk.disk import File
from gfs_ha.chunk.slots.entries import read_batches, records_within
from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.slot import Verified
from gfs_ha.errors import ChunkUnavailable, RangeGone, ReplicaDamaged, UnknownReplica
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.gone import blocks_of
from gfs_ha.protocol.grid import block_count
from gfs_ha.protocol.records import RecordEntry


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A range that may be served, with the CRCs of the blocks that it touches.

    Fields:
        crcs: of whole blocks, the last one of the chunk up to `end`.
    """

    name: str
    offset: int
    length: int
    end: int
    sealed: bool
    digest: int
    crcs: array[int]


@dataclass(frozen=True, slots=True)
class Proof:
    """What the first bytes of a replica are (C4): their digest; of an open tail also the rest.

    Fields:
        crc: CRC-32C of those bytes.
        records: those that lie in them and may still be asked about.
    """

    digest: int
    crc: int | None = None
    records: tuple[RecordEntry, ...] = ()


def prove(file: File, header: Header, whole: Verified, buffer: memoryview) -> Proof:
    """Return the proof of a range that verified. Raises: ReplicaDamaged, DiskFailed."""
    digest = chunk_digest(whole.table)
    if header.kind is ChunkKind.PUT:
        return Proof(digest)
    records: tuple[RecordEntry, ...] = ()
    if header.state is not State.SEALED:  # Then they are cut off, and the masters have them.
        batches = read_batches(file, header.capacity, whole.end, buffer)
        records = records_within(batches, whole.end)
    return Proof(digest, combine_blocks(whole.table, whole.end), records)


def check_served(header: Header, committed: int, wanted: tuple[int, int], data: bool) -> None:
    """Raise unless (offset, length) may be served: of its data, or of its CRCs only.

    Raises: ReplicaDamaged when it is quarantined; RangeGone where blocks were given back (G8);
    ChunkUnavailable beyond what is known to count of an open tail (C10).
    """
    if header.flags & SlotFlag.QUARANTINED:
        raise ReplicaDamaged(f"chunk {header.chunk_id:#x} is quarantined on this server")
    if data and header.gone & blocks_of(*wanted):
        raise RangeGone(
            f"bytes {wanted[0]} to {sum(wanted)} of chunk {header.chunk_id:#x} were given back: no"
            " file had them any more; look the file up again"
        )
    in_tail = header.state is not State.SEALED and header.kind is ChunkKind.TAIL
    if in_tail and sum(wanted) > committed:
        raise ChunkUnavailable(
            f"tail {header.chunk_id:#x} is known to count up to {committed} here, "
            f"not to {sum(wanted)}; ask its primary",
            end=committed,
        )


def condition_of(header: Header, distrusted: str) -> str:
    """Return how reports call a replica with that header."""
    if header.flags & SlotFlag.QUARANTINED:
        return "quarantined"
    if header.flags & SlotFlag.COPY_LOST or distrusted:
        return "damaged"
    return header.state.name.lower()


def plan_read(name: str, header: Header, claim: Verified, wanted: tuple[int, int]) -> ReadPlan:
    """Return the plan for (offset, length) of what is there.

    Raises: ChunkUnavailable; UnknownReplica when the slot says already that it is free.
    """
    offset, length = wanted
    if len(claim.table) < block_count(0, claim.end):
        # Readers never wait for an order: this one came between its stamp and its end.
        raise UnknownReplica(f"chunk {header.chunk_id:#x} is just being deleted here")
    if offset + length > claim.end:
        raise ChunkUnavailable(
            f"chunk {header.chunk_id:#x} has {claim.end} bytes here, not {offset + length}; "
            "read another replica",
            end=claim.end,
        )
    first = offset // BLOCK_BYTES
    return ReadPlan(
        name=name,
        offset=offset,
        length=length,
        end=claim.end,
        sealed=header.state is State.SEALED,
        digest=header.digest,
        crcs=claim.table[first : first + block_count(offset, length)],
    )


def fence_answer(
    header: Header, verified: Verified, order_index: LogIndex, boot_id: int, distrusted: str
) -> FenceAnswer:
    """Return what the leader is told, and whether it may decide a seal (C3)."""
    why_not = distrusted
    if header.flags & SlotFlag.COPY_LOST:
        why_not = "one copy of its header was lost"
    elif header.flags & SlotFlag.QUARANTINED:
        why_not = "it is quarantined"
    elif verified.end < header.promised_end:
        why_not = f"{verified.end} of {header.promised_end} promised bytes verify"
    elif (
        header.durability is Durability.MEMORY
        and header.state is not State.SEALED
        and header.first_boot_id != boot_id
    ):
        why_not = "it was kept in memory only and the machine started again since"
    return FenceAnswer(
        chunk_id=header.chunk_id,
        order_index=order_index,
        end=verified.end,
        promised_end=header.promised_end,
        boot_id=boot_id,
        first_boot_id=header.first_boot_id,
        proof=not why_not,
        why_not=why_not,
    )
