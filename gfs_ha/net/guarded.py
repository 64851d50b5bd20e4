"""A handler that cannot hurt its door: whatever it does becomes an answer that fits a frame."""

from __future__ import annotations

import logging

from gfs_ha.errors import GfsError, InternalError, LimitExceeded
from gfs_ha.net.network import Connection, Deferred, Handler, HelloCheck
from gfs_ha.net.rpc import Request

logger = logging.getLogger(__name__)

_REPLY_ROOM_BYTES = 64  # More than a reply frame adds to its body.


class GuardedHandler:
    """Wraps a door's hello check and handler."""

    def __init__(self, hello: HelloCheck, handler: Handler, frame_bytes_max: int) -> None:
        self._hello = hello
        self._handler = handler
        self._answer_bytes_max = frame_bytes_max - _REPLY_ROOM_BYTES

    def greet(self, connection: Connection, body: bytes) -> tuple[bytes, GfsError | None]:
        """Return the answer to a hello, and why it is refused if it is."""
        try:
            return self.fitting(self._hello(connection, body)), None
        except GfsError as error:
            return self.error_reply(error), error
        except Exception:
            logger.exception("hello check failed peer=%s", connection.peer)
            mistake = InternalError("the hello could not be checked; the server's log says why")
            return self.error_reply(mistake), mistake

    def answer(self, connection: Connection, request: Request) -> bytes | Deferred:
        """Return the handler's answer, or the error reply for what it raised."""
        method = request.method
        try:
            answer = self._handler.handle(connection, method, request.context, request.body)
        except GfsError as error:
            return self.error_reply(error)
        except Exception:
            logger.exception("handler failed method=%d peer=%s", method, connection.peer)
            return self.error_reply(
                InternalError(f"method {method} failed; the server's log says why")
            )
        return answer if isinstance(answer, Deferred) else self.fitting(answer)

    def fitting(self, answer: bytes) -> bytes:
        """Return the answer, or an error reply if it is no bytes or does not fit a frame."""
        if not isinstance(answer, bytes):
            logger.error("handler answered no bytes type=%s", type(answer).__name__)
            return self.error_reply(InternalError("the server's answer is none; its log says more"))
        if len(answer) > self._answer_bytes_max:
            return self.error_reply(
                LimitExceeded(f"the answer of {len(answer)} bytes fits no frame; ask for less")
            )
        return answer

    def error_reply(self, error: GfsError) -> bytes:
        """Return the answer that tells of an error; empty if even that fails."""
        try:
            return self._handler.error_reply(error)
        except Exception:
            logger.exception("error_reply failed code=%s", error.code)
            return b""
