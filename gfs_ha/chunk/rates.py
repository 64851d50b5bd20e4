"""What this chunkserver serves to clients: counted as it is served, told with each heartbeat."""

from __future__ import annotations

from gfs_ha.chunk.appends.batch import Batch
from gfs_ha.net.served import ServedCounter
from gfs_ha.net.usage_book import UsageBook
from gfs_ha.protocol.data import DataRequest
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.usage import APPEND, READ, UNNAMED, WRITE
from gfs_ha.runtime import Runtime


class Rates:
    """Thread-safe. A write takes as long as this server and those below need once it is here."""

    def __init__(self, runtime: Runtime) -> None:
        self.read = ServedCounter(runtime)
        self.write = ServedCounter(runtime)
        self.append = ServedCounter(runtime)
        self.usage = UsageBook(runtime)
        self._lock = runtime.lock()
        self._put_bytes = 0

    def note_read(self, request: DataRequest, took_s: float) -> None:
        """Count a read that was served."""
        self.read.note(request.length, took_s)
        self.usage.note(request.label or UNNAMED, READ, request.length, took_s)

    def note_put(self, request: DataRequest, length: int, took_s: float) -> None:
        """Count a push of a put, of so many bytes.

        Its bytes count by the last server of its chain, whom it serves by the first: that one
        alone knows, and waits as long as the client does.
        """
        self.write.note(length, took_s)
        if not request.hops:
            with self._lock:
                self._put_bytes += length
        if request.label:
            self.usage.note(request.label, WRITE, length, took_s)

    def note_batch(self, batch: Batch, took_s: float) -> None:
        """Count the records of a batch, each for who asked for it first."""
        self.append.note(batch.length, took_s, len(batch.arrivals))
        served: dict[str, tuple[int, int]] = {}
        for one, entry in zip(batch.arrivals, batch.entries, strict=True):
            client = (one.asking[0].client if one.asking else "") or UNNAMED
            count, length = served.get(client, (0, 0))
            served[client] = count + 1, length + entry.length
        for client, (count, length) in served.items():
            self.usage.note(client, APPEND, length, took_s, count)

    @property
    def put_bytes(self) -> int:
        """Return the bytes of clients' puts whose chain ends here."""
        return self._put_bytes

    def facts(self, waiting: int) -> LoadFacts:
        """Return the counters; `waiting` records of appends are not on any disk yet."""
        return LoadFacts(
            read=self.read.facts(),
            write=self.write.facts(),
            append=self.append.facts(),
            put_bytes=self._put_bytes,
            queue=self.read.under_way + self.write.under_way + waiting,
        )
