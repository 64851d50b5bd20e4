"""One ticker per server that tells everyone above that their operation is worked on.

It must not depend on the thread that works: that one may wait for a disk or for the next server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from gfs_ha.limits import PROGRESS_PERIOD_S
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.frames import FrameKind, encode_frame
from gfs_ha.runtime import Runtime

DISK_PATIENCE_S = 10.0


class DiskWatch:
    """Knows how long a thread has been waiting for the disk."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._at_disk_since_s = 0.0

    @contextmanager
    def at_disk(self) -> Iterator[None]:
        """Say that the `with` block waits for the disk, which may never answer."""
        self._at_disk_since_s = self._runtime.monotonic_s()
        try:
            yield
        finally:
            self._at_disk_since_s = 0.0

    def hangs(self) -> bool:
        """Return True when a disk call takes so long that this server must look dead."""
        since_s = self._at_disk_since_s
        return since_s > 0.0 and self._runtime.monotonic_s() - since_s > DISK_PATIENCE_S


class Told(Protocol):
    """Somebody who is told that work goes on. Never waits: who reads nothing misses the news."""

    def tell(self) -> None: ...


class Operation:
    """One operation that is told about while it runs."""

    def __init__(self, stream: Stream, op_id: int, runtime: Runtime) -> None:
        self.disk = DiskWatch(runtime)
        self._stream = stream
        self._frame = encode_frame(FrameKind.PROGRESS, op_id)

    def tell(self) -> None:
        if not self.disk.hangs():
            self._stream.send_now(self._frame)


class ProgressTicker:
    """Sends a progress frame on the stream of each running operation every 200 ms."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._condition = runtime.condition()
        self._running: dict[Told, None] = {}  # In the order in which they began.
        self._stopped = False

    @contextmanager
    def working(self, stream: Stream, op_id: int) -> Iterator[Operation]:
        """Tell of progress inside the `with` block; after it, nothing more is sent."""
        operation = Operation(stream, op_id, self._runtime)
        with self.telling(operation):
            yield operation

    @contextmanager
    def telling(self, told: Told) -> Iterator[None]:
        """Tell `told` again and again inside the `with` block, and never after it."""
        with self._condition:
            self._running[told] = None
        try:
            yield
        finally:
            # Under the lock, so that no progress frame follows the final one or cuts into it.
            with self._condition:
                self._running.pop(told, None)

    def run(self) -> None:
        """Tick until `stop`."""
        with self._condition:
            while not self._stopped:
                for told in self._running:
                    told.tell()
                self._condition.wait(PROGRESS_PERIOD_S)

    def stop(self) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
