"""A remote file that is appended to as a Python file object: small writes share records."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from gfs_ha.client.append_records import Appended
from gfs_ha.client.appender import Appender
from gfs_ha.errors import GfsError
from gfs_ha.limits import KIB
from gfs_ha.runtime import Future, Runtime

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import ReadableBuffer

COALESCE_BYTES = 32 * KIB  # So much of small writes becomes one record…
COALESCE_S = 0.005  # …or what came within this time.
IDLE_S = 10.0  # The task that watches the time ends after it, and comes back with a write.
SETTLED_WAIT_S = 24 * 3600.0


class RemoteAppender(io.RawIOBase):
    """Appends to a file; others may append to it at the same time, and no write is torn apart.

    One `write` up to the record limit (8 MiB, a quarter of a small chunk) lies in the file as a
    whole; a longer one is cut into records. Writes are sent after 32 KiB, 5 ms, or by `flush` and
    `close`, which wait until all is acknowledged; an error shows at the next write, flush or close.
    Leaving a `with` block by an exception keeps what was written, as a local file does.
    """

    def __init__(
        self, path: str, appender: Appender, runtime: Runtime, size: Callable[[], int]
    ) -> None:
        """Args: `size` tells the length of the file, for `tell` before the first write."""
        super().__init__()
        self._appender = appender
        self._runtime = runtime
        self._size = size
        self._state = runtime.condition()
        self._writing = runtime.lock()  # Keeps records in the order of the writes.
        self._buffer = bytearray()
        self._first_s = 0.0
        self._last: Future[Appended] | None = None
        self._failure: GfsError | None = None
        self._watched = False
        self._stopped = False
        self.name = path
        self.mode = "ab"

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        """Return where the last write of this file object ends, after a flush.

        Others may have appended behind it. Before the first write: the length of the file.
        """
        self._check_open()
        self.flush()
        if self._last is None:
            return self._size()
        last = self._last.result(SETTLED_WAIT_S)
        return last.offset + last.length

    def write(self, data: ReadableBuffer) -> int:
        """Take all of the bytes. Raises: what went wrong with earlier ones, NoServers, NoSpace…"""
        self._check_open()
        view = memoryview(data).cast("B")
        with self._writing:
            self._raise_failure()
            if len(self._buffer) + len(view) > COALESCE_BYTES:
                self._send_buffer()
            if len(view) >= COALESCE_BYTES:
                self._send_long(view)
            elif len(view):
                self._keep(view)
        return len(view)

    def flush(self) -> None:
        """Send what was written, and return when it is on every replica. Raises: as `write`."""
        if self.closed:
            return
        with self._writing:
            self._send_buffer()
        try:
            self._appender.flush()
        except GfsError as error:
            self._failure = error
        self._raise_failure()

    def close(self) -> None:
        """Flush, and let go. Raises: as `flush`."""
        if self.closed:
            return
        try:
            self.flush()
        finally:
            with self._state:
                self._stopped = True
                self._state.notify_all()
            self._appender.abandon()
            super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except GfsError:
            if kind is None:
                raise

    def __del__(self) -> None:
        if self.closed:
            return
        warnings.warn(f"{self.name} was never closed", ResourceWarning, stacklevel=2)
        self._stopped = True
        self._appender.abandon()
        super().close()

    def _keep(self, view: memoryview) -> None:
        with self._state:
            if not self._buffer:
                self._first_s = self._runtime.monotonic_s()
                self._state.notify_all()
            self._buffer += view
            if self._watched:
                return
            self._watched = True
        self._runtime.spawn("coalesce", self._watch)

    def _watch(self) -> None:
        """Send what has waited for long enough."""
        while True:
            with self._state:
                waited_s = IDLE_S
                if self._buffer:
                    waited_s = self._first_s + COALESCE_S - self._runtime.monotonic_s()
                due = bool(self._buffer) and waited_s <= 0
                if not due and not self._stopped:
                    self._state.wait(waited_s)
                    due = bool(self._buffer)
                if self._stopped or not due:
                    self._watched = False
                    return
                late = self._runtime.monotonic_s() >= self._first_s + COALESCE_S
            if late:
                with self._writing:
                    self._send_buffer()

    def _send_buffer(self) -> None:
        """Send the small writes as one record; who calls holds `_writing`."""
        with self._state:
            data, self._buffer = bytes(self._buffer), bytearray()
        if data:
            self._send(data)

    def _send_long(self, view: memoryview) -> None:
        limit = self._appender.record_bytes_max
        for start in range(0, len(view), limit):
            self._send(bytes(view[start : start + limit]))

    def _send(self, data: bytes) -> None:
        try:
            self._last = self._appender.append(data)
        except GfsError as error:
            self._failure = error

    def _raise_failure(self) -> None:
        self._failure = self._failure or self._appender.broken
        if self._failure is not None:
            raise self._failure

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
