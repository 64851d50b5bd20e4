"""Lines about requests: noted in passing, written by a task of their own, and never a flood.

Who serves a request only notes it: words, facts and time. Up to a rate all are written; above it
the rest is counted, and a line tells how many were left out. Of errors nothing is, unless the disk
of the log has taken none for so long that as many lines wait as may.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import NamedTuple

from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.runtime import Runtime, Task

# Per kind of line; a line is about 200 bytes, so that a kind is at most 10 kB/s in the long run.
LINES_PER_S = 50.0
BURST_LINES = 2_000
QUEUE_LINES_MAX = 10_000  # Noted and not yet written.
WRITE_PERIOD_S = 0.2
TOLD_PERIOD_S = 10.0  # How often it is told, at most, what was left out.
BEATS_PERIOD_S = 60.0
_NAMES_MAX = 4_096
_LEFT_OUT = "lines left out count=%d kind=%s"
_BEATS = "heartbeats count=%d from=%d s=%.0f"
_GRAVE = "!"  # Behind the kind of warnings and errors.
_STOP_S = 2.0


class _Noted(NamedTuple):
    wall_ns: int
    level: int
    message: str
    args: tuple[object, ...]
    trace_id: TraceId


class _Bucket:
    """What a kind of line may still take; filled again as time goes by."""

    def __init__(self, now_s: float) -> None:
        self._left = float(BURST_LINES)
        self._filled_s = now_s

    def take(self, now_s: float) -> bool:
        grown = self._left + (now_s - self._filled_s) * LINES_PER_S
        self._left, self._filled_s = min(float(BURST_LINES), grown), now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class RequestLog:
    """Thread-safe. `start` has it write, `stop` writes what is left.

    Kinds are few and constant: each has a rate of its own, so that the many do not hide the few.
    """

    def __init__(self, runtime: Runtime, logger: logging.Logger) -> None:
        self._runtime = runtime
        self._logger = logger
        self._changed = runtime.condition()
        self._noted: deque[_Noted] = deque()
        self._buckets: dict[str, _Bucket] = {}
        self._left_out: dict[str, int] = {}
        self._told_s = self._beats_s = runtime.monotonic_s()
        self._beats: dict[str, int] = {}
        self._stopping = False
        self._task: Task | None = None

    def admits(self, kind: str, level: int) -> bool:
        """Return whether a line of a kind may be written now; what may not is counted.

        For before a line is made: only then it costs something.
        """
        if not self._logger.isEnabledFor(level):
            return False
        now_s = self._runtime.monotonic_s()
        kind = kind if level < logging.WARNING else kind + _GRAVE
        with self._changed:
            bucket = self._buckets.get(kind)
            if bucket is None:
                bucket = self._buckets[kind] = _Bucket(now_s)
            allowed = level >= logging.ERROR or bucket.take(now_s)
            if allowed and len(self._noted) < QUEUE_LINES_MAX:
                return True
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False

    def note(
        self, level: int, message: str, args: tuple[object, ...], trace_id: TraceId = NO_TRACE
    ) -> None:
        """Have a line that was admitted written soon, with the time of now; waits for no disk."""
        wall_ns = self._runtime.wall_ns()
        with self._changed:
            self._noted.append(_Noted(wall_ns, level, message, args, trace_id))

    def beat(self, name: str) -> None:
        """Count a heartbeat; all of a minute are one line."""
        with self._changed:
            if name in self._beats or len(self._beats) < _NAMES_MAX:
                self._beats[name] = self._beats.get(name, 0) + 1

    def start(self) -> None:
        """Begin to write."""
        self._task = self._runtime.spawn("request log", self._run)

    def stop(self) -> bool:
        """Write what was noted, and end; False when a disk holds it up."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        return self._task is None or self._task.join(_STOP_S)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            with self._changed:
                if not self._stopping:
                    self._changed.wait(WRITE_PERIOD_S)
                stopping = self._stopping
            self.write(stopping)

    def write(self, all_of_it: bool = False) -> None:
        """Write what was noted until now; also, when it is due or with `all_of_it`, the counts."""
        now_s, wall_ns = self._runtime.monotonic_s(), self._runtime.wall_ns()
        with self._changed:
            noted, self._noted = self._noted, deque()
            left_out: dict[str, int] = {}
            if self._left_out and (all_of_it or now_s - self._told_s >= TOLD_PERIOD_S):
                left_out, self._left_out, self._told_s = self._left_out, {}, now_s
            beats: dict[str, int] = {}
            since_s = now_s - self._beats_s
            if all_of_it or since_s >= BEATS_PERIOD_S:
                beats, self._beats, self._beats_s = self._beats, {}, now_s
        for one in noted:
            self._write(one)
        for kind, count in left_out.items():
            # As grave as what is missing: else who wants warnings only would miss some unawares.
            level = logging.WARNING if kind.endswith(_GRAVE) else logging.INFO
            self._write(_Noted(wall_ns, level, _LEFT_OUT, (count, kind), NO_TRACE))
        if beats and self._logger.isEnabledFor(logging.INFO):
            facts = (sum(beats.values()), len(beats), since_s)
            self._write(_Noted(wall_ns, logging.INFO, _BEATS, facts, NO_TRACE))

    def _write(self, one: _Noted) -> None:
        logger = self._logger
        record = logger.makeRecord(
            logger.name, one.level, "", 0, one.message, one.args, None, extra={}
        )
        record.created = one.wall_ns / 1e9
        record.trace_id = one.trace_id
        logger.handle(record)
