"""Framed byte links over non-blocking TCP, all driven by one epoll that their owner polls."""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections.abc import Callable

from gfs_ha.errors import ProtocolError
from gfs_ha.net.link_sockets import Resolver, listening_socket, tune_link
from gfs_ha.net.links import Address, Link, LinkOwner
from gfs_ha.net.tcp_link import READ_BYTES, TcpLink
from gfs_ha.net.tls import Credentials
from gfs_ha.net.trust import TrustWatch
from gfs_ha.net.wakeup import Wakeup
from gfs_ha.pki.names import Role
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_EVENTS_MAX = 64
_ACCEPT_PAUSE_S = 0.2
_SHAKES_PER_POLL = 1  # Strangers may cost 1 ms each before the loop has its other work done.
_EVERYWHERE = ("0.0.0.0", "::")
_MEMBERS = frozenset({Role.MASTER})


class TcpLinks:
    """The real network. `listen_on` is where other members dial; port 0 picks a free one.

    With `credentials` only masters of the cluster get a link, and every frame goes through TLS.

    Raises: PortTaken, ConfigError.
    """

    def __init__(
        self,
        runtime: Runtime,
        listen_on: Address,
        frame_bytes_max: int,
        queue_bytes_max: int,
        credentials: Credentials | None = None,
    ) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.queue_bytes_max = queue_bytes_max
        self.view = memoryview(bytearray(READ_BYTES))
        self.dirty: set[TcpLink] = set()
        self._runtime = runtime
        self._links: dict[int, TcpLink] = {}
        self._accept: Callable[[Link], LinkOwner] | None = None
        self._accept_again_s = 0.0
        self._resolver = Resolver(runtime)
        self._sleeping = False
        self._trust = TrustWatch(credentials, runtime.monotonic_s())
        self._listener = listening_socket(listen_on)
        self._epoll = select.epoll()
        self._wakeup = Wakeup()
        self._epoll.register(self._wakeup.descriptor, select.EPOLLIN)

    @property
    def address(self) -> Address:
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def listen(self, accept: Callable[[Link], LinkOwner]) -> None:
        self._accept = accept
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def dial(self, address: Address, owner: LinkOwner) -> Link:
        remote = f"{address[0]}:{address[1]}"
        try:
            tls = self._trust.dialled(_MEMBERS, address[0])
        except ProtocolError as error:
            link = TcpLink(self, None, remote, None)
            link.owner = owner
            link.close(error.message)
            return link
        link = TcpLink(self, None, remote, tls)
        link.owner = owner
        targets = self._resolver.resolve(address)
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
            tune_link(sock)
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
        shakes = 0
        for descriptor, mask in events:
            if descriptor == self._wakeup.descriptor:
                self._wakeup.clear()
            elif descriptor == self._listener.fileno():
                self._accept_all()
            else:
                link = self._links.get(descriptor)
                if link is not None:
                    shakes += link.shaking
                    if not link.shaking or shakes <= _SHAKES_PER_POLL:
                        link.on_events(mask)  # Else the next poll says so again.
        if self._trust.due(self._runtime.monotonic_s()):
            for link in list(self._links.values()):
                error = self._trust.judge(link.tls)
                if error is not None:
                    link.close(error.message)

    def flush(self) -> None:
        while self.dirty:
            self.dirty.pop().flush()

    def wake(self) -> None:
        if self._sleeping:
            self._sleeping = False
            self._wakeup.set()

    def close(self) -> None:
        for link in list(self._links.values()):
            link.close("shutting down")
        self._listener.close()
        self._epoll.close()
        self._wakeup.close()

    def watch(self, link: TcpLink, mask: int) -> None:
        self._epoll.modify(link.descriptor(), mask)

    def forget(self, link: TcpLink) -> None:
        self.dirty.discard(link)
        if self._links.pop(link.descriptor(), None) is not None:
            self._epoll.unregister(link.descriptor())

    def leads_here(self, sock: socket.socket) -> bool:
        near, far = sock.getsockname()[:2], sock.getpeername()[:2]
        if near == far:
            return True  # The port was free, and was given to the very socket that dialled it.
        host, port = self._listener.getsockname()[:2]
        return far[1] == port and far[0] in (host, near[0] if host in _EVERYWHERE else host)

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
            try:
                sock.setblocking(False)
                tune_link(sock)
                tls = self._trust.accepted(_MEMBERS)
            except OSError as error:  # It has gone already; the others wait.
                logger.info("a member's connection is not taken error=%s", error)
                sock.close()
                continue
            assert self._accept is not None
            link = TcpLink(self, sock, f"{remote[0]}:{remote[1]}", tls)
            self._links[sock.fileno()] = link
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            link.owner = self._accept(link)
            if tls is None:
                link.open()
