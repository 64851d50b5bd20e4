"""One ticker per server that tells everyone above that their operation is worked on.

It must not depend on the thread that works: that one may wait for a disk or for the next server.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from gfs_ha.limits import PROGRESS_PERIOD_S
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.frames import FrameKind, encode_frame
from gfs_ha.runtime import Runtime

DISK_PATIENCE_S = 10.0


class DiskWatch:
    """Knows how long a thread has been waiting for the disk. One thread at a time waits."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._at_disk_since_s = 0.0

    def at_disk(self) -> AbstractContextManager[None]:
        """Say that the `with` block waits for the disk, which may never answer."""
        return self

    def __enter__(self) -> None:
        self._at_disk_since_s = self._runtime.monotonic_s()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._at_disk_since_s = 0.0

    def hangs(self) -> bool:
        """Return True when a disk call takes so long that this server must look dead."""
        since_s = self._at_disk_since_s
        return since_s > 0.0 and self._runtime.monotonic_s() - since_s > DISK_PATIENCE_S


class Told(Protocol):
    """Somebody who is told that work goes on. Never waits: who reads nothing misses the news."""

    def tell(self) -> None: ...


ToldT = TypeVar("ToldT", bound=Told)


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

    def working(self, stream: Stream, op_id: int) -> AbstractContextManager[Operation]:
        """Tell of progress inside the `with` block; after it, nothing more is sent."""
        return self.telling(Operation(stream, op_id, self._runtime))

    def telling(self, told: ToldT) -> AbstractContextManager[ToldT]:
        """Tell `told` again and again inside the `with` block, and never after it."""
        return _Telling(self, told)

    def begin(self, told: Told) -> None:
        with self._condition:
            self._running[told] = None

    def end(self, told: Told) -> None:
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


class _Telling(Generic[ToldT]):
    def __init__(self, ticker: ProgressTicker, told: ToldT) -> None:
        self._ticker = ticker
        self._told = told

    def __enter__(self) -> ToldT:
        self._ticker.begin(self._told)
        return self._told

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticker.end(self._told)
