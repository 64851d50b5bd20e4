"""Big files beside a store that commits: written, and removed, in small windows.

A commit on the same disk waits for what the disk was given before it. Measured with 105 MiB on
ext4 with `discard`: the copy that LMDB writes by itself (O_DIRECT, at full speed) held a commit up
for 50-58 ms, one left to the page cache for 26-61 ms, windows of 1 MiB that are waited for 4-7 ms;
removing the file at once 15-41 ms, in steps of 4 MiB 7-12 ms (5-10 ms without anything).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

WINDOW_BYTES = 1 << 20
_STEP_BYTES = 4 << 20
_STEP_PAUSE_S = 0.01
_WAIT_WRITE_WAIT = 7  # SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

WriteBack = Callable[[int, int, int], None]


def write_back(number: int, offset: int, length: int) -> None:
    """Have a range of an open file written to the disk, and wait for it. Raises: OSError."""
    if _libc.sync_file_range(number, offset, length, _WAIT_WRITE_WAIT):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def write_in_windows(
    source: int, path: Path, stopped: Callable[[], bool], write_back: WriteBack = write_back
) -> bool:
    """Write what comes from a descriptor to a new file, up to its end or until `stopped`.

    Returns whether all of it was written; it is not synced. Raises: OSError.
    """
    window = memoryview(bytearray(WINDOW_BYTES))
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        offset = 0
        while not stopped():
            length = _fill(source, window)
            if not length:
                return True
            written = 0
            while written < length:
                written += os.write(number, window[written:length])
            write_back(number, offset, length)
            offset += length
        return False
    finally:
        os.close(number)


def _fill(source: int, window: memoryview) -> int:
    filled = 0
    while filled < len(window):
        count = os.readv(source, [window[filled:]])
        if not count:
            break
        filled += count
    return filled


def remove_in_steps(path: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Remove a file that may be big; it is cut shorter step by step first. Raises: OSError."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    while size > _STEP_BYTES:
        size -= _STEP_BYTES
        os.truncate(path, size)
        pause(_STEP_PAUSE_S)
    path.unlink()
