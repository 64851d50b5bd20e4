"""A session of this server with the masters, for a chunk that it writes as a client does (S1).

One change after the other, each sent again under its number until it is answered: so it is applied
once, whoever leads by then. What a session that broke off leaves behind ends by itself: its claims
after 120 s of silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from gfs_ha.errors import DeadlineExceeded, GfsError, ProtocolError
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.protocol.calls import Asked, CallBody, CallReply, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import CloseSession, Done, OpenSession, SessionOpened
from gfs_ha.runtime import Runtime

CHANGE_S = 30.0  # How long one change is tried.
CLOSE_S = 3.0
_PAUSE_S = 0.1

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Masters(Protocol):
    """The link to whoever leads."""

    def call(self, body: CallBody, timeout_s: float) -> CallReply: ...


class WriterSession:
    """One session; used by one thread. Close it in any case."""

    def __init__(
        self, masters: Masters, runtime: Runtime, name: str, check: Callable[[], None]
    ) -> None:
        """Open it. Args: `check` raises to end what waits. Raises: as `change`."""
        self._masters = masters
        self._runtime = runtime
        self._check = check
        self._id = NO_SESSION
        self._sequence = 0
        opened = self._ask(OpenSession(name), SessionOpened, CHANGE_S)
        self._id = SessionId(opened.session_id)

    def change(self, request: Request, kind: type[T]) -> T:
        """Return the reply to one change. Raises: what refuses it, DeadlineExceeded…"""
        return self._ask(request, kind, CHANGE_S)

    def close(self) -> None:
        """End it, and its claims with it; one that cannot be told ends by its silence."""
        try:
            self._ask(CloseSession(), Done, CLOSE_S)
        except GfsError as error:
            logger.info("session left to expire session=%d error=%s", self._id, error.message)

    def _ask(self, request: Request, kind: type[T], limit_s: float) -> T:
        asked = Asked(request)
        if self._id != NO_SESSION:
            self._sequence += 1
            asked = Asked(request, self._id, self._sequence, self._sequence)
        deadline_s = self._runtime.monotonic_s() + limit_s
        while True:
            self._check()
            error = self._attempt(asked, kind, deadline_s)
            if not isinstance(error, GfsError):
                return error
            again = error.retryable or isinstance(error, DeadlineExceeded)
            if not again or self._runtime.monotonic_s() + _PAUSE_S >= deadline_s:
                raise error
            self._runtime.sleep(_PAUSE_S)

    def _attempt(self, asked: Asked, kind: type[T], deadline_s: float) -> T | GfsError:
        left_s = max(0.1, deadline_s - self._runtime.monotonic_s())
        try:
            reply = self._masters.call((asked,), min(left_s, REQUEST_DEADLINE_S))[0]
        except GfsError as error:
            return error
        if isinstance(reply, Failure):
            return reply.raised()
        if not isinstance(reply, kind):
            return ProtocolError(f"the leader answered {type(reply).__name__}")
        return reply
