"""Requests of several threads on their way to the leader, several in one call.

One call may hold many requests, and most of what a call costs is the same for one as for sixty. A
thread that finds few calls under way sends its own at once, so one thread alone is never held up.
Otherwise its requests wait for the next call that ends: one of those that wait takes all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gfs_ha.errors import DeadlineExceeded, GfsError, Unreachable
from gfs_ha.protocol.calls import Asked, CallBody, CallReply
from gfs_ha.protocol.metadata import (
    FinishChunk,
    Locate,
    Mkdir,
    Publish,
    ReleaseChunks,
    Remove,
    Rename,
    SetAttributes,
    Stat,
)
from gfs_ha.runtime import Future, Runtime

CALLS_UNDER_WAY = 8  # From so many on, requests wait for each other: few wait in vain, many share.
COMBINED_MAX = 64  # Requests in one call; each is at most about 16 KiB.
FILES_MAX = 2
EXTENTS_MAX = 64
HURRIED_S = 1.0  # Who has less time than this goes alone: the shortest time is that of the call.

# They are answered at the pace of the log: none makes the others wait for a server or a seal.
_QUICK = (FinishChunk, Locate, Mkdir, ReleaseChunks, Remove, Rename, SetAttributes, Stat)

Call = Callable[[CallBody, float], CallReply]


@dataclass(slots=True)
class _Waiting:
    """Requests that wait for a call. `turn` gets their replies, or None: send, with `others`."""

    asked: CallBody
    deadline_s: float
    turn: Future[CallReply | None]
    others: list[_Waiting] = field(default_factory=list)
    begun: bool = False


class Combiner:
    """Sends requests to the leader by `call`, which blocks. Thread-safe."""

    def __init__(self, call: Call, runtime: Runtime) -> None:
        self._call = call
        self._runtime = runtime
        self._lock = runtime.lock()
        self._under_way = 0
        self._queue: deque[_Waiting] = deque()

    def call(self, asked: CallBody, timeout_s: float) -> CallReply:
        """Return the replies to the requests, in order. Raises: what `call` raises."""
        if timeout_s < HURRIED_S or not _combines(asked):
            return self._call(asked, timeout_s)
        deadline_s = self._runtime.monotonic_s() + timeout_s
        with self._lock:
            waits = self._under_way >= CALLS_UNDER_WAY
            if waits:
                own = _Waiting(asked, deadline_s, self._runtime.future())
                self._queue.append(own)
            else:
                self._under_way += 1
        if waits:
            return self._wait(own, timeout_s)
        try:
            return self._call(asked, timeout_s)
        finally:
            self._pass_on()

    def _wait(self, own: _Waiting, timeout_s: float) -> CallReply:
        try:
            replies = own.turn.result(timeout_s)
            return self._send(own) if replies is None else replies
        except BaseException as error:
            # Also a signal may end this thread's wait: its turn must not end with it.
            unsent = self._withdraw(own)
            if not unsent and own.turn.done() and not own.begun:
                self._take_over(own)
            if unsent and isinstance(error, DeadlineExceeded):
                raise DeadlineExceeded(
                    "the request waited too long for its turn", sent=0
                ) from error
            raise

    def _withdraw(self, own: _Waiting) -> bool:
        """Leave the queue; return False when somebody took it from there before."""
        with self._lock:
            if own in self._queue:
                self._queue.remove(own)
                return True
        return False

    def _take_over(self, own: _Waiting) -> None:
        """End the turn of a waiter that will not use it."""
        try:
            unused = own.turn.result(0.0) is None
        except GfsError:
            return  # Its requests travelled with another's call, which failed.
        if unused:
            self._pass_on()
            _distribute(own.others, 0, None, Unreachable("the sender was interrupted", sent=0))

    def _send(self, own: _Waiting) -> CallReply:
        """Send the own requests and those of the others; give each its replies."""
        own.begun = True
        error: GfsError = Unreachable("the thread that sent the request was interrupted", sent=1)
        replies: CallReply | None = None
        try:
            everyone = [own, *own.others]
            body = tuple(one for waiting in everyone for one in waiting.asked)
            now_s = self._runtime.monotonic_s()
            left_s = min(waiting.deadline_s for waiting in everyone) - now_s
            replies = self._call(body, max(left_s, 0.001))
        except GfsError as failure:
            error = failure
            raise
        finally:
            self._pass_on()
            _distribute(own.others, len(own.asked), replies, error)
        return replies[: len(own.asked)]

    def _pass_on(self) -> None:
        """End a call: give the turn to those that wait, or note that one call less is under way."""
        with self._lock:
            if not self._queue:
                self._under_way -= 1
                return
            first = self._queue.popleft()
            count = len(first.asked)
            while self._queue and count + len(self._queue[0].asked) <= COMBINED_MAX:
                other = self._queue.popleft()
                count += len(other.asked)
                first.others.append(other)
        first.turn.set(None)


def _distribute(
    others: Sequence[_Waiting], start: int, replies: CallReply | None, error: GfsError
) -> None:
    for other in others:
        end = start + len(other.asked)
        if replies is None:
            other.turn.fail(type(error)(error.message, **error.details))
        else:
            other.turn.set(replies[start:end])
        start = end


def _combines(asked: CallBody) -> bool:
    return len(asked) <= COMBINED_MAX // 4 and all(_quick(one) for one in asked)


def _quick(asked: Asked) -> bool:
    request = asked.request
    if isinstance(request, Publish):
        return len(request.files) <= FILES_MAX and all(
            len(file.extents) <= EXTENTS_MAX for file in request.files
        )
    return isinstance(request, _QUICK)
