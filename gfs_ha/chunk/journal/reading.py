"""What a start finds in the journal of a disk: the appends that may not be in their slots yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gfs_ha.chunk.disk import Disk, File, opened
from gfs_ha.chunk.journal.frames import (
    TITLE_BYTES,
    SegmentContent,
    SegmentState,
    Title,
    decode_title,
    read_segment,
)
from gfs_ha.chunk.readable import read_all_that_can_be
from gfs_ha.errors import DiskFailed, NotFound
from gfs_ha.ids import ChunkId, DiskId

JOURNAL_NAME = "appends.journal"


@dataclass(slots=True)
class JournalFound:
    """What the titles of the segments say.

    Fields:
        size: of the file, 0 when there is none.
        used: the segments whose frames count, by the offset in the file, oldest first.
        newest_lsn: no frame that ever counted has a greater number, so far as titles tell.
        damage: why appends that were acknowledged may be missing, else empty.
    """

    size: int = 0
    used: list[tuple[int, Title]] = field(default_factory=list)
    newest_lsn: int = 0
    damage: str = ""
    torn: list[ChunkId] = field(default_factory=list)


def find_journal(disk: Disk, disk_id: DiskId, segment_bytes: int) -> JournalFound:
    """Return which segments count. Raises: DiskFailed."""
    found = JournalFound()
    try:
        with opened(disk, JOURNAL_NAME) as file:
            found.size = file.size()
            for start in range(0, found.size, segment_bytes):
                _look(found, file, start, disk_id)
    except NotFound:
        return found
    found.used.sort(key=lambda one: one[1].base)
    return found


def _look(found: JournalFound, file: File, start: int, disk_id: DiskId) -> None:
    sector = memoryview(bytearray(TITLE_BYTES))
    try:
        file.read(start, sector)
    except DiskFailed as error:
        found.damage = f"the segment at {start} of the journal: {error}"
        return
    title = decode_title(sector)
    if title is None:
        if any(sector):
            found.damage = f"the segment at {start} of the journal is damaged"
        return
    if title.disk_id != disk_id:
        found.damage = f"the segment at {start} of the journal is that of another disk"
        return
    found.newest_lsn = max(found.newest_lsn, title.base)
    if title.state is SegmentState.USED:
        found.used.append((start, title))


def read_used(disk: Disk, found: JournalFound, segment_bytes: int) -> Iterator[SegmentContent]:
    """Return the segments that count, one in memory at a time; `found` is completed meanwhile.

    What the disk cannot read is damage. Raises: DiskFailed for the file as a whole.
    """
    if not found.used:
        return
    buffer = memoryview(bytearray(segment_bytes))
    ends: dict[tuple[int, int], int] = {}  # Of each segment: the number after its last frame.
    with opened(disk, JOURNAL_NAME) as file:
        for start, title in found.used:
            length, whole = read_all_that_can_be(file, start, buffer)
            content = read_segment(title, buffer[:length])
            if not whole:  # Who knows whether something of the newest group was there.
                content.damage = f"a part of the segment at {start} of the journal cannot be read"
            ends[title.run, title.base] = content.last_lsn + 1
            before = ends.get((title.run, title.before))
            if before is not None and before != title.base:
                content.damage = content.damage or f"frame {before} of the journal is damaged"
            found.damage = found.damage or content.damage
            found.newest_lsn = max(found.newest_lsn, content.last_lsn)
            if content.torn is not None:
                found.torn.append(content.torn)
            yield content
