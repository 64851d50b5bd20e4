"""The reading end of one APPEND stream: takes records into the tail as fast as there is room."""

from __future__ import annotations

from math import inf

from gfs_ha.chunk.appends.append_stream import AppendStream
from gfs_ha.chunk.appends.record_reader import RecordReader
from gfs_ha.chunk.appends.tail import Tail, unwritten
from gfs_ha.chunk.appends.workers import BatchWorkers
from gfs_ha.chunk.turns import Turns
from gfs_ha.errors import GfsError, TicketRefused
from gfs_ha.net.streams import Stream
from gfs_ha.runtime import Runtime

_LOOK_S = 0.002  # For the answer to what was brought, which is on its way.


class Intake:
    """Used by the thread that serves the stream."""

    def __init__(
        self,
        tail: Tail,
        stream: AppendStream,
        upstream: Stream,
        around: tuple[Runtime, Turns],
        workers: BatchWorkers,
    ) -> None:
        runtime, self._turns = around
        self._tail = tail
        self._stream = stream
        self._runtime = runtime
        self._workers = workers
        self._reader = RecordReader(upstream, runtime, self._make_room)
        self._reserved = 0

    def run(self, idle_s: float, ticket_s: float | None) -> None:
        """Take records until the stream was told its last, or brought and awaits none for long.

        Args: `ticket_s` is how long its ticket is good; then it is told so and brings no more.
        Raises: Unreachable when the peer is gone, and what else makes the stream of no use.
        """
        began_s = heard_s = self._runtime.monotonic_s()
        ends_s = inf if ticket_s is None else began_s + ticket_s
        try:
            while not self._stream.ended:
                if self._turns.over(began_s):
                    self._end(self._turns.crowded())
                    return
                records = self._reader.read()
                now_s = self._runtime.monotonic_s()
                if now_s >= ends_s:  # Also of what was waited for until then.
                    self._end(TicketRefused("the ticket of this stream ended", reason="expired"))
                    return
                if records:
                    kept, needed = self._tail.bring(self._stream, records)
                    self._tail.give_room(self._reserved - kept)
                    self._reserved = 0
                    if needed:
                        self._push(len(records))
                if records or self._stream.waiting:
                    heard_s = now_s
                elif now_s - heard_s >= idle_s:
                    return
        finally:
            self._tail.give_room(self._reserved)

    def _end(self, why: GfsError) -> None:
        """End it so that its client comes anew: what it brought is answered, no more is written."""
        while self._stream.waiting and not self._stream.ended:
            self._runtime.sleep(_LOOK_S)
        self._stream.fail(unwritten(why))

    def _push(self, count: int) -> None:
        """Have what was brought pushed: by a worker, unless nothing else of it can be waiting."""
        if count == 1:
            self._workers.serve_once(self._tail)
        else:
            self._workers.hand_over(self._tail)

    def _make_room(self, cost: int) -> None:
        self._stream.expect(1)  # It is told of progress also while it is not read on.
        try:
            self._tail.make_room(cost)
        finally:
            self._stream.expect(-1)
        self._reserved += cost
