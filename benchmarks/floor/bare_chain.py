"""The floor of a put: the same bytes through three processes and nothing else.

Each process receives a packet, checks the CRC of its 64 KiB blocks, forwards it, writes it to a
file that was reserved with fallocate, and syncs once per push (one chunk). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

from crc32c import crc32c

BLOCK = 64 << 10
PACKET = 512 << 10
LEAD = 4096
WAIT_ALL = socket.MSG_WAITALL
ACK = b"done"

_libc = ctypes.CDLL(None)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def huge(length: int) -> memoryview:
    """Return page-aligned memory that was touched once."""
    pages = mmap.mmap(-1, length)
    pages.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(pages)
    for at in range(0, length, 4096):
        view[at] = 1
    return view


def tuned(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for algorithm in (b"cubic", b"reno"):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm)
            break
        except OSError:
            continue
    return sock


def receive(sock: socket.socket, into: memoryview) -> None:
    got = 0
    while got < len(into):
        count = sock.recv_into(into[got:], 0, WAIT_ALL)
        if not count:
            raise SystemExit(0)
        got += count


def send(sock: socket.socket, data: memoryview) -> None:
    sent = 0
    while sent < len(data):
        sent += sock.send(data[sent:])


def serve(
    listener: socket.socket, below: tuple[str, int] | None, directory: Path, push: int
) -> None:
    stream = tuned(listener.accept()[0])
    down = None
    if below is not None:
        down = tuned(socket.socket())
        down.connect(below)
    lead = 4 * (PACKET // BLOCK)
    buffer = huge(LEAD + PACKET)
    crcs = buffer[LEAD - lead : LEAD].cast("I")
    packet = buffer[LEAD - lead :]
    data = buffer[LEAD:]
    blocks = [data[at : at + BLOCK] for at in range(0, PACKET, BLOCK)]
    ack = memoryview(bytearray(len(ACK)))
    number = 0
    while True:
        file = os.open(directory / str(number), os.O_RDWR | os.O_CREAT, 0o600)
        number += 1
        _libc.fallocate(file, 1, 0, push)
        for offset in range(0, push, PACKET):
            receive(stream, packet)
            for block, crc in zip(blocks, crcs, strict=True):
                if crc32c(block) != crc:
                    raise SystemExit("a block arrived damaged")
            if down is not None:
                send(down, packet)
            os.pwrite(file, data, offset)
        os.fdatasync(file)
        os.close(file)
        if down is not None:
            receive(down, ack)
        stream.sendall(ACK)


def client(address: tuple[str, int], total: int, push: int) -> float:
    lead = 4 * (PACKET // BLOCK)
    source = huge(push)
    source[:] = os.urandom(1 << 20) * (push >> 20)
    head = memoryview(bytearray(lead)).cast("I")
    ack = memoryview(bytearray(len(ACK)))
    stream = tuned(socket.socket())
    stream.connect(address)
    started = time.perf_counter()
    for _ in range(total // push):
        for offset in range(0, push, PACKET):
            for index in range(PACKET // BLOCK):
                at = offset + index * BLOCK
                head[index] = crc32c(source[at : at + BLOCK])
            parts = [head.cast("B"), source[offset : offset + PACKET]]
            sent = stream.sendmsg(parts)
            if sent < lead:
                raise SystemExit("a header was cut")
            send(stream, parts[1][sent - lead :])
        receive(stream, ack)
    return time.perf_counter() - started


def measure(directory: Path, total: int, push: int) -> dict[str, float | int | str]:
    """Return the figures of one run; whole pushes only."""
    listeners = []
    for _ in range(3):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        listeners.append(listener)
    addresses = [listener.getsockname() for listener in listeners]
    children = []
    try:
        for number, listener in enumerate(listeners):
            own = directory / str(number)
            own.mkdir()
            child = os.fork()
            if not child:
                below = addresses[number + 1] if number < 2 else None
                try:
                    serve(listener, below, own, push)
                finally:
                    os._exit(1)
            children.append(child)
        for listener in listeners:
            listener.close()
        seconds = client(addresses[0], total, push)
    finally:
        processor = 0.0
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            processor += usage.ru_utime + usage.ru_stime
    moved = total // push * push
    return {
        "name": "bare chain",
        "bytes": moved,
        "push_bytes": push,
        "seconds": seconds,
        "mb_per_s": moved / seconds / 1e6,
        "server_cpu_s_per_gb": processor / (moved / 1e9),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--push-bytes", type=int, default=64 << 20)
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="floor-chain-", dir=options.directory))
    try:
        print(json.dumps(measure(directory, options.bytes, options.push_bytes)))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
