"""One link between members: frames in and out of a socket, sealed by TLS if the cluster is.

A frame is a length, a CRC-32C and that many bytes; a frame of length 0 is a keep-alive.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from typing import Protocol

from gfs_ha.checksum import crc32c
from gfs_ha.errors import Denied, GfsError, ProtocolError
from gfs_ha.net.links import LinkOwner, leads_to_itself
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import PeerName

READ_BYTES = 256 * 1024
_HEADER = struct.Struct("!II")
_READS_PER_POLL = 16  # A busy link must not keep the loop from its other work.
_BUFFERS_PER_SEND = 256
_SEAL_BYTES = 256 * 1024


class LinkLoop(Protocol):
    """What drives all links of a process."""

    frame_bytes_max: int
    queue_bytes_max: int
    view: memoryview  # Where every link reads to, in its turn.
    dirty: set[TcpLink]  # Have frames that were not offered to the network yet.

    def watch(self, link: TcpLink, mask: int) -> None: ...

    def forget(self, link: TcpLink) -> None: ...

    def leads_here(self, sock: socket.socket) -> bool:
        """Return whether a connection ends at this very process."""
        ...


class TcpLink:
    """One TCP connection, in the clear or in TLS."""

    def __init__(
        self, links: LinkLoop, sock: socket.socket | None, remote: str, tls: TlsSession | None
    ) -> None:
        self.remote = remote
        self.tls = tls
        self.pending_bytes = 0
        self.owner: LinkOwner | None = None
        self.connected = False  # Frames may be sent.
        self._dialling = sock is None
        self._links = links
        self._socket = sock
        self._frame_bytes_max = links.frame_bytes_max
        self._output: deque[bytes | memoryview] = deque()
        self._wire = memoryview(b"")  # Of the output, what is sealed and not sent.
        self._input = bytearray()
        self._wants_write = False

    @property
    def certificate(self) -> PeerName | None:
        return None if self.tls is None or self.tls.peer is None else self.tls.peer.name

    @property
    def shaking(self) -> bool:
        """Return True while a TLS handshake goes on."""
        return self.tls is not None and not self.connected

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
        self._wire = memoryview(b"")
        self.pending_bytes = 0
        if self._socket is not None:
            self._links.forget(self)
            self._socket.close()
            self._socket = None
        if owner is not None:
            owner.closed(self, reason)

    def open(self) -> None:
        """Tell the owner that frames may be sent."""
        self.connected = True
        if self.owner is not None:
            self.owner.opened(self)

    def on_events(self, events: int) -> None:
        try:
            if self._dialling and not self._finish_connect():
                return
            if events & select.EPOLLOUT:
                self.flush()
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read()
        except OSError as error:
            self.close(str(error))
        except (ProtocolError, Denied) as error:
            self._refuse(error)
            self.close(error.message)

    def flush(self) -> None:
        try:
            if self.tls is None:
                self._send_frames()
            else:
                self._send_sealed(self.tls)
        except BlockingIOError:
            pass
        except OSError as error:
            self.close(str(error))
            return
        self._watch(bool(self._output or self._wire))

    def _send_frames(self) -> None:
        output = self._output
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

    def _send_sealed(self, tls: TlsSession) -> None:
        while self._socket is not None:
            if not self._wire:
                if not self._output:
                    return
                self._owe(tls.seal(self._gather()))
            sent = self._socket.send(self._wire)
            self.pending_bytes -= sent
            self._wire = self._wire[sent:]

    def _gather(self) -> bytes:
        """Take what is to be sealed together off the output."""
        output, parts, size = self._output, [], 0
        while output and size < _SEAL_BYTES:
            head = memoryview(output.popleft())
            part = head[: _SEAL_BYTES - size]
            if len(part) < len(head):
                output.appendleft(head[len(part) :])
            parts.append(part)
            size += len(part)
        self.pending_bytes -= size
        return b"".join(parts)

    def _owe(self, sealed: bytes) -> None:
        self._wire = memoryview(bytes(self._wire) + sealed)
        self.pending_bytes += len(sealed)

    def _finish_connect(self) -> bool:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.close(os.strerror(code))
            return False
        self._dialling = False
        if self._links.leads_here(self._socket):
            error = leads_to_itself(self.remote)
            if self.owner is not None:
                self.owner.refused(self, error)
            self.close(error.message)
            return False
        self._watch(False, force=True)
        if self.tls is None:
            self.open()
        else:
            self._owe(self.tls.take())
            self.flush()
        return True

    def _refuse(self, error: GfsError) -> None:
        """Tell the owner, and the peer as far as it listens, why there will be no link."""
        self.flush()
        if self.owner is not None:
            self.owner.refused(self, error)

    def _watch(self, write: bool, force: bool = False) -> None:
        if self._socket is not None and (write != self._wants_write or force):
            self._wants_write = write
            self._links.watch(self, select.EPOLLIN | (select.EPOLLOUT if write else 0))

    def _read(self) -> None:
        for _ in range(_READS_PER_POLL):
            if self._socket is None:
                return
            try:
                count = self._socket.recv_into(self._links.view)
            except BlockingIOError:
                return
            if count == 0:
                self.close("the peer closed the connection")
                return
            data = self._links.view[:count]
            self._input += data if self.tls is None else self._unseal(self.tls, data)
            if self.connected:
                self._parse()
            if count < READ_BYTES:
                return

    def _unseal(self, tls: TlsSession, data: memoryview) -> bytes:
        try:
            opened = tls.open(data)
        finally:
            own = tls.take()
            if own:
                self._owe(own)
        if own:
            self.flush()
        if tls.up and not self.connected:
            self.connected = True
            if tls.refusal is not None:
                self._refuse(tls.refusal)
                self.close(tls.refusal.message)
            else:
                self.open()
        if tls.ended:
            self.close("the peer ended the connection")
        return opened

    def _parse(self) -> None:
        data = self._input
        start = 0
        while len(data) - start >= _HEADER.size:
            length, crc = _HEADER.unpack_from(data, start)
            if length > self._frame_bytes_max:
                raise ProtocolError(f"a frame of {length} bytes is too long")
            end = start + _HEADER.size + length
            if len(data) < end:
                break
            frame = bytes(memoryview(data)[start + _HEADER.size : end])
            if crc32c(frame) != crc:
                raise ProtocolError("a damaged frame: its checksum is another one")
            start = end
            if self.owner is None:
                return
            self.owner.received(self, frame)
        if start:
            del data[:start]
