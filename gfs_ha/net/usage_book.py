"""Whom this process serves: counted as it serves, in bounded room, for the last hour."""

from __future__ import annotations

from collections.abc import Iterable

from gfs_ha.latency import class_of
from gfs_ha.protocol.usage import CLIENT, KEPT, KINDS, OPERATION, PATH, UsageFacts, told_sketch
from gfs_ha.runtime import Runtime
from gfs_ha.sketch import Sketch
from gfs_ha.sketch_windows import HOUR, WINDOWS, SketchWindows

TELL_S = 5.0


class UsageBook:
    """Thread-safe. A note takes some microseconds, however many clients there are."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = runtime.lock()
        now_s = runtime.monotonic_s()
        self._windows = {by: SketchWindows(KEPT, now_s) for by in KINDS}
        self._clients, self._operations = self._windows[CLIENT], self._windows[OPERATION]
        self._paths = self._windows[PATH]
        self._tell_at_s = now_s

    def note(self, client: str, operation: str, length: int, took_s: float, count: int = 1) -> None:
        """Count operations of a client: so many, of so many bytes together, each in this time."""
        number = class_of(took_s)
        now_s = self._runtime.monotonic_s()
        with self._lock:
            self._clients.now(now_s).note(client, length, number, count)
            self._operations.now(now_s).note(operation, length, number, count)

    def note_paths(self, named: Iterable[tuple[str, int]], took_s: float) -> None:
        """Count operations on what lies below directories, each with the bytes it concerns."""
        number = class_of(took_s)
        now_s = self._runtime.monotonic_s()
        with self._lock:
            sketch = self._paths.now(now_s)
            for prefix, length in named:
                sketch.note(prefix, length, number)

    def window(self, by: str, name: str) -> tuple[Sketch, float]:
        """Return what was seen in a window, as a sketch of its own, and over how many seconds."""
        with self._lock:
            return self._windows[by].window(name, self._runtime.monotonic_s())

    def news(self) -> UsageFacts | None:
        """Return what is to be told now; None while that is too soon."""
        now_s = self._runtime.monotonic_s()
        with self._lock:
            if now_s < self._tell_at_s:
                return None
            self._tell_at_s = now_s + TELL_S
            idle = not self._clients.window(HOUR, now_s)[0].total.operations
        if idle:
            return UsageFacts()  # It is heard, and serves nobody.
        told = []
        for by in (CLIENT, OPERATION):
            for name in WINDOWS:
                sketch, over_s = self.window(by, name)
                told.append(told_sketch(sketch, by, name, over_s))
        return UsageFacts(tuple(told))
