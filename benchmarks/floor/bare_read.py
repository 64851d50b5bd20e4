"""The floor of a get: sendfile from one process, every 64 KiB block verified in another.

Prints one JSON object. The file is written and read once before, as the product's would be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

from bare_chain import BLOCK, huge, receive, tuned
from crc32c import crc32c

WINDOW = 1 << 20


def serve(listener: socket.socket, path: Path, chunk: int) -> None:
    stream = tuned(listener.accept()[0])
    file = os.open(path, os.O_RDONLY)
    ask = memoryview(bytearray(1))
    while True:
        receive(stream, ask)
        offset = 0
        while offset < chunk:
            offset += os.sendfile(stream.fileno(), file, offset, chunk - offset)


def client(address: tuple[str, int], crcs: list[int], total: int, chunk: int) -> float:
    target = huge(chunk)
    blocks = [target[at : at + BLOCK] for at in range(0, chunk, BLOCK)]
    stream = tuned(socket.socket())
    stream.connect(address)
    started = 0.0
    for number in range(total // chunk + 1):
        if number == 1:
            started = time.perf_counter()
        stream.sendall(b"r")
        for start in range(0, chunk, WINDOW):
            receive(stream, target[start : start + WINDOW])
            for index in range(start // BLOCK, (start + WINDOW) // BLOCK):
                if crc32c(blocks[index]) != crcs[index]:
                    raise SystemExit(f"block {index} is damaged")
    return time.perf_counter() - started


def measure(directory: Path, total: int, chunk: int) -> dict[str, float | int | str]:
    """Return the figures of one run; whole chunks only."""
    path = directory / "chunk"
    content = os.urandom(1 << 20) * (chunk >> 20)
    path.write_bytes(content)
    crcs = [crc32c(content[at : at + BLOCK]) for at in range(0, chunk, BLOCK)]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    child = os.fork()
    if not child:
        try:
            serve(listener, path, chunk)
        finally:
            os._exit(1)
    try:
        address = listener.getsockname()
        listener.close()
        seconds = client(address, crcs, total, chunk)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    moved = total // chunk * chunk
    return {
        "name": "bare read",
        "bytes": moved,
        "seconds": seconds,
        "mb_per_s": moved / seconds / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--chunk-bytes", type=int, default=64 << 20)
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="floor-read-", dir=options.directory))
    try:
        print(json.dumps(measure(directory, options.bytes, options.chunk_bytes)))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
