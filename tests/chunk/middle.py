"""Somebody on the wire between two data ports: sees requests, records and answers, and changes any.

He knows the protocol, and no key.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from gfs_ha.net.sealed_stream import HELLO_BYTES
from gfs_ha.pki.seals import TAG_BYTES
from gfs_ha.protocol.data import PREFIX_BYTES, DataRequest, decode_request, request_length
from gfs_ha.protocol.frames import FRAME_BYTES, decode_frame

DOWN, UP = "down", "up"
HANG_UP = None  # In the place of bytes.
Change = Callable[["Operation", int, bytes], list[bytes | None]]


@dataclass
class Operation:
    """One request, and what went over the wire for it; turn 0 is the request itself."""

    request: DataRequest
    change: tuple[str, Change] | None
    before: list[bytes]  # What was sent for the operation before.
    kept: list[bytes] = field(default_factory=list)  # For a change that needs to remember.
    turns: dict[str, int] = field(default_factory=lambda: {DOWN: 0, UP: 1})
    sent: list[bytes] = field(default_factory=list)
    changed: bool = False

    def pass_on(self, way: str, unit: bytes) -> list[bytes | None]:
        """Return what goes on in the place of one unit."""
        turn = self.turns[way]
        self.turns[way] = turn + 1
        if way == DOWN:
            self.sent.append(unit)
        if self.change is None or self.change[0] != way:
            return [unit]
        becomes = self.change[1](self, turn, unit)
        self.changed = self.changed or becomes != [unit]
        return becomes


class Middle:
    """Forwards one port to another, unit by unit: hello, request, record, frame in clear."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._armed: tuple[str, Change] | None = None
        self._before: list[bytes] = []
        self.hurt: list[Operation] = []  # Of which something was to be changed.
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._start(self._accept)

    def arm(self, way: str, change: Change) -> None:
        """Have the next request that brings bytes, or its answer, changed."""
        self.hurt = []
        self._armed = (way, change)

    def hang_up(self) -> None:
        """End all connections, so that nothing of what was made up is left on one."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10.0)
        self._listener.close()

    def _start(self, body: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=body, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.1)[0]:
                above, _ = self._listener.accept()
                below = socket.create_connection(("127.0.0.1", self._target))
                self._start(self._sit_between, above, below)

    def _sit_between(self, above: socket.socket, below: socket.socket) -> None:
        came = {DOWN: bytearray(), UP: bytearray()}
        under_way: list[Operation] = []
        with ExitStack() as both:
            for one in (above, below):
                both.enter_context(one)
            with self._lock:
                self._open |= {above, below}
            both.callback(self._forget, above, below)
            while not self._ended.is_set():
                for source in select.select([above, below], [], [], 0.1)[0]:
                    way, sink = (DOWN, below) if source is above else (UP, above)
                    try:
                        data = source.recv(1 << 16)
                        came[way] += data
                        if not data or not self._forward(way, came[way], sink, under_way):
                            return
                    except OSError:
                        return

    def _forget(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(sockets)

    def _forward(
        self, way: str, came: bytearray, sink: socket.socket, under_way: list[Operation]
    ) -> bool:
        while (length := _unit_length(way, came)) and length <= len(came):
            unit = bytes(came[:length])
            del came[:length]
            if way == DOWN and unit.startswith(b"GFSD"):
                under_way[:] = [self._begin(unit, under_way)]
            becomes = under_way[0].pass_on(way, unit) if under_way else [unit]
            for part in becomes:
                if part is HANG_UP:
                    return False
                sink.sendall(part)
        return True

    def _begin(self, unit: bytes, under_way: list[Operation]) -> Operation:
        request = decode_request(unit)
        if under_way:
            self._before = under_way[0].sent
        one = Operation(request, None, self._before)
        if request.length and self._armed is not None:
            one.change, self._armed = self._armed, None
            self.hurt.append(one)
        return one


def _unit_length(way: str, came: bytearray) -> int:
    """Return how long the unit is that begins there; 0 while that cannot be said."""
    if came.startswith(b"GFSD"):
        return request_length(bytes(came[:PREFIX_BYTES])) if len(came) >= PREFIX_BYTES else 0
    if came.startswith(b"GFSH"):
        return HELLO_BYTES
    if came.startswith(b"GFSA") and way == UP:
        if len(came) < FRAME_BYTES:
            return 0
        return FRAME_BYTES + decode_frame(bytes(came[:FRAME_BYTES])).body_length
    return 4 + struct.unpack_from("<I", came)[0] + TAG_BYTES if len(came) >= 4 else 0


@contextmanager
def middles(ports: list[int]) -> Iterator[list[Middle]]:
    with ExitStack() as all_of_them:
        made = []
        for port in ports:
            made.append(Middle(port))
            all_of_them.callback(made[-1].close)
        yield made
