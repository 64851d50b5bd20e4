"""How the journal of a disk lies in its file: segments of one size, frames in them (no I/O).

    segment   one page that says what it holds, then groups of frames, each from a page of its own
    frame     head, entries, data: one batch of records of one tail

A group is what one sync made safe. It begins on a page of its own, so that a write which a power
cut tears never touches what was acknowledged before. The first sector of a segment says whether it
holds frames or may be used again; a sector is never torn.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from gfs_ha.checksum import CRC32C_ALGORITHM, crc32c
from gfs_ha.ids import Birth, ChunkId, DiskId, unpack_epoch

PAGE_BYTES = 4096
FORMAT_VERSION = 1

# magic, version, algorithm, state, boot id, disk id, run, base, base of the segment before, CRC
_TITLE = struct.Struct("<8sHBBQQQQQI")
TITLE_BYTES = _TITLE.size
_TITLE_MAGIC = b"GFS-JRNL"

# magic, length of entries, run, base, lsn, lsn of the group's first, chunk, birth, offset,
# length of the data, place of the entries, CRC of the last block, CRC of entries and data, CRC
_HEAD = struct.Struct("<4sIQQQQQQQIIIII")
HEAD_BYTES = _HEAD.size
_HEAD_MAGIC = b"GFSJ"
_CRC = struct.Struct("<I")

assert TITLE_BYTES <= 512 <= PAGE_BYTES


class SegmentState(enum.IntEnum):
    USED = 1  # Its frames may not be in their slots yet.
    FREE = 2  # They are, durably.


@dataclass(frozen=True, slots=True)
class Title:
    """The first sector of a segment.

    Fields:
        run: a random number of one run of the server; frames of another run are not its own.
        base: number of its first frame; of a free one, the newest number that was given.
        before: base of the segment that was filled before it, 0 if there was none in this run.
    """

    state: SegmentState
    boot_id: int
    disk_id: DiskId
    run: int
    base: int
    before: int = 0


@dataclass(frozen=True, slots=True)
class Append:
    """One batch of records of one tail.

    Fields:
        entries_at: where its frame of entries lies, counted from the room of the entries.
        block_crc: CRC of the block in which it ends, up to there.
        entries: packed.
    """

    chunk_id: ChunkId
    birth: Birth
    offset: int
    entries_at: int
    block_crc: int
    entries: bytes
    data: bytes = field(repr=False)

    @property
    def end(self) -> int:
        """Return where it ends in its chunk."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Frame:
    """An append with its number; they are given one by one, over the whole life of a disk."""

    lsn: int
    append: Append


def encode_title(title: Title) -> bytes:
    """Return the first sector of a segment."""
    fixed = _TITLE.pack(
        _TITLE_MAGIC,
        FORMAT_VERSION,
        CRC32C_ALGORITHM,
        title.state,
        title.boot_id,
        title.disk_id,
        title.run,
        title.base,
        title.before,
        0,
    )[: -_CRC.size]
    return fixed + _CRC.pack(crc32c(fixed))


def decode_title(page: memoryview) -> Title | None:
    """Return what the first sector says, or None when it is damaged or not of this release."""
    if len(page) < TITLE_BYTES:
        return None
    magic, version, algorithm, state, boot, disk, run, base, before, crc = _TITLE.unpack_from(page)
    if crc32c(page[: TITLE_BYTES - _CRC.size]) != crc or magic != _TITLE_MAGIC:
        return None
    if version != FORMAT_VERSION or algorithm != CRC32C_ALGORITHM:
        return None
    try:
        return Title(SegmentState(state), boot, DiskId(disk), run, base, before)
    except ValueError:
        return None


def frame_bytes(append: Append) -> int:
    """Return how long the frame of an append is."""
    return HEAD_BYTES + len(append.entries) + len(append.data)


def encode_frame(title: Title, lsn: int, group: int, append: Append) -> bytes:
    """Return a frame. Args: `group` is the number of the first frame of its group."""
    head = _HEAD.pack(
        _HEAD_MAGIC,
        len(append.entries),
        title.run,
        title.base,
        lsn,
        group,
        append.chunk_id,
        append.birth.pack(),
        append.offset,
        len(append.data),
        append.entries_at,
        append.block_crc,
        crc32c(append.data, crc32c(append.entries)),
        0,
    )[: -_CRC.size]
    return b"".join((head, _CRC.pack(crc32c(head)), append.entries, append.data))


def padded(length: int) -> int:
    """Return how much room a group takes that is so long."""
    return -(-length // PAGE_BYTES) * PAGE_BYTES


@dataclass(slots=True)
class SegmentContent:
    """The frames of one segment, in their order.

    Fields:
        damage: why some that were acknowledged are missing, else empty.
        torn: the chunk whose append comes next, but not whole: it may have been acknowledged.
    """

    title: Title
    frames: list[Frame] = field(default_factory=list)
    damage: str = ""
    torn: ChunkId | None = None

    @property
    def last_lsn(self) -> int:
        """Return the number of its last whole frame."""
        return self.title.base + len(self.frames) - 1


def read_segment(title: Title, data: memoryview) -> SegmentContent:
    """Return the frames that lie whole in a segment, as far as none is missing."""
    content = SegmentContent(title)
    at = PAGE_BYTES
    while at < len(data):
        expected = title.base + len(content.frames)
        head = _decode_head(title, data[at:])
        if head is not None and head.lsn == expected:
            append = _decode_body(head, data[at:])
            if append is not None:
                content.frames.append(Frame(head.lsn, append))
                at += frame_bytes(append)
                continue
            content.torn = head.chunk_id
            break
        if at % PAGE_BYTES == 0:
            break
        at = padded(at)
    else:
        return content
    expected = title.base + len(content.frames)
    # From this very page on: behind a head that rotted the next group may begin right here.
    if any(head.group > expected for head in _later_heads(title, data, padded(at))):
        content.damage = f"frame {expected} of the journal is damaged"
    return content


@dataclass(frozen=True, slots=True)
class _Head:
    entries_length: int
    lsn: int
    group: int
    chunk_id: ChunkId
    birth: int
    offset: int
    data_length: int
    entries_at: int
    block_crc: int
    body_crc: int


def _decode_head(title: Title, data: memoryview) -> _Head | None:
    """Return a head that is whole and belongs to this segment in its present life."""
    if len(data) < HEAD_BYTES or data[: len(_HEAD_MAGIC)] != _HEAD_MAGIC:
        return None
    _, entries_length, run, base, *fields, crc = _HEAD.unpack_from(data)
    if (run, base) != (title.run, title.base):
        return None
    if crc32c(data[: HEAD_BYTES - _CRC.size]) != crc:
        return None
    return _Head(entries_length, *fields)


def _decode_body(head: _Head, data: memoryview) -> Append | None:
    end = HEAD_BYTES + head.entries_length + head.data_length
    body = data[HEAD_BYTES:end]
    if len(data) < end or crc32c(body) != head.body_crc:
        return None
    return Append(
        head.chunk_id,
        unpack_epoch(head.birth),
        head.offset,
        head.entries_at,
        head.block_crc,
        bytes(body[: head.entries_length]),
        bytes(body[head.entries_length :]),
    )


def _later_heads(title: Title, data: memoryview, start: int) -> Iterator[_Head]:
    """Return the heads that begin a page: the first frame of each group does."""
    for at in range(start, len(data), PAGE_BYTES):
        head = _decode_head(title, data[at:])
        if head is not None:
            yield head
