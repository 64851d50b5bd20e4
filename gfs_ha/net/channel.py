"""The client's end of the RPC: one connection, one reader thread, many calls in flight.

Callers write their own frames, one at a time; the reader thread hands out the answers. On any
doubt (a frame cut short, an answer to nothing, a peer that has gone quiet) the connection is
dropped, and each call in flight fails and says whether the server can have got it. Dialling anew
costs 0.3 ms; guessing costs more.
"""

from __future__ import annotations

import logging
import select
import threading
from dataclasses import dataclass

from gfs_ha.errors import (
    DeadlineExceeded,
    GfsError,
    LimitExceeded,
    Overloaded,
    ProtocolError,
    Unreachable,
)
from gfs_ha.limits import (
    CALLS_IN_FLIGHT_DEFAULT,
    CHANNEL_IDLE_S,
    CONNECT_TIMEOUT_S,
    FRAME_BYTES_MAX,
    FRAME_DEADLINE_S,
    HELLO_BYTES_MAX,
    SILENCE_S,
)
from gfs_ha.net.network import Address, Hello
from gfs_ha.net.rpc import HELLO_METHOD, FrameReader, Reply, encode_request, payload_bytes
from gfs_ha.net.sockets import format_address, wait_for
from gfs_ha.net.tls import Credentials
from gfs_ha.net.wire import Wire
from gfs_ha.pki.names import PeerName
from gfs_ha.runtime import Future, Runtime

logger = logging.getLogger(__name__)

_SWEEP_S = 0.1
_HELLO_SEQUENCE = 0


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """What one channel allows itself and its server; seconds and bytes."""

    connect_timeout_s: float = CONNECT_TIMEOUT_S  # Address, connection and hello together.
    calls_in_flight_max: int = CALLS_IN_FLIGHT_DEFAULT
    frame_bytes_max: int = FRAME_BYTES_MAX
    frame_deadline_s: float = FRAME_DEADLINE_S
    # Hang up after so long without a call, before the door does and complains; None = never.
    idle_close_s: float | None = CHANNEL_IDLE_S


class _Flight:
    """One call on its way."""

    __slots__ = ("deadline_s", "future", "sent", "sent_s", "sequence")

    def __init__(self, sequence: int, future: Future[bytes], now_s: float, timeout_s: float):
        self.sequence = sequence
        self.future = future
        self.sent_s = now_s
        self.deadline_s = now_s + timeout_s
        # True from before the send that can complete the frame: when in doubt, it was sent.
        self.sent = False


class Channel:
    """One connection to a door; made connected, dead once dropped. Thread-safe.

    With `credentials` it is TLS, and the server must be a master of our cluster at that host.

    Raises: Unreachable (sent=0) when nobody answers in time, or nobody who is good; Denied when the
    server finds us not good; what `hello.accept` raises.
    """

    def __init__(
        self,
        address: Address,
        hello: Hello,
        runtime: Runtime,
        limits: ChannelLimits | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._limits = limits or ChannelLimits()
        self._runtime = runtime
        self._where = format_address(address)
        self._reader = FrameReader(HELLO_BYTES_MAX)
        self._state = threading.Condition(threading.Lock())
        self._write_lock = threading.Lock()
        self._flights: dict[int, _Flight] = {}
        self._expired: set[int] = (
            set()
        )  # Nobody waits for these any more, but the server owes them.
        self._next_sequence = _HELLO_SEQUENCE + 1
        self._waiters = 0
        self._dead: GfsError | None = None
        now_s = runtime.monotonic_s()
        self._heard_s = now_s
        self._used_s = now_s
        self._partial_since_s: float | None = None
        self._wire = Wire(address, runtime, self._limits.connect_timeout_s, credentials)
        try:
            hello.accept(self._greet(hello))
            self._reader.frame_bytes_max = self._limits.frame_bytes_max
            self._task = runtime.spawn(f"channel {self._where}", self._read)
        except BaseException:
            self._wire.close()
            raise

    @property
    def closed(self) -> bool:
        return self._dead is not None

    @property
    def certificate(self) -> PeerName | None:
        """Return who the server is by its certificate; None without TLS."""
        return self._wire.certificate

    @property
    def in_flight(self) -> int:
        """Return how many calls the server has not answered."""
        return len(self._flights) + len(self._expired)

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        """Return the answer of one call.

        Raises: Unreachable, DeadlineExceeded, Overloaded, LimitExceeded. Their `details["sent"]`
        is 0 when the server certainly did not get the call, 1 when it may have.
        """
        flight = self._launch(method, context, body, timeout_s)
        left_s = flight.deadline_s - self._runtime.monotonic_s()
        try:
            return flight.future.result(max(0.0, left_s))
        except DeadlineExceeded:
            if not flight.future.done():
                self._expire(flight)
            # If the answer came at this very moment, the reader is about to set it.
            return flight.future.result(SILENCE_S)

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        """Send one call and return its answer to come; all errors come through it.

        Waits, at most `timeout_s`, while too many calls are in flight or the peer reads slowly.
        """
        return self._launch(method, context, body, timeout_s).future

    def close(self) -> None:
        """Give up all calls in flight and hang up. Never blocks."""
        self._drop(Unreachable(f"the connection to {self._where} was closed"))

    def join(self, timeout_s: float) -> bool:
        """Wait for the reader thread of a closed channel; return False when it still runs."""
        return self._task.join(timeout_s)

    # One call.

    def _launch(self, method: int, context: bytes, body: bytes, timeout_s: float) -> _Flight:
        future: Future[bytes] = self._runtime.future()
        now_s = self._runtime.monotonic_s()
        deadline_s = now_s + timeout_s
        with self._state:
            error = self._wait_for_place(deadline_s)
            sequence = self._next_sequence
            flight = _Flight(sequence, future, now_s, timeout_s)
            if error is None:
                self._next_sequence += 1
                self._flights[sequence] = flight
                self._used_s = now_s
        if error is not None:
            future.fail(error)
            return flight
        frame = encode_request(sequence, method, context, body)
        if payload_bytes(frame) > self._limits.frame_bytes_max:
            self._forget(flight, LimitExceeded(f"a call of {len(body)} bytes is too big", sent=0))
        else:
            self._write(flight, frame)
        return flight

    def _wait_for_place(self, deadline_s: float) -> GfsError | None:
        """Wait, the state being locked, until one more call may fly; return why it may not."""
        while self._dead is None:
            if len(self._flights) + len(self._expired) < self._limits.calls_in_flight_max:
                return None
            left_s = deadline_s - self._runtime.monotonic_s()
            if left_s <= 0:
                return Overloaded(
                    f"{self._limits.calls_in_flight_max} calls to {self._where} are in flight",
                    sent=0,
                )
            self._waiters += 1
            self._state.wait(left_s)
            self._waiters -= 1
        return self._failure(self._dead, sent=False)

    def _write(self, flight: _Flight, frame: bytes) -> None:
        left_s = flight.deadline_s - self._runtime.monotonic_s()
        if not self._write_lock.acquire(timeout=max(0.0, left_s)):
            self._forget(flight, self._late(flight))
            return
        try:
            frame = self._wire.seal(frame)
            at = self._send(flight, frame)
        except OSError as error:
            reason = error.strerror or str(error)
            self._drop(Unreachable(f"{self._where} hung up: {reason}"))
            return
        finally:
            self._write_lock.release()
        if at == 0 and not self._wire.secured:
            self._forget(flight, self._late(flight))
        elif at < len(frame):
            # Half a frame is out, or none of one that is sealed: nothing can follow it.
            self._drop(Unreachable(f"{self._where} takes no more bytes"))

    def _send(self, flight: _Flight, frame: bytes) -> int:
        """Send a frame, the write lock being held; return how much of it went before its time."""
        at = 0
        view = memoryview(frame)
        while at < len(frame):
            if self._dead is not None:
                return at
            flight.sent = True
            try:
                at += self._wire.send(view[at:])
            except BlockingIOError:
                flight.sent = False
                left_s = flight.deadline_s - self._runtime.monotonic_s()
                if left_s <= 0 or not wait_for(self._wire.socket, select.POLLOUT, left_s):
                    return at
            else:
                flight.sent = at == len(frame)
        return at

    def _late(self, flight: _Flight) -> DeadlineExceeded:
        waited_s = flight.deadline_s - flight.sent_s
        if flight.sent:
            return DeadlineExceeded(f"{self._where} gave no answer within {waited_s:.1f} s", sent=1)
        return DeadlineExceeded(f"{self._where} took no call within {waited_s:.1f} s", sent=0)

    def _forget(self, flight: _Flight, error: GfsError) -> None:
        """Fail a call of which nothing was sent."""
        with self._state:
            self._flights.pop(flight.sequence, None)
            self._give_place()
        flight.future.fail(error)

    def _expire(self, flight: _Flight) -> None:
        """Fail a call whose time is over; its place stays taken until the server answers."""
        with self._state:
            if self._flights.pop(flight.sequence, None) is None:
                return
            self._expired.add(flight.sequence)
            now_s = self._runtime.monotonic_s()
            # A server answers each call before its deadline, if only with an error. One that
            # sent nothing at all meanwhile is gone, stopped, or behind a cut.
            quiet = self._heard_s <= flight.sent_s and now_s - flight.sent_s >= SILENCE_S
            stuck = 2 * len(self._expired) >= self._limits.calls_in_flight_max
        flight.future.fail(self._late(flight))
        if quiet or stuck:
            self._drop(Unreachable(f"{self._where} does not answer"))

    def _give_place(self) -> None:
        if self._waiters:
            self._state.notify()

    # The reader thread.

    def _read(self) -> None:
        poller = select.poll()
        poller.register(self._wire.socket, select.POLLIN)
        next_sweep_s = 0.0
        reason: GfsError = Unreachable(f"{self._where} hung up")
        try:
            while self._dead is None:
                readable = poller.poll(_SWEEP_S * 1000)
                now_s = self._runtime.monotonic_s()
                if readable and not self._receive(now_s):
                    break
                if now_s >= next_sweep_s:
                    next_sweep_s = now_s + _SWEEP_S
                    self._sweep(now_s)
        except GfsError as error:
            reason = Unreachable(f"{self._where}: {error.message}")
        except OSError as error:
            reason = Unreachable(f"{self._where} hung up: {error.strerror or error}")
        except Exception:
            logger.exception("channel dropped by a mistake of ours server=%s", self._where)
        finally:
            self._drop(reason)
            # Only now, and only without a writer, can nobody use the descriptor any more.
            with self._write_lock:
                self._wire.close()

    def _receive(self, now_s: float) -> bool:
        """Read once; return False at the end of the stream. Raises: OSError, GfsError."""
        data = self._wire.receive(self._reader.wants)
        if data is None:
            if self._wire.partial and self._partial_since_s is None:
                self._partial_since_s = now_s
            return True
        if not data:
            return False
        self._heard_s = now_s
        self._reader.feed(data)
        while (reply := self._reader.next_reply()) is not None:
            self._partial_since_s = None
            self._complete(reply)
        if not self._reader.buffered and not self._wire.partial:
            self._partial_since_s = None
        elif self._partial_since_s is None:
            self._partial_since_s = now_s
        return True

    def _complete(self, reply: Reply) -> None:
        with self._state:
            flight = self._flights.pop(reply.sequence, None)
            if flight is None:
                if reply.sequence not in self._expired:
                    raise ProtocolError(f"answered call {reply.sequence}, which nobody made")
                self._expired.discard(reply.sequence)
            self._give_place()
        if flight is not None:
            flight.future.set(reply.body)

    def _sweep(self, now_s: float) -> None:
        for flight in [f for f in list(self._flights.values()) if f.deadline_s <= now_s]:
            if flight.sent:
                self._expire(flight)  # What was not sent yet, its writer gives up itself.
        since_s = self._partial_since_s
        if since_s is not None and now_s - since_s > self._limits.frame_deadline_s:
            raise ProtocolError("did not finish a frame")
        self._wire.check_trust(now_s)
        idle_s = self._limits.idle_close_s
        if idle_s is not None and now_s - self._used_s > idle_s:
            with self._state:
                if not self._flights and self._dead is None:
                    self._dead = Unreachable(f"the connection to {self._where} was idle")

    def _drop(self, reason: GfsError) -> None:
        """End the channel and fail what is in flight; the first reason counts. Never blocks."""
        with self._state:
            if self._dead is None:
                self._dead = reason
            flights = list(self._flights.values())
            self._flights.clear()
            self._expired.clear()
            self._state.notify_all()
        self._wire.shut()  # Wakes the reader and a writer that waits.
        for flight in flights:
            flight.future.fail(self._failure(self._dead, flight.sent))

    def _failure(self, reason: GfsError, sent: bool) -> Unreachable:
        return Unreachable(reason.message, sent=int(sent))

    # The hello.

    def _greet(self, hello: Hello) -> bytes:
        frame = encode_request(_HELLO_SEQUENCE, HELLO_METHOD, b"", hello.body)
        reply = self._wire.greet(frame, self._reader)
        if reply.sequence != _HELLO_SEQUENCE:
            raise Unreachable(f"{self._where} is no gfs-ha port: it did not answer", sent=0)
        return reply.body
