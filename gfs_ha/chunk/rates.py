"""What this chunkserver serves to clients: counted as it is served, told with each heartbeat."""

from __future__ import annotations

from gfs_ha.net.served import ServedCounter
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.runtime import Runtime


class Rates:
    """Thread-safe. A write takes as long as this server and those below need once it is here."""

    def __init__(self, runtime: Runtime) -> None:
        self.read = ServedCounter(runtime)
        self.write = ServedCounter(runtime)
        self.append = ServedCounter(runtime)
        self._lock = runtime.lock()
        self._put_bytes = 0

    def note_put(self, length: int, took_s: float, ends_here: bool) -> None:
        """Count a push of a put; `ends_here` says that this is the last server of its chain."""
        self.write.note(length, took_s)
        if ends_here:
            with self._lock:
                self._put_bytes += length

    def facts(self, waiting: int) -> LoadFacts:
        """Return the counters; `waiting` records of appends are not on any disk yet."""
        return LoadFacts(
            read=self.read.facts(),
            write=self.write.facts(),
            append=self.append.facts(),
            put_bytes=self._put_bytes,
            queue=self.read.under_way + self.write.under_way + waiting,
        )
