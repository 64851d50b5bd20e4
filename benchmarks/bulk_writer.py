"""A process that writes files of 64 MiB as fast as a chunkserver does, and tells how much it wrote.

    python benchmarks/bulk_writer.py DIRECTORY SECONDS

It writes as slots are written: MiB by MiB, each window waited for (D5), synced at the end of a
chunk.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.limits import CHUNK_BYTES_MAX, MIB, WRITE_BACK_BYTES

FILES = 3  # Overwritten in turn, so that the disk does not fill.


def main(directory: str, seconds: str) -> None:
    """Write until the time is over; print the bytes."""
    disk = PosixDisk(Path(directory))
    block = mmap.mmap(-1, MIB)
    block.write(os.urandom(MIB))
    data = memoryview(block)
    end_s = time.monotonic() + float(seconds)
    written = number = 0
    while time.monotonic() < end_s:
        name = f"bulk-{number % FILES}"
        number += 1
        disk.unlink(name)
        file = disk.create(name)
        file.allocate(CHUNK_BYTES_MAX)
        for offset in range(0, CHUNK_BYTES_MAX, WRITE_BACK_BYTES):
            file.write(offset, data)
            file.write_back(offset, WRITE_BACK_BYTES)
            written += WRITE_BACK_BYTES
        file.sync()
        file.close()
    print(written)


if __name__ == "__main__":
    main(*sys.argv[1:3])
