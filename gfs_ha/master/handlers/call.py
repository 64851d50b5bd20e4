"""One call in flight: a slot per request, one answer when every slot is filled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from gfs_ha.errors import GfsError
from gfs_ha.ids import SessionId
from gfs_ha.net.network import Deferred
from gfs_ha.pki.names import PeerName
from gfs_ha.protocol.calls import AsOf
from gfs_ha.protocol.codec import Word, encode, failure
from gfs_ha.runtime import Runtime

_FAILURE = (
    b"\xa7failure"  # Tag of the reply that tells of an error, behind the length of the array.
)

# The door answers after the call's own deadline only when we have not: ours says more.
_GRACE_S = 0.25


class Meter(Protocol):
    """Is told of one call when it is answered, and of what its requests concern."""

    def concerns(self, position: int, length: int) -> None:
        """Note of how many bytes of files one request is."""
        ...

    def answered(self, position: int, reply: bytes, failed: bool) -> None:
        """Hear the encoded reply to one request."""
        ...

    def note(self, length: int, took_s: float) -> None:
        """Count the call: the bytes of its answer, and how long that took."""
        ...


class Call:
    """The replies of one call, filled in any order from any thread.

    Args: `dated_by` is the master's name when the answer says which moment it shows, or empty;
    `meter` counts the call and how long its answer took.
    """

    def __init__(
        self,
        runtime: Runtime,
        count: int,
        timeout_s: float,
        dated_by: str = "",
        meter: Meter | None = None,
    ) -> None:
        self._runtime = runtime
        self._meter = meter
        self._as_of = AsOf(dated_by, 0, 0) if dated_by else None
        self._lock = runtime.lock()
        self._replies: list[msgspec.Raw | None] = [None] * count
        self._missing = count
        self._begun_s = runtime.monotonic_s()
        self.deadline_s = self._begun_s + timeout_s
        self.peer: PeerName | None = None  # Who asks, by the certificate.
        self.deferred = Deferred(timeout_s + _GRACE_S)

    def left_s(self) -> float:
        """Return the seconds until the deadline, at least 0."""
        return max(0.0, self.deadline_s - self._runtime.monotonic_s())

    def show(self, index: int, age_ms: int = 0, degraded: bool = False) -> None:
        """Note which moment a reply shows; the whole answer is as old as its oldest. Thread-safe.

        Before that reply is filled in.
        """
        with self._lock:
            known = self._as_of
            if known is not None:
                unknown = min(known.age_ms, age_ms) < 0
                self._as_of = AsOf(
                    known.master,
                    max(known.index, index),
                    -1 if unknown else max(known.age_ms, age_ms),
                    known.degraded or degraded,
                )

    def concerns(self, position: int, length: int) -> None:
        """Note of how many bytes of files a request is, before its reply is filled in."""
        if self._meter is not None:
            self._meter.concerns(position, length)

    def fill(self, position: int, reply: bytes) -> bool:
        """Set the encoded reply of one request; a slot is filled once. Thread-safe.

        An encoded reply goes into the answer as it is: what apply recorded is not decoded again.
        """
        with self._lock:
            if self._replies[position] is not None:
                return False
            self._replies[position] = msgspec.Raw(reply)
            if self._meter is not None:
                self._meter.answered(position, reply, reply[1:9] == _FAILURE)
            self._missing -= 1
            if self._missing:
                return True
            as_of = self._as_of
        answer = self._replies if as_of is None else [*self._replies, as_of]
        encoded = encode(answer)
        if self._meter is not None:
            self._meter.note(len(encoded), self._runtime.monotonic_s() - self._begun_s)
        self.deferred.reply(encoded)
        return True


class Slot:
    """One request's place in a call, and whose request it is."""

    __slots__ = ("_call", "_position", "dress", "sequence", "session_id", "window_start")

    def __init__(
        self, call: Call, position: int, session_id: SessionId, sequence: int, window_start: int
    ) -> None:
        self._call = call
        self._position = position
        self.session_id = session_id
        self.sequence = sequence
        self.window_start = window_start
        # What is added to an encoded reply: recorded ones lack what is for this moment alone.
        self.dress: Callable[[bytes], bytes] | None = None

    @property
    def peer(self) -> PeerName | None:
        """Return who asks, as the certificate says; None without one."""
        return self._call.peer

    def left_s(self) -> float:
        """Return the seconds until the call's deadline, at least 0."""
        return self._call.left_s()

    @property
    def closed(self) -> bool:
        """Return whether nobody waits for the answer any more."""
        return self._call.deferred.closed

    def concerns(self, length: int) -> None:
        """Note of how many bytes of files the request is; of one that fails of none."""
        self._call.concerns(self._position, length)

    def show(self, index: int) -> None:
        """Note that the answer shows the state at this index of the log. Thread-safe."""
        self._call.show(index)

    def reply(self, word: Word) -> bool:
        """Answer the request. Thread-safe; the first answer counts."""
        return self._call.fill(self._position, encode(word))

    def reply_encoded(self, reply: bytes) -> bool:
        """Answer the request with what is already encoded. Thread-safe."""
        if self.dress is not None:
            reply = self.dress(reply)
        return self._call.fill(self._position, reply)

    def fail(self, error: GfsError) -> bool:
        """Answer the request with an error. Thread-safe."""
        return self.reply(failure(error))
