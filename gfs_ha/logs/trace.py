"""Which command of a client the present thread works for: its log lines bear that trace id."""

from __future__ import annotations

from contextvars import ContextVar

from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.runtime import Runtime

_current: ContextVar[TraceId] = ContextVar("trace", default=NO_TRACE)
_of_process = NO_TRACE  # Of a process that runs one command, in all of its threads.


def new_trace(runtime: Runtime) -> TraceId:
    """Return a trace id for one command: 63 random bits, never NO_TRACE."""
    return TraceId(runtime.random_u64() >> 1 or 1)


def current_trace() -> TraceId:
    """Return the trace id of what this thread, or this process, works on, or NO_TRACE."""
    return _current.get() or _of_process


def trace_process(trace_id: TraceId) -> None:
    """Have all log lines of this process bear a trace id; NO_TRACE ends that."""
    global _of_process
    _of_process = trace_id


class traced:
    """Has the log lines that this thread writes meanwhile bear a trace id; used with `with`."""

    __slots__ = ("_before", "_trace_id")

    def __init__(self, trace_id: TraceId) -> None:
        self._trace_id = trace_id

    def __enter__(self) -> None:
        self._before = _current.set(self._trace_id)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)
