"""Framed byte links over non-blocking TCP, all driven by one epoll that their owner polls.

A frame is a length, a CRC-32C and that many bytes; a frame of length 0 is a keep-alive.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable

from gfs_ha.checksum import crc32c
from gfs_ha.errors import ConfigError, PortTaken, ProtocolError
from gfs_ha.net.links import Address, Link, LinkOwner
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("!II")
_READ_BYTES = 256 * 1024
_READS_PER_POLL = 16  # A busy link must not keep the loop from its other work.
_EVENTS_MAX = 64
_BUFFERS_PER_SEND = 256
_ACCEPT_PAUSE_S = 0.2
_RESOLVED_S = 30.0
_USER_TIMEOUT_MS = 3000


class TcpLink:
    """One TCP connection of a TcpLinks."""

    def __init__(self, links: TcpLinks, sock: socket.socket | None, remote: str) -> None:
        self.remote = remote
        self.pending_bytes = 0
        self.owner: LinkOwner | None = None
        self.connected = False
        self._links = links
        self._socket = sock
        self._frame_bytes_max = links.frame_bytes_max
        self._output: deque[bytes | memoryview] = deque()
        self._input = bytearray()
        self._wants_write = False

    def attach(self, sock: socket.socket) -> None:
        self._socket = sock

    def descriptor(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def limit_frames(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max

    def send(self, frame: bytes) -> None:
        if not self.connected:
            return
        self._output.append(_HEADER.pack(len(frame), crc32c(frame)))
        if frame:
            self._output.append(frame)
        self.pending_bytes += _HEADER.size + len(frame)
        self._links.dirty.add(self)
        if self.pending_bytes > self._links.queue_bytes_max:
            self.close(f"the peer is {self.pending_bytes} bytes behind")

    def close(self, reason: str) -> None:
        owner, self.owner = self.owner, None
        self.connected = False
        self._output.clear()
        self.pending_bytes = 0
        if self._socket is not None:
            self._links.forget(self)
            self._socket.close()
            self._socket = None
        if owner is not None:
            owner.closed(self, reason)

    def on_events(self, events: int) -> None:
        try:
            if not self.connected and not self._finish_connect():
                return
            if events & select.EPOLLOUT:
                self.flush()
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read()
        except OSError as error:
            self.close(str(error))
        except ProtocolError as error:
            self.close(error.message)

    def flush(self) -> None:
        output = self._output
        try:
            while output and self._socket is not None:
                sent = self._socket.sendmsg(
                    [output[i] for i in range(min(len(output), _BUFFERS_PER_SEND))]
                )
                self.pending_bytes -= sent
                while sent:
                    head = output[0]
                    if len(head) > sent:
                        output[0] = memoryview(head)[sent:]
                        break
                    sent -= len(head)
                    output.popleft()
        except BlockingIOError:
            pass
        except OSError as error:
            self.close(str(error))
            return
        self._watch(bool(output))

    def _finish_connect(self) -> bool:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.close(os.strerror(code))
            return False
        self.connected = True
        self._watch(False, force=True)
        if self.owner is not None:
            self.owner.opened(self)
        return True

    def _watch(self, write: bool, force: bool = False) -> None:
        if self._socket is not None and (write != self._wants_write or force):
            self._wants_write = write
            self._links.watch(self, select.EPOLLIN | (select.EPOLLOUT if write else 0))

    def _read(self) -> None:
        for _ in range(_READS_PER_POLL):
            if self._socket is None:
                return
            try:
                count = self._socket.recv_into(self._links.buffer)
            except BlockingIOError:
                return
            if count == 0:
                self.close("the peer closed the connection")
                return
            self._input += self._links.view[:count]
            self._parse()
            if count < _READ_BYTES:
                return

    def _parse(self) -> None:
        data = self._input
        start = 0
        while len(data) - start >= _HEADER.size:
            length, crc = _HEADER.unpack_from(data, start)
            if length > self._frame_bytes_max:
                raise ProtocolError(f"a frame of {length} bytes from {self.remote} is too long")
            end = start + _HEADER.size + length
            if len(data) < end:
                break
            frame = bytes(memoryview(data)[start + _HEADER.size : end])
            if crc32c(frame) != crc:
                raise ProtocolError(f"a damaged frame from {self.remote}")
            start = end
            if self.owner is None:
                return
            self.owner.received(self, frame)
        if start:
            del data[:start]


class TcpLinks:
    """The real network. `listen_on` is where other members dial; port 0 picks a free one.

    Raises: PortTaken, ConfigError.
    """

    def __init__(
        self, runtime: Runtime, listen_on: Address, frame_bytes_max: int, queue_bytes_max: int
    ) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.queue_bytes_max = queue_bytes_max
        self.buffer = bytearray(_READ_BYTES)
        self.view = memoryview(self.buffer)
        self.dirty: set[TcpLink] = set()
        self._runtime = runtime
        self._links: dict[int, TcpLink] = {}
        self._accept: Callable[[Link], LinkOwner] | None = None
        self._accept_again_s = 0.0
        self._resolved: dict[Address, tuple[float, list[Address]]] = {}
        self._resolving: set[Address] = set()
        self._sleeping = False
        self._listener = _listening_socket(listen_on)
        self._epoll = select.epoll()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._event, select.EPOLLIN)

    @property
    def address(self) -> Address:
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def listen(self, accept: Callable[[Link], LinkOwner]) -> None:
        self._accept = accept
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def dial(self, address: Address, owner: LinkOwner) -> Link:
        link = TcpLink(self, None, f"{address[0]}:{address[1]}")
        link.owner = owner
        targets = self._resolve(address)
        if not targets:
            link.close(f"the name {address[0]} is not resolved yet")
            return link
        try:
            sock = socket.socket(
                socket.AF_INET6 if ":" in targets[0][0] else socket.AF_INET,
                socket.SOCK_STREAM | socket.SOCK_NONBLOCK,
            )
        except OSError as error:
            link.close(str(error))
            return link
        link.attach(sock)
        try:
            _tune(sock)
            sock.connect(targets[0])
        except BlockingIOError:
            pass
        except OSError as error:
            link.close(str(error))
            return link
        self._links[sock.fileno()] = link
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        return link

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None:
        if self._accept_again_s and self._runtime.monotonic_s() >= self._accept_again_s:
            self._accept_again_s = 0.0
            self._epoll.modify(self._listener.fileno(), select.EPOLLIN)
        self._sleeping = True  # Set before busy() is asked: a wake in between is then not lost.
        events = self._epoll.poll(0 if wait_s <= 0 or busy() else wait_s, _EVENTS_MAX)
        self._sleeping = False
        for descriptor, mask in events:
            if descriptor == self._event:
                os.eventfd_read(self._event)
            elif descriptor == self._listener.fileno():
                self._accept_all()
            else:
                link = self._links.get(descriptor)
                if link is not None:
                    link.on_events(mask)

    def flush(self) -> None:
        while self.dirty:
            self.dirty.pop().flush()

    def wake(self) -> None:
        if self._sleeping:
            self._sleeping = False
            os.eventfd_write(self._event, 1)

    def close(self) -> None:
        for link in list(self._links.values()):
            link.close("shutting down")
        self._listener.close()
        self._epoll.close()
        os.close(self._event)

    def watch(self, link: TcpLink, mask: int) -> None:
        self._epoll.modify(link.descriptor(), mask)

    def forget(self, link: TcpLink) -> None:
        self.dirty.discard(link)
        if self._links.pop(link.descriptor(), None) is not None:
            self._epoll.unregister(link.descriptor())

    def _accept_all(self) -> None:
        for _ in range(_EVENTS_MAX):
            try:
                sock, remote = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    # The listener stays readable: without a pause the loop would spin on it.
                    logger.warning("cannot accept a member's connection error=%s", error)
                    self._epoll.modify(self._listener.fileno(), 0)
                    self._accept_again_s = self._runtime.monotonic_s() + _ACCEPT_PAUSE_S
                return
            sock.setblocking(False)
            _tune(sock)
            assert self._accept is not None
            link = TcpLink(self, sock, f"{remote[0]}:{remote[1]}")
            link.connected = True
            self._links[sock.fileno()] = link
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            link.owner = self._accept(link)
            link.owner.opened(link)

    def _resolve(self, address: Address) -> list[Address]:
        """Return numeric addresses; a name is looked up beside the loop, which must not wait."""
        try:
            return _lookup(address, socket.AI_NUMERICHOST)
        except OSError:
            pass
        now = self._runtime.monotonic_s()
        known = self._resolved.get(address)
        if (known is None or now - known[0] > _RESOLVED_S) and address not in self._resolving:
            self._resolving.add(address)
            self._runtime.spawn(f"resolve {address[0]}", lambda: self._look_up(address))
        return [] if known is None else known[1]

    def _look_up(self, address: Address) -> None:
        try:
            found = _lookup(address, 0)
            self._resolved[address] = (self._runtime.monotonic_s(), found)
        except OSError as error:
            logger.warning("cannot resolve a member's name host=%s error=%s", address[0], error)
        finally:
            self._resolving.discard(address)


def _lookup(address: Address, flags: int) -> list[Address]:
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=flags)
    return [(str(entry[4][0]), int(entry[4][1])) for entry in found]


def _listening_socket(address: Address) -> socket.socket:
    try:
        target = _lookup(address, socket.AI_PASSIVE)[0]
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address[0]}:{address[1]}: {error}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(64)
    except OSError as error:
        sock.close()
        where = f"{address[0]}:{address[1]}"
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {where} is taken; stop the other process or change it"
            ) from error
        raise ConfigError(f"cannot listen on {where}: {error}") from error
    return sock


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    for name in (b"cubic", b"reno"):  # BBR, a common default, costs twice the CPU on loopback.
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
            return
        except OSError:
            continue
