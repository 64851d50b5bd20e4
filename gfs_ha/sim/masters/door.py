"""The twin of the masters' door: hands calls to the handlers, answers now or when they have one.

Everything of it happens on one thread of the process, which takes its turns between the steps of
the consensus loop, as the real one does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gfs_ha.errors import DeadlineExceeded, NotReady
from gfs_ha.limits import CALL_DEADLINE_MAX_S, FRAME_BYTES_MAX
from gfs_ha.net.guarded import GuardedHandler
from gfs_ha.net.network import Deferred, Handler, HelloCheck
from gfs_ha.net.rpc import Request
from gfs_ha.pki.names import PeerName
from gfs_ha.sim.masters.process import Process

_TURN_S = 0.00003  # From the word that there is something to the thread that takes it.


class Visitor:
    """The door's end of one connection. `send` carries (sequence, answer) to the client."""

    def __init__(
        self, peer: str, send: Callable[[int, bytes], None], hang_up: Callable[[], None]
    ) -> None:
        self.identity: object = None
        self.certificate: PeerName | None = None  # There is no TLS in virtual time.
        self.peer = peer
        self.closed = False
        self.greeted = False
        self.calls: dict[int, Deferred] = {}
        self.send = send
        self.hang_up = hang_up


class SimDoor:
    """A server of calls in one process."""

    def __init__(self, process: Process, hello: HelloCheck, handler: Handler) -> None:
        self._process = process
        self._handler = GuardedHandler(hello, handler, FRAME_BYTES_MAX)
        self.visitors: dict[Visitor, None] = {}
        self.closed = False

    def post(self, action: Callable[[], None]) -> None:
        """Run `action` on the door's thread, soon. Raises: NotReady."""
        if self.closed or not self._process.alive:
            raise NotReady("the simulated door is closed")
        self._process.at(self._process.local_now_s() + _TURN_S, action)

    def greet(self, visitor: Visitor, sequence: int, body: bytes) -> None:
        """Judge the first words of a client."""
        if self.closed:
            visitor.hang_up()
            return
        self.visitors[visitor] = None
        answer, refusal = self._handler.greet(visitor, body)
        visitor.greeted = refusal is None
        visitor.send(sequence, answer)

    def call(self, visitor: Visitor, request: Request) -> None:
        """Take one call."""
        if self.closed or visitor.closed or not visitor.greeted:
            visitor.hang_up()
            return
        answer = self._handler.answer(visitor, request)
        if isinstance(answer, bytes):
            visitor.send(request.sequence, answer)
            return
        visitor.calls[request.sequence] = answer
        timeout_s = min(answer.timeout_s, CALL_DEADLINE_MAX_S)
        clock = self._process.clock
        assert clock is not None
        due_s = self._process.local_now_s() + clock.global_s(timeout_s)
        self._process.at(due_s, partial(self._expire, visitor, request.sequence))
        answer.bind(partial(self._answered, visitor, request.sequence))

    def leave(self, visitor: Visitor) -> None:
        """Give up the calls of a client that is gone."""
        visitor.closed = True
        self.visitors.pop(visitor, None)
        calls, visitor.calls = visitor.calls, {}
        for deferred in calls.values():
            deferred.abandon()

    def close(self) -> None:
        """Take nothing more, hang up."""
        self.closed = True
        for visitor in list(self.visitors):
            self.leave(visitor)
            visitor.hang_up()

    def _answered(self, visitor: Visitor, sequence: int, answer: bytes) -> None:
        if not self._process.alive:
            return
        if visitor.calls.pop(sequence, None) is not None:
            visitor.send(sequence, self._handler.fitting(answer))

    def _expire(self, visitor: Visitor, sequence: int) -> None:
        deferred = visitor.calls.get(sequence)
        if deferred is None or not deferred.abandon():
            return
        del visitor.calls[sequence]
        error = DeadlineExceeded("the server had no answer in time; the outcome is unknown")
        visitor.send(sequence, self._handler.error_reply(error))
