"""Big pieces of memory for content on its way, made once and used again."""

from __future__ import annotations

import mmap

from gfs_ha.runtime import Runtime

IDLE_BYTES_MAX = 128 << 20


class MemoryPool:
    """Lends page-aligned memory of one size. Thread-safe.

    It never refuses: who borrows is bounded by what it has in flight. Giving memory back to the
    system and touching it anew costs more than the copy into it, so some of it is kept.
    """

    def __init__(self, size: int, runtime: Runtime) -> None:
        self.size = size
        self._idle_max = max(2, IDLE_BYTES_MAX // size)
        self._lock = runtime.lock()
        self._idle: list[memoryview] = []

    def take(self) -> memoryview:
        """Return writable memory; its content is left over from an earlier user."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        pages = mmap.mmap(-1, self.size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                pages.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # A kernel without huge pages: slower, not wrong.
        return memoryview(pages)

    def give(self, memory: memoryview) -> None:
        """Take memory back; no view of it may be used any more."""
        with self._lock:
            if len(self._idle) < self._idle_max:
                self._idle.append(memory)
