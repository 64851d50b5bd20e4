"""A wire between two processes that can be cut, frozen or flipped after so many bytes."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Forwards one port to another; faults count the bytes that went down, over all streams."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._went = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self.cut_at: int | None = None
        self.freeze_at: int | None = None
        self.flip_at: int | None = None
        self.flip_up_at: int | None = None
        self._start(self._accept)

    def _start(self, body: object, *arguments: object) -> None:
        thread = threading.Thread(target=body, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            above, _ = self._listener.accept()
            try:
                below = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                above.close()
                continue
            self._open += [above, below]
            self._start(self._pump, above, below, True)
            self._start(self._pump, below, above, False)

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        came_up = 0
        try:
            while not self._ended.is_set():
                if not select.select([source], [], [], 0.1)[0]:
                    continue
                data = bytearray(source.recv(1 << 16))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if down:
                    self._hurt(data)
                else:
                    if self.flip_up_at is not None and 0 <= self.flip_up_at - came_up < len(data):
                        data[self.flip_up_at - came_up] ^= 1
                    came_up += len(data)
                self._wait_while_frozen()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _hurt(self, data: bytearray) -> None:
        with self._lock:
            start, self._went = self._went, self._went + len(data)
        if self.flip_at is not None and start <= self.flip_at < start + len(data):
            data[self.flip_at - start] ^= 1
        if self.cut_at is not None and start + len(data) > self.cut_at:
            raise OSError("cut")

    def _wait_while_frozen(self) -> None:
        while self.freeze_at is not None and self._went > self.freeze_at:
            if self._ended.wait(0.05):
                raise OSError("ended")

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(5.0)
        for end in self._open:
            end.close()
        self._listener.close()


@contextmanager
def relays(ports: list[int]) -> Iterator[list[Relay]]:
    made = [Relay(port) for port in ports]
    try:
        yield made
    finally:
        for relay in made:
            relay.close()
