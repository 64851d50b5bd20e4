"""The floor of durable appends: each record in one synced write of a journal on three servers.

    python bare_journal.py serve FILE            prints its port, then works until it is killed
    python bare_journal.py load PORTS SIZE SECONDS

A server writes all that has arrived with one write and one fdatasync, and answers all of it: group
commit at its best. A writer sends a record to all servers at once and waits for all answers.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time

ANSWER = b"+"


def serve(path: str) -> None:
    """Keep one journal."""
    journal = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        waiting: list[tuple[socket.socket, int]] = []
        batch: list[bytes] = []
        for key, _ in selector.select():
            if key.fileobj is listener:
                peer, _ = listener.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(peer, selectors.EVENT_READ, _Reader())
                continue
            connection: socket.socket = key.fileobj  # type: ignore[assignment]
            records = key.data.take(connection)
            if records is None:
                selector.unregister(connection)
                connection.close()
            elif records:
                batch += records
                waiting.append((connection, len(records)))
        if batch:
            os.write(journal, b"".join(batch))
            os.fdatasync(journal)
            for connection, count in waiting:
                connection.sendall(ANSWER * count)


class _Reader:
    """Whole records of one writer; each comes behind its length in four bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def take(self, connection: socket.socket) -> list[bytes] | None:
        data = connection.recv(1 << 18)
        if not data:
            return None
        self._rest += data
        records = []
        while len(self._rest) >= 4:
            size = 4 + int.from_bytes(self._rest[:4], "little")
            if len(self._rest) < size:
                break
            records.append(bytes(self._rest[4:size]))
            del self._rest[:size]
        return records


def load(ports: list[int], size: int, seconds: float) -> list[float]:
    """Return how long each record took, in seconds."""
    servers = [socket.create_connection(("127.0.0.1", port)) for port in ports]
    for one in servers:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    record = size.to_bytes(4, "little") + os.urandom(size)
    waits: list[float] = []
    end_s = time.perf_counter() + seconds
    began_s = time.perf_counter()
    while began_s < end_s:
        for one in servers:
            one.sendall(record)
        for one in servers:
            if one.recv(1) != ANSWER:
                raise ConnectionError("a server is gone")
        now_s = time.perf_counter()
        waits.append(now_s - began_s)
        began_s = now_s
    return waits


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        ports = [int(one) for one in sys.argv[2].split(",")]
        size, seconds = int(sys.argv[3]), float(sys.argv[4])
        sys.stdin.readline()  # All begin together.
        taken = load(ports, size, seconds)
        waits = sorted(taken)[:: max(1, len(taken) // 500)]
        print(json.dumps({"count": len(taken), "took_s": sum(taken), "waits": waits}))
