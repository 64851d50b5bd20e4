"""Wakes a thread that waits in poll, from any other thread."""

from __future__ import annotations

import os
import threading


class Wakeup:
    """An eventfd that is written at most once per time its reader looks.

    Its order makes no wake-up get lost: the writer queues, then sets; the reader clears, then
    takes from the queue.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._pending = False
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def set(self) -> None:
        """Make the descriptor readable. Thread-safe; does nothing once closed."""
        if self._pending:
            return
        # The lock keeps us from writing to a descriptor that meanwhile is somebody else's.
        with self._lock:
            if not self._closed:
                self._pending = True
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        """Take the wake-up; the reader's thread calls it when the descriptor is readable."""
        os.eventfd_read(self.descriptor)
        self._pending = False

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self.descriptor)
