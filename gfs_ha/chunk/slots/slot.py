"""One slot file: its header in two copies, its block CRCs, its data, and how they are checked.

Not thread-safe; `Replica` decides who may do what, and when.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import Disk, File, opened
from gfs_ha.chunk.readable import read_up_to_failure
from gfs_ha.chunk.slots.entries import last_whole, read_batches, table_up_to
from gfs_ha.chunk.slots.format import (
    COPY_BYTES,
    DATA_OFFSET,
    HEADER_BYTES,
    Copy,
    Header,
    Reading,
    State,
    copy_offset,
    decode_copy,
    encode_header,
    weigh,
)
from gfs_ha.errors import DiskFailed, NotFound, ReplicaDamaged
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.data import ChunkKind
from gfs_ha.protocol.grid import block_count

_UNREADABLE = Copy(None, None, blank=False, why_bad="it cannot be read")


@dataclass(frozen=True, slots=True)
class Verified:
    """What is really there: the end that verifies, with the CRCs up to it."""

    end: int
    table: array[int]


class Slot:
    """A slot file and what its header says now."""

    def __init__(self, disk: Disk, name: str, reading: Reading) -> None:
        self.disk = disk
        self.name = name
        self.header = reading.header
        self.copy_lost = reading.copy_lost
        self.doubt = ""  # Why a replica that is made of it is not to be listed as whole.
        self._table: array[int] | None = reading.table
        self._previous = reading.previous

    @property
    def held_table(self) -> array[int] | None:
        """Return the block CRCs that are in memory."""
        return self._table

    @property
    def table(self) -> array[int]:
        """Return the block CRCs up to the end; those of a sealed chunk are read when needed."""
        if self._table is not None:
            return self._table
        reading = read_header(self.disk, self.name)
        if reading is None or reading.header.end != self.header.end:
            raise ReplicaDamaged(f"chunk {self.header.chunk_id:#x}: its header cannot be read")
        return reading.table

    def open(self) -> File:
        """Open the file, to write to what is here. Raises: DiskFailed, also when it is gone."""
        try:
            return self.disk.open(self.name)
        except NotFound as error:
            # On another disk of this server there is room: it is not the server that fails.
            raise DiskFailed(f"chunk {self.header.chunk_id:#x}: {error.message}") from error

    def forget_table(self) -> None:
        """Keep the CRCs on the disk only: a million sealed chunks must not fill the memory."""
        self._table = None
        self._previous = None

    def note(self, header: Header, table: array[int]) -> None:
        """Count what is safe in the journal; the header on the disk follows later (D4)."""
        self.header = header
        self._table = table
        self._previous = None

    def note_gone(self) -> None:
        """Say that it is free: its file is gone, if not yet for good."""
        self.header = msgspec.structs.replace(self.header, state=State.FREE)
        self.copy_lost = ""

    def write(self, file: File, header: Header, table: array[int]) -> None:
        """Write the next copy; whether and when it is synced is the caller's decision."""
        header = msgspec.structs.replace(header, generation=self.header.generation + 1)
        file.write(copy_offset(header.generation), encode_header(header, table))
        self.header = header
        self._table = table
        self._previous = None

    def write_both(self, file: File, header: Header, table: array[int]) -> None:
        """Write both copies, one synced after the other: what must not be forgotten (D1)."""
        for _ in range(2):
            self.write(file, header, table)
            file.sync()

    def verify(self, file: File, buffer: memoryview) -> Verified:
        """Return the end of the last whole append whose bytes are there, read from the disk.

        The newer header may have outlived its data (one sync covers both): then what the older
        copy says counts. Of a put's chunk also the whole blocks before a damage count: its bytes
        are one stream. Of a tail the last batch counts whose bytes and entries are all there: its
        records are whole or absent (C8); a sealed one needs no entries any more.
        """
        # After a failed write-back the cache may hold what the disk does not.
        file.drop_cache()
        newest = Verified(self.header.end, self.table)
        good = verified_end(file, newest, buffer, self.header.gone)
        if self.header.kind is ChunkKind.TAIL and self.header.state is not State.SEALED:
            batches = read_batches(file, self.header.capacity, newest.end, buffer)
            ends = [(batch.end, batch.block_crc) for batch in batches]
            end, block_crc = last_whole(file, ends, good, buffer)
            return Verified(end, table_up_to(newest.table, end, block_crc))
        if good == newest.end:
            return newest
        older = Verified(0, array("I"))
        if self._previous is not None and self._previous[0].end <= newest.end:
            claim = Verified(self._previous[0].end, self._previous[1])
            if verified_end(file, claim, buffer) == claim.end:
                older = claim
        whole = good - good % BLOCK_BYTES
        if older.end > whole:
            return older
        return Verified(whole, newest.table[: whole // BLOCK_BYTES])


def create_slot(disk: Disk, name: str, header: Header) -> Slot:
    """Make a slot file whose header and name are safe. Raises: DiskFull, DiskFailed."""
    file = disk.create(name)
    try:
        file.write(copy_offset(header.generation), encode_header(header, array("I")))
        file.sync()
        disk.sync_names()
    except BaseException:
        file.close()
        disk.unlink(name)
        raise
    file.close()
    return Slot(disk, name, Reading(header, array("I"), None, ""))


def read_header(disk: Disk, name: str) -> Reading | None:
    """Return what the header says, or None when neither copy tells which chunk this is.

    Raises: DiskFailed when nothing of it can be read.
    """
    raw = memoryview(bytearray(HEADER_BYTES))
    with opened(disk, name) as file:
        try:
            raw = raw[: file.read(0, raw)]
        except DiskFailed:
            copies = [_read_copy(file, raw[at : at + COPY_BYTES], at) for at in (0, COPY_BYTES)]
            if all(copy is _UNREADABLE for copy in copies):
                raise
            return weigh(*copies)
    return weigh(decode_copy(raw[:COPY_BYTES]), decode_copy(raw[COPY_BYTES:]))


def _read_copy(file: File, into: memoryview, offset: int) -> Copy:
    """Return one copy of a header on a disk that cannot read all of it."""
    try:
        return decode_copy(into[: file.read(offset, into)])
    except DiskFailed:
        return _UNREADABLE


def verified_end(file: File, claim: Verified, buffer: memoryview, gone: int = 0) -> int:
    """Return the claimed end if all below it verifies, else where the first bad block begins.

    Blocks that are gone were given back because the masters said so: nothing is missing (G8).
    """
    step = len(buffer) - len(buffer) % BLOCK_BYTES
    for start in range(0, claim.end, step):
        length = min(step, claim.end - start)
        count = read_up_to_failure(file, DATA_OFFSET + start, buffer[:length])
        for block in range(start // BLOCK_BYTES, block_count(0, start + length)):
            if gone >> block & 1:
                continue
            at = block * BLOCK_BYTES - start
            end = min(at + BLOCK_BYTES, length)
            if end > count or crc32c(buffer[at:end]) != claim.table[block]:
                return block * BLOCK_BYTES
    return claim.end


def cut_table(file: File, claim: Verified, length: int, buffer: memoryview) -> array[int]:
    """Return the CRCs of the first `length` bytes of a claim that verified."""
    table = claim.table[: block_count(0, length)]
    tail = length % BLOCK_BYTES
    if tail and length < claim.end:
        if file.read(DATA_OFFSET + length - tail, buffer[:tail]) < tail:
            raise ReplicaDamaged(f"a slot ends before {length}")
        table[-1] = crc32c(buffer[:tail])
    return table
