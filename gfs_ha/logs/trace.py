"""Which command of a client the present thread works for: its log lines bear that trace id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.runtime import Runtime

_current: ContextVar[TraceId] = ContextVar("trace", default=NO_TRACE)


def new_trace(runtime: Runtime) -> TraceId:
    """Return a trace id for one command: 63 random bits, never NO_TRACE."""
    return TraceId(runtime.random_u64() >> 1 or 1)


def current_trace() -> TraceId:
    """Return the trace id of what this thread works on, or NO_TRACE."""
    return _current.get()


@contextmanager
def traced(trace_id: TraceId) -> Iterator[None]:
    """Have the log lines that this thread writes meanwhile bear a trace id."""
    token = _current.set(trace_id)
    try:
        yield
    finally:
        _current.reset(token)
