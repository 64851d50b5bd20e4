"""A slot file to the byte: two self-checked copies of its header, then the data of one chunk.

    0        copy A: fixed part (one sector, own CRC), then the CRC of each 64 KiB block (own CRC)
    8 KiB    copy B: the same
    64 KiB   the chunk's bytes

The copies are written in turn, by generation: an even one goes to A, an odd one to B, and only when
the other copy is durable. So a power cut costs at most the newer one, and the two hold the ends of
the last two pushes: the promise of a push whose bytes were lost, and what stood before it.
"""

from __future__ import annotations

import enum
import struct
from array import array
from dataclasses import dataclass

import msgspec

from gfs_ha.checksum import CRC32C_ALGORITHM, crc32c
from gfs_ha.ids import Birth, ChunkId, LogIndex, unpack_epoch
from gfs_ha.limits import BLOCK_BYTES, CHUNK_BYTES_MAX, SLOT_HEAD_BYTES
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.gone import MASK_BYTES_MAX
from gfs_ha.protocol.grid import CRC_BYTES, block_count, pack_crcs, unpack_crcs

FORMAT_VERSION = 1
COPY_BYTES = 8192
DATA_OFFSET = SLOT_HEAD_BYTES
HEADER_BYTES = 2 * COPY_BYTES  # What has to be read to know a slot.


class State(enum.IntEnum):
    FREE = 1  # Told to be free; the file goes away.
    OPEN = 2
    FENCED = 3  # Takes no appends; not sealed yet.
    SEALED = 4
    TOMBSTONE = 5  # Fenced before anything of it came here: no data, and never any.
    COPYING = 6  # Being filled from another server; nobody counts on it, and a start removes it.


class SlotFlag(enum.IntFlag):
    COPY_LOST = 1  # One copy of the header was found damaged: no proof any more (D1).
    QUARANTINED = 2  # Differs from its peers, or is damaged: kept, never served.
    REPLACES = 4  # A verified copy, made beside a replica that was damaged: that one goes.


class Header(msgspec.Struct, frozen=True):
    """What a slot says about its replica.

    Fields:
        end: the end of the last whole append that counts; the CRC table covers exactly that.
        promised_end: the highest end that this header ever promised (C3).
        first_boot_id: boot id of the machine at the first append, 0 before.
        fence_index, order_index: log index of the fence, and of the newest order obeyed.
        journal_floor: appends up to that number of the journal are not of this replica (D4).
        gone: the set of blocks whose room was given back (G8); their CRCs stay in the table.
    """

    generation: int
    chunk_id: ChunkId
    birth: Birth
    kind: ChunkKind
    durability: Durability
    state: State
    capacity: int
    end: int = 0
    promised_end: int = 0
    first_boot_id: int = 0
    fence_index: LogIndex = LogIndex(0)
    order_index: LogIndex = LogIndex(0)
    written_ms: int = 0
    digest: int = 0
    flags: SlotFlag = SlotFlag(0)
    gone: int = 0
    journal_floor: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a header as it was found. Blank is all zeros: never written."""

    header: Header | None
    table: array[int] | None
    blank: bool
    why_bad: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both copies, weighed: the newest header, the push before it, and what is lost."""

    header: Header
    table: array[int]
    previous: tuple[Header, array[int]] | None
    copy_lost: str  # Why one copy cannot be read, else empty.


# magic, version, algorithm, state, kind, durability, flags, reserved, generation, chunk, birth,
# capacity, end, promised end, first boot, fence index, order index, written ms, digest,
# count of CRCs, CRC of the table, journal floor (an older release wrote zeros there)
_FIXED = struct.Struct("<8sHBBBBHQQQQQQQQQqIII4xQ")
_FIXED_BYTES = 512
_CRC = struct.Struct("<I")
_CRC_AT = _FIXED_BYTES - _CRC.size
_MAGIC = b"GFS-SLOT"
_GONE_AT = 128  # The set of blocks that are gone, one bit each; an older release wrote zeros there.
_GONE = slice(_GONE_AT, _GONE_AT + MASK_BYTES_MAX)

assert _FIXED.size <= _GONE_AT and _GONE.stop <= _CRC_AT
assert _FIXED_BYTES + CRC_BYTES * (CHUNK_BYTES_MAX // BLOCK_BYTES) <= COPY_BYTES
assert HEADER_BYTES <= DATA_OFFSET and DATA_OFFSET % BLOCK_BYTES == 0


def copy_offset(generation: int) -> int:
    """Return where in the file the copy of that generation lies."""
    return COPY_BYTES * (generation & 1)


def encode_header(header: Header, table: array[int]) -> bytes:
    """Return one copy: no longer than it has to be, so that a small chunk writes one page."""
    assert len(table) == block_count(0, header.end), (len(table), header.end)
    packed = pack_crcs(table)
    fixed = _FIXED.pack(
        _MAGIC,
        FORMAT_VERSION,
        CRC32C_ALGORITHM,
        header.state,
        header.kind,
        header.durability,
        header.flags,
        header.generation,
        header.chunk_id,
        header.birth.pack(),
        header.capacity,
        header.end,
        header.promised_end,
        header.first_boot_id,
        header.fence_index,
        header.order_index,
        header.written_ms,
        header.digest,
        len(table),
        crc32c(packed),
        header.journal_floor,
    )
    if header.gone:
        fixed = fixed.ljust(_GONE_AT, b"\0") + header.gone.to_bytes(MASK_BYTES_MAX, "little")
    fixed = fixed.ljust(_CRC_AT, b"\0")
    return fixed + _CRC.pack(crc32c(fixed)) + packed


def decode_copy(data: memoryview) -> Copy:
    """Return one copy from its COPY_BYTES (fewer at the end of a short file). Never raises."""
    if not any(data[:_FIXED_BYTES]):
        return Copy(None, None, blank=True)
    if len(data) < _FIXED_BYTES:
        return _bad("it is cut off")
    if _CRC.unpack_from(data, _CRC_AT)[0] != crc32c(data[:_CRC_AT]):
        return _bad("its fixed part fails its CRC")
    magic, version, algorithm, *fields = _FIXED.unpack_from(data)
    if magic != _MAGIC or version != FORMAT_VERSION or algorithm != CRC32C_ALGORITHM:
        return _bad(f"format {version} or algorithm {algorithm} is not known to this release")
    count, table_crc, _ = fields[-3:]
    header = _header(fields, int.from_bytes(data[_GONE], "little"))
    if header is None or count != block_count(0, header.end) or header.end > CHUNK_BYTES_MAX:
        return _bad("its fields make no sense")
    packed = data[_FIXED_BYTES : _FIXED_BYTES + CRC_BYTES * count]
    if len(packed) != CRC_BYTES * count or crc32c(packed) != table_crc:
        return Copy(header, None, blank=False, why_bad="its CRC table fails its CRC")
    return Copy(header, unpack_crcs(packed), blank=False)


def _bad(why: str) -> Copy:
    return Copy(None, None, blank=False, why_bad=why)


def _header(fields: list[int], gone: int) -> Header | None:
    state, kind, durability, flags, generation, chunk, birth, capacity, end, promised = fields[:10]
    first_boot, fence, order, written, digest = fields[10:15]
    try:
        return Header(
            generation=generation,
            chunk_id=ChunkId(chunk),
            birth=unpack_epoch(birth),
            kind=ChunkKind(kind),
            durability=Durability(durability),
            state=State(state),
            capacity=capacity,
            end=end,
            promised_end=promised,
            first_boot_id=first_boot,
            fence_index=LogIndex(fence),
            order_index=LogIndex(order),
            written_ms=written,
            digest=digest,
            flags=SlotFlag(flags),
            gone=gone,
            journal_floor=fields[-1],
        )
    except ValueError:
        return None


def weigh(first: Copy, second: Copy) -> Reading | None:
    """Return what the two copies say together, or None when neither tells which chunk this is.

    A copy whose fixed part is whole but whose table is not still tells its promise: the replica
    then stands at the older end, below what it promised, and is no proof (C3).
    """
    whole = [copy for copy in (first, second) if copy.header is not None]
    if not whole:
        return None
    whole.sort(key=_generation, reverse=True)
    newest = whole[0].header
    assert newest is not None
    told = [copy for copy in whole if copy.header and copy.header.chunk_id == newest.chunk_id]
    promised = max(copy.header.promised_end for copy in told if copy.header)
    lost = first.why_bad or second.why_bad
    if not lost and (first.blank or second.blank) and newest.generation > 0:
        lost = "a copy that was written is blank"
    usable = [(c.header, c.table) for c in told if c.header and c.table is not None]
    if usable:
        header, table = usable[0]
        previous = usable[1] if len(usable) > 1 else None
    else:
        header, table, previous = msgspec.structs.replace(newest, end=0), array("I"), None
    if header.state is State.SEALED:
        promised = header.promised_end  # The seal decided; the older copy promised more.
    # The next copy must not overwrite the only good one.
    generation = newest.generation
    if copy_offset(generation + 1) == copy_offset(header.generation):
        generation += 1
    # A half-written seal is no seal, but no append follows it either.
    state = header.state
    if state is State.OPEN and newest.state is not State.OPEN:
        state = State.FENCED
    header = msgspec.structs.replace(
        header, generation=generation, promised_end=promised, state=state
    )
    return Reading(header, table, previous, lost)


def _generation(copy: Copy) -> int:
    return copy.header.generation if copy.header else -1
