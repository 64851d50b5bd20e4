"""Records as they come in: standard input as lines, or as one record."""

from __future__ import annotations

import sys
from collections import deque
from typing import BinaryIO

from gfs_ha.errors import InvalidArgument, LimitExceeded, UsageError
from gfs_ha.limits import KIB, RECORD_BYTES_MAX
from gfs_ha.runtime import Runtime

READ_BYTES = 64 * KIB
BATCHES_MAX = 16  # Read and not taken yet; then the input waits.
_SLICE_S = 1.0


def standard_input() -> BinaryIO:
    """Return standard input as bytes. Raises: UsageError when it is closed."""
    if sys.stdin is None:
        raise UsageError("standard input is closed; there is nothing to append")
    return sys.stdin.buffer


def whole(source: BinaryIO) -> bytes:
    """Return all of the input, to be one record. Raises: InvalidArgument, LimitExceeded."""
    parts: list[bytes] = []
    size = 0
    while size <= RECORD_BYTES_MAX and (data := source.read(RECORD_BYTES_MAX + 1 - size)):
        parts.append(data)
        size += len(data)
    if not size:
        raise InvalidArgument("standard input is empty, and an empty record cannot be appended")
    if size > RECORD_BYTES_MAX:
        raise too_long_whole(RECORD_BYTES_MAX)
    return b"".join(parts)


def too_long_whole(limit: int) -> LimitExceeded:
    """Return the refusal of an input that is no single record."""
    return LimitExceeded(
        f"standard input has more than {limit} bytes, the most of one record here; "
        "--stdin-lines appends each line by itself, put stores it as a file"
    )


class Lines:
    """The lines of an input, read ahead by a task of their own, so that who waits hears signals.

    Each line keeps its newline; what comes behind the last one is a line without.
    """

    def __init__(self, source: BinaryIO, runtime: Runtime) -> None:
        self._source = source
        self._runtime = runtime
        self._state = runtime.condition()
        self._batches: deque[list[bytes]] = deque()
        self._count = 0
        self._ended = False
        self._failure: BaseException | None = None
        runtime.spawn("read lines", self._read)

    def take(self, timeout_s: float) -> list[bytes] | None:
        """Return the next lines, none when nothing came in time; None at the end of the input.

        Raises: OSError of the input; LimitExceeded for a line that is no record anywhere.
        """
        with self._state:
            if not self._batches and not self._ended:
                self._state.wait(timeout_s)
            if self._batches:
                self._state.notify_all()
                return self._batches.popleft()
            if not self._ended:
                return []
            if self._failure is not None:
                raise self._failure
            return None

    def _read(self) -> None:
        try:
            self._read_all()
        except (OSError, ValueError, LimitExceeded) as error:
            self._failure = error
        finally:
            with self._state:
                self._ended = True
                self._state.notify_all()

    def _read_all(self) -> None:
        read = getattr(self._source, "read1", self._source.read)
        rest = bytearray()
        while data := read(READ_BYTES):
            cut = data.rfind(b"\n") + 1
            if cut:
                self._hand_over(_lines(bytes(rest + data[:cut])))
                rest = bytearray(data[cut:])
            else:
                rest += data
            if len(rest) > RECORD_BYTES_MAX:
                raise LimitExceeded(
                    f"line {self._count + 1} has more than {RECORD_BYTES_MAX} bytes, the most of "
                    "one record; what is before it is appended"
                )
        if rest:
            self._hand_over([bytes(rest)])

    def _hand_over(self, lines: list[bytes]) -> None:
        self._count += len(lines)
        with self._state:
            while len(self._batches) >= BATCHES_MAX:
                self._state.wait(_SLICE_S)
            self._batches.append(lines)
            self._state.notify_all()


def _lines(data: bytes) -> list[bytes]:
    """Return the lines of bytes that end with a newline; no other character ends one."""
    return [line + b"\n" for line in data[:-1].split(b"\n")]
