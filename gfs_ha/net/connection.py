"""One peer at the door: what it sent, what it asked, what it is owed, and for how long."""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from dataclasses import dataclass

from gfs_ha.errors import GfsError, ProtocolError
from gfs_ha.limits import (
    CALL_DEADLINE_MAX_S,
    CALLS_IN_FLIGHT_DEFAULT,
    CONNECTION_IDLE_S,
    CONNECTIONS_MAX,
    DOOR_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_DEADLINE_S,
    HANDSHAKE_DEADLINE_S,
    HELLO_BYTES_MAX,
    KIB,
    OUTPUT_BYTES_MAX,
    WRITE_STALL_S,
)
from gfs_ha.net.network import Deferred
from gfs_ha.net.rpc import FrameReader, Request, encode_reply
from gfs_ha.net.sockets import SEND_FLAGS
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import PeerName

_SEND_BYTES = 256 * KIB
# A peer that takes less than this in one stall period is not slow, it plays for time.
_STALL_BYTES_MIN = 64 * KIB
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one door allows its peers; seconds and bytes."""

    connections_max: int = CONNECTIONS_MAX
    calls_in_flight_max: int = CALLS_IN_FLIGHT_DEFAULT
    frame_bytes_max: int = FRAME_BYTES_MAX
    hello_bytes_max: int = HELLO_BYTES_MAX
    output_bytes_max: int = OUTPUT_BYTES_MAX
    door_bytes_max: int = DOOR_BYTES_MAX
    call_deadline_max_s: float = CALL_DEADLINE_MAX_S
    handshake_deadline_s: float = HANDSHAKE_DEADLINE_S
    frame_deadline_s: float = FRAME_DEADLINE_S
    write_stall_s: float = WRITE_STALL_S
    idle_s: float = CONNECTION_IDLE_S


class Call:
    """One request that waits for its Deferred."""

    __slots__ = ("bytes", "connection", "deadline_handle", "deferred", "sequence")

    def __init__(self, connection: DoorConnection, request: Request, deferred: Deferred) -> None:
        self.connection = connection
        self.sequence = request.sequence
        self.deferred = deferred
        self.bytes = len(request.context) + len(request.body)
        self.deadline_handle = 0


class DoorConnection:
    """The state of one accepted socket. Everything happens on the door's thread.

    It ends in one of two ways: dropped at once, or, when it is owed a last answer, by `hang_up`:
    the answer is flushed, the sending side shut, and what still comes is thrown away until the
    peer closes. (A plain close with unread input makes the kernel reset the connection, and the
    peer would lose the answer that tells it why.)

    With a TLS session only that is on the wire what it seals; every limit counts as without.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        limits: DoorLimits,
        now_s: float,
        tls: TlsSession | None = None,
    ) -> None:
        self.sock = sock
        self.tls = tls
        self.descriptor = sock.fileno()
        self.identity: object = None
        self.calls: dict[int, Call] = {}
        self.greeted = False
        self.events = 0  # What epoll watches; kept by the door.
        self.counted_bytes = 0  # What the door's total holds of this peer; kept by the door.
        self._peer = peer
        self._limits = limits
        self._reader = FrameReader(limits.hello_bytes_max)
        self._output: deque[bytes] = deque()
        self._wire: bytes | memoryview = b""  # Of the output, what the socket is to take next.
        self._output_bytes = 0
        self._call_bytes = 0
        self._closed = False
        self._hanging_up = False
        self._refusing = False
        self._shut = False
        self._accepted_s = now_s
        self._active_s = now_s
        self._partial_since_s: float | None = None
        self._stall_since_s: float | None = None
        self._stall_sent = 0
        self._hang_up_since_s: float | None = None

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def held_bytes(self) -> int:
        """Return the memory that this peer makes the door hold."""
        held = self._reader.buffered + self._call_bytes + self._output_bytes
        return held if self.tls is None else held + self.tls.held_bytes

    @property
    def owed(self) -> bool:
        """Return True while output waits for the socket."""
        return bool(self._output or self._wire)

    @property
    def certificate(self) -> PeerName | None:
        """Return who the peer is by its certificate; None without TLS."""
        return None if self.tls is None or self.tls.peer is None else self.tls.peer.name

    @property
    def shaking(self) -> bool:
        """Return True while a TLS handshake goes on."""
        return self.tls is not None and not self.tls.up

    @property
    def unknown(self) -> GfsError | None:
        """Return why the peer is nobody of ours, though its certificate is genuine."""
        return None if self.tls is None else self.tls.refusal

    @property
    def takes_calls(self) -> bool:
        """Return False while the peer must wait: too much in flight or unread, or hanging up."""
        limits = self._limits
        return (
            not self._hanging_up
            and not self._refusing
            and len(self.calls) < limits.calls_in_flight_max
            and self._output_bytes <= limits.output_bytes_max
            and self._call_bytes <= limits.output_bytes_max
        )

    @property
    def listening(self) -> bool:
        """Return True while the socket shall be read."""
        return self._shut or self.takes_calls

    def greet(self) -> None:
        """Note that the hello was accepted: from now on frames may have their full size."""
        self.greeted = True
        self._reader.frame_bytes_max = self._limits.frame_bytes_max

    def receive(self, now_s: float) -> bool:
        """Read the socket once; return False at the end of the stream.

        Raises: OSError; Denied, ProtocolError of a TLS session, which may still have a last word.
        """
        try:
            data = self.sock.recv(self._reader.wants)
        except (BlockingIOError, InterruptedError):
            return True
        if not data:
            return False
        if self._hanging_up:
            return True
        if self.tls is not None:
            data = self._open(self.tls, data)
            if not data:
                return not self.tls.ended
        self._active_s = now_s
        self._reader.feed(data)
        return True

    def _open(self, tls: TlsSession, data: bytes) -> bytes:
        try:
            return tls.open(data)
        finally:
            own = tls.take()
            if own:
                self._wire = bytes(self._wire) + own
                self._output_bytes += len(own)

    def next_request(self, now_s: float) -> Request | None:
        """Return the next whole request. Raises: ProtocolError."""
        request = self._reader.next_request()
        if request is None:
            if not self._reader.buffered and (self.tls is None or not self.tls.partial):
                self._partial_since_s = None
            elif self._partial_since_s is None:
                self._partial_since_s = now_s
            return None
        # The deadline is that of a frame: what follows this one starts its own.
        self._partial_since_s = None
        if request.sequence in self.calls:
            raise ProtocolError(f"the peer used sequence {request.sequence} twice")
        return request

    def park(self, call: Call) -> None:
        """Keep a call until its answer comes."""
        self.calls[call.sequence] = call
        self._call_bytes += call.bytes

    def unpark(self, call: Call) -> bool:
        """Forget a call; return False if it was forgotten before."""
        if self.calls.get(call.sequence) is not call:
            return False
        del self.calls[call.sequence]
        self._call_bytes -= call.bytes
        return True

    def send(self, sequence: int, body: bytes) -> None:
        """Queue an answer; `flush` sends it."""
        if self._closed or self._hanging_up:
            return
        frame = encode_reply(sequence, body)
        self._output.append(frame)
        self._output_bytes += len(frame)

    def flush(self, now_s: float) -> None:
        """Send what the socket takes. Raises: OSError."""
        while chunk := self._wire or self._load():
            try:
                sent = self.sock.send(chunk, SEND_FLAGS)
            except (BlockingIOError, InterruptedError):
                self._wire = chunk
                break
            self._output_bytes -= sent
            self._stall_sent += sent
            self._active_s = now_s
            if sent < len(chunk):
                self._wire = memoryview(chunk)[sent:]
                break
            self._wire = b""
        if not self._wire:
            self._stall_since_s = None
            if self._hanging_up and not self._shut:
                self._shut = True
                self.sock.shutdown(socket.SHUT_WR)
        elif self._stall_since_s is None:
            self._stall_since_s = now_s
            self._stall_sent = 0

    def _load(self) -> bytes:
        """Take small answers off the front of the queue, or a big one; return them for the wire."""
        output = self._output
        if not output:
            return b""
        size = 0
        count = 0
        for part in output:
            if count and size + len(part) > _SEND_BYTES:
                break
            size += len(part)
            count += 1
        if count == 1:
            chunk = output.popleft()
        else:
            chunk = b"".join([output.popleft() for _ in range(count)])
        if self.tls is not None:
            chunk = self.tls.seal(chunk)
            self._output_bytes += len(chunk) - size
        return chunk

    def hang_up(self, now_s: float) -> None:
        """Take nothing more, and close once the output is flushed and the peer has hung up."""
        self._hanging_up = True
        self._hang_up_since_s = now_s
        self._partial_since_s = None

    def overdue(self, now_s: float) -> str | None:
        """Return why the peer has used up its time, None if it has not."""
        limits = self._limits
        if self._hang_up_since_s is not None:
            late = now_s - self._hang_up_since_s > limits.handshake_deadline_s
            return "did not hang up" if late else None
        if not self.greeted and now_s - self._accepted_s > limits.handshake_deadline_s:
            return f"said no hello within {limits.handshake_deadline_s:g} s"
        partial_since_s = self._partial_since_s
        if partial_since_s is not None and now_s - partial_since_s > limits.frame_deadline_s:
            return f"did not finish a frame within {limits.frame_deadline_s:g} s"
        if self._stalled(now_s):
            return f"took no answers for {limits.write_stall_s:g} s"
        busy = self.calls or self.owed
        if not busy and now_s - self._active_s > limits.idle_s:
            return f"was idle for {limits.idle_s:g} s"
        return None

    def lost(self, error: OSError | None = None) -> str | None:
        """Return why the kernel ended the connection, None when the peer did.

        It gives up when nothing is acknowledged, or a peer takes nothing, for so long that a write
        need not have stalled here: it still had room.
        """
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if errno.ETIMEDOUT in (code, None if error is None else error.errno):
            return "took no answers, or is not to be reached any more"
        return None

    def _stalled(self, now_s: float) -> bool:
        since = self._stall_since_s
        if since is None or now_s - since <= self._limits.write_stall_s:
            return False
        if self._stall_sent < _STALL_BYTES_MIN:
            return True
        self._stall_since_s = now_s
        self._stall_sent = 0
        return False

    def pause(self) -> None:
        """Stop the frame's clock: while it is not read, the peer cannot finish it."""
        self._partial_since_s = None

    def refuse(self) -> None:
        """Take no more calls; those in flight are still answered."""
        self._refusing = True

    def close(self, reset: bool) -> None:
        """Close the socket; with `reset` throw away what the kernel still holds for the peer.

        Without, the kernel goes on offering a peer that does not read up to 4 MiB for seconds.
        """
        self._closed = True
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._output.clear()
        self._wire = b""
        self._output_bytes = 0
        self.sock.close()
