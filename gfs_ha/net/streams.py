"""Byte streams of the data plane: the seam, and TCP sockets tuned for bulk.

A send or receive never gives up by itself: each time nothing moved for a slice of time it asks its
caller, who knows about deadlines, silence and stopping, and who raises to end it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gfs_ha.errors import Unreachable
from gfs_ha.net import sockets
from gfs_ha.net.network import Address
from gfs_ha.runtime import Runtime

STALL_SLICE_S = 0.1

# Called with the seconds since the last byte moved in this call; raises to give up.
Stall = Callable[[float], None]
Bytes = bytes | bytearray | memoryview


class Stream(Protocol):
    """A connection between two data ports, used by one thread; any may `abort` and `send_now`."""

    peer: str

    def send(self, parts: Sequence[Bytes], stall: Stall) -> None:
        """Send all parts. Raises: Unreachable when the peer is gone; what `stall` raises."""
        ...

    def send_file(self, file_number: int, offset: int, length: int, stall: Stall) -> None:
        """Send a range of an open file. Raises: Unreachable, also if the file is too short."""
        ...

    def send_now(self, data: bytes) -> bool:
        """Send a few bytes if that needs no waiting; return whether they left."""
        ...

    def receive(self, into: memoryview, stall: Stall) -> None:
        """Fill `into`. Raises: Unreachable when the peer is gone; what `stall` raises."""
        ...

    def receive_now(self, into: memoryview) -> int:
        """Return how many bytes were there to be taken without waiting. Raises: Unreachable."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until something can be received (or the peer is gone); False after `timeout_s`."""
        ...

    def idle(self) -> bool:
        """Return True while the peer is there and has sent nothing: it can be used again."""
        ...

    def hang_up(self, timeout_s: float) -> None:
        """Send nothing more, and read on until the peer hangs up too, so that it can read all.

        Closing with bytes unread would reset the connection, and what was sent last with it.
        """
        ...

    def abort(self) -> None:
        """End the connection under whoever waits on it. Thread-safe, never blocks."""
        ...

    def close(self) -> None: ...


class StreamListener(Protocol):
    """The accepting end of a data port."""

    port: int

    def accept(self) -> Stream | None:
        """Return the next stream, or None after a while so that the caller can look around.

        Raises: Unreachable once it is closed.
        """
        ...

    def close(self) -> None: ...


class StreamNetwork(Protocol):
    """Makes both ends; the real one is TcpStreams."""

    def connect(self, address: Address, timeout_s: float) -> Stream:
        """Return a stream to a data port. Raises: Unreachable."""
        ...

    def listen(self, address: Address) -> StreamListener:
        """Take a port (0 = any). Raises: PortTaken, ConfigError."""
        ...


_SLICE = struct.pack("@ll", 0, int(STALL_SLICE_S * 1_000_000))
_USER_TIMEOUT_MS = 60_000  # A full receiver must not look dead: silence is judged above us.
_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PARTS_MAX = 512
_UNREAD_BYTES = 1 << 16


# Plain numbers: to put flags together takes longer than to send a short frame.
_SEND_NOW = int(socket.MSG_DONTWAIT | sockets.SEND_FLAGS)
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class TcpStream:
    """A blocking socket with kernel timeouts of one slice.

    `settimeout` would switch MSG_WAITALL off and add a poll to every call.
    """

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SLICE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SLICE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        self._socket = sock

    def send(self, parts: Sequence[Bytes], stall: Stall) -> None:
        # Not sendall: it starts the kernel's timeout again after every partial send.
        pending = [memoryview(part) for part in parts if len(part)]
        moved_s = 0.0
        while pending:
            try:
                if len(pending) == 1:
                    sent = self._socket.send(pending[0], sockets.SEND_FLAGS)
                else:
                    sent = self._socket.sendmsg(pending[:_PARTS_MAX], [], sockets.SEND_FLAGS)
            except OSError as error:
                sent = self._none_moved(error)
            pending = _after(pending, sent)
            if pending:
                moved_s = _stalled(sent, moved_s, stall)

    def send_file(self, file_number: int, offset: int, length: int, stall: Stall) -> None:
        end = offset + length
        moved_s = 0.0
        while offset < end:
            try:
                sent = os.sendfile(self._socket.fileno(), file_number, offset, end - offset)
                if not sent:
                    raise Unreachable(f"a file ends at {offset}, {end} was promised")
            except OSError as error:
                sent = self._none_moved(error)
            offset += sent
            if offset < end:
                moved_s = _stalled(sent, moved_s, stall)

    def send_now(self, data: bytes) -> bool:
        try:
            sent = self._socket.send(data, _SEND_NOW)
        except OSError:
            return False
        if sent < len(data):
            self.abort()  # Half a frame: nothing after it could be understood.
        return sent == len(data)

    def receive(self, into: memoryview, stall: Stall) -> None:
        filled = 0
        moved_s = 0.0
        while filled < len(into):
            try:
                count = self._socket.recv_into(
                    into[filled:] if filled else into, 0, socket.MSG_WAITALL
                )
                if not count:
                    raise Unreachable(f"{self.peer} hung up", hung_up=1)
            except OSError as error:
                count = self._none_moved(error)
            filled += count
            if filled < len(into):
                moved_s = _stalled(count, moved_s, stall)

    def receive_now(self, into: memoryview) -> int:
        try:
            count = self._socket.recv_into(into, 0, socket.MSG_DONTWAIT)
        except OSError as error:
            return self._none_moved(error)
        if not count:
            raise Unreachable(f"{self.peer} hung up", hung_up=1)
        return count

    def wait(self, timeout_s: float) -> bool:
        return sockets.wait_for(self._socket, select.POLLIN, timeout_s)

    def idle(self) -> bool:
        try:
            self._socket.recv(1, _PEEK)
        except OSError as error:
            return error.errno in _AGAIN
        return False

    def hang_up(self, timeout_s: float) -> None:
        ends_s = time.monotonic() + timeout_s
        unread = bytearray(_UNREAD_BYTES)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while time.monotonic() < ends_s:
                try:
                    if not self._socket.recv_into(unread):
                        return
                except BlockingIOError:
                    continue  # A slice without bytes.
        except OSError:
            pass  # It is gone already.

    def abort(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It is gone already.

    def close(self) -> None:
        self._socket.close()

    def _none_moved(self, error: OSError) -> int:
        if error.errno in _AGAIN:
            return 0
        reason = error.strerror or str(error)
        raise Unreachable(f"connection to {self.peer} lost: {reason}") from error


def _after(parts: list[memoryview], sent: int) -> list[memoryview]:
    while parts and sent >= len(parts[0]):
        sent -= len(parts[0])
        parts = parts[1:]
    if sent:
        parts[0] = parts[0][sent:]
    return parts


def _stalled(moved: int, since_s: float, stall: Stall) -> float:
    """Ask the caller once nothing moves; return when the last byte did."""
    now_s = time.monotonic()
    if moved or not since_s:
        stall(0.0)
        return now_s
    stall(now_s - since_s)
    return since_s


class TcpListener:
    """A listening socket; EMFILE is waited out instead of ending it."""

    def __init__(self, address: Address) -> None:
        self._socket = sockets.listen(address)
        self._socket.settimeout(0.5)
        self.port: int = self._socket.getsockname()[1]

    def accept(self) -> TcpStream | None:
        try:
            sock, peer = self._socket.accept()
        except TimeoutError:
            return None
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                time.sleep(0.05)
                return None
            if error.errno in (errno.EBADF, errno.EINVAL):
                raise Unreachable("the data port is closed") from error
            return None  # The peer was gone before we came to it.
        try:
            sockets.tune(sock)
            return TcpStream(sock, sockets.format_address(peer))
        except OSError:
            sock.close()
            return None

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class TcpStreams:
    """The real network of the data plane."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def connect(self, address: Address, timeout_s: float) -> TcpStream:
        sock = sockets.connect(address, self._runtime, timeout_s)
        return TcpStream(sock, sockets.format_address(address))

    def listen(self, address: Address) -> TcpListener:
        return TcpListener(address)
