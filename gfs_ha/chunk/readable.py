"""How much of a file can be read: one sector that cannot must not cost all the others (D3)."""

from __future__ import annotations

from gfs_ha.chunk.disk import File
from gfs_ha.errors import DiskFailed

PAGE_BYTES = 4096  # What a disk gives up at once.


def read_up_to_failure(file: File, offset: int, into: memoryview) -> int:
    """Fill `into` from there; return how much of it can be read before the first page that cannot.

    Never raises DiskFailed: what cannot be read is as good as not there.
    """
    try:
        return file.read(offset, into)
    except DiskFailed:
        return _page_by_page(file, offset, into)


def _page_by_page(file: File, offset: int, into: memoryview) -> int:
    done = 0
    while done < len(into):
        part = into[done : done + PAGE_BYTES - (offset + done) % PAGE_BYTES]
        try:
            count = file.read(offset + done, part)
        except DiskFailed:
            return done
        done += count
        if count < len(part):
            return done
    return done


def read_all_that_can_be(file: File, offset: int, into: memoryview) -> tuple[int, bool]:
    """Fill `into` from there, with zeros for pages that cannot be read.

    Returns how much there is, and whether all of it could be read.
    """
    try:
        return file.read(offset, into), True
    except DiskFailed:
        pass
    end = max(0, min(len(into), file.size() - offset))
    done = 0
    while done < end:
        done += read_up_to_failure(file, offset + done, into[done:end])
        if done < end:
            page_end = done + PAGE_BYTES - (offset + done) % PAGE_BYTES
            into[done : min(page_end, end)] = bytes(min(page_end, end) - done)
            done = min(page_end, end)
    return end, False
