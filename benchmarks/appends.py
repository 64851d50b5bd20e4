"""Record append on the data plane alone: a primary and two more data ports, without masters.

What is measured is how many records per second are on three disks and acknowledged, with one in
flight and with many from several streams, beside bare writes with fdatasync on the same disk in the
same minute: only that ratio says anything. Prints one JSON object per row.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import signal
import statistics
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.dataport import DataPort, ServerRun
from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import ChunkId, DiskId, Epoch, LogIndex, ServerId, SessionId, StartId
from gfs_ha.limits import LEASE_MS, MIB, TAIL_RECORDS_MAX
from gfs_ha.net import sockets
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.control import CopySource, CreateReplica
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame
from gfs_ha.protocol.records import RecordHeader, decode_record_acks, encode_record_head
from gfs_ha.runtime import ThreadedRuntime, boot_id

CLUSTER = "benchmark"
BIRTH = Epoch(1, 1)
START = StartId(77)
TAILS = 24
TAIL_BYTES = 64 * MIB
FILE_BYTES = 16 * MIB  # Of each of many files.
SERVERS = 3

Case = tuple[int, int, int, int]  # Bytes, records in flight, streams, tails.


@dataclass(frozen=True, slots=True)
class Made:
    """What tails the servers have: how many, how large, and when a record of theirs is safe."""

    tails: int = TAILS
    durability: str = "disk"
    capacity: int = TAIL_BYTES


def serve(
    directory: Path, server_id: int, chain: tuple[CopySource, ...], ready: int, made: Made
) -> None:
    """Run one data port until killed, with its tails made; writes its port number to `ready`."""
    runtime = ThreadedRuntime()
    identity = Identity(CLUSTER, ServerId(server_id), DiskId(server_id))
    store = ChunkStore.on(PosixDisk(directory), identity, runtime, boot_id())
    port = DataPort(
        ("127.0.0.1", 0),
        store,
        TcpStreams(runtime),
        runtime,
        lambda chunk, block: None,
        server_run=ServerRun(START),
    )
    start = START if server_id == 1 else StartId(0)
    for number in range(1, made.tails + 1):
        port.primary.create(
            CreateReplica(
                ChunkId(number),
                BIRTH,
                LogIndex(1),
                DiskId(0),
                made.durability,
                made.capacity,
                chain,
                start,
            )
        )
    port.primary.lease.granted(runtime.monotonic_s(), 60 * LEASE_MS)
    os.write(ready, b"%d\n" % port.port)
    port.run()


class Servers:
    """Three data ports, each in a process of its own, made from the end of the chain."""

    def __init__(self, directory: Path, made: Made) -> None:
        self.made = made
        self.children: list[int] = []
        chain: tuple[CopySource, ...] = ()
        for number in range(SERVERS, 0, -1):
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                try:
                    serve(directory / f"cs{number}", number, chain, writer, made)
                finally:
                    os._exit(1)
            self.children.append(child)
            os.close(writer)
            port = int(os.read(reader, 16))
            chain = (CopySource(ServerId(number), "127.0.0.1", port), *chain)
            os.close(reader)
        self.port = chain[0].port

    def processor_s(self) -> float:
        ticks = 0
        for child in self.children:
            fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


class Client:
    """One stream that keeps `depth` records in flight."""

    def __init__(self, port: int, chunk: int, appender: int, depth: int, data: bytes) -> None:
        self._appender = SessionId(appender)
        self._depth = depth
        self._data = data
        self._crc = crc32c(data)
        self._sequence = 1
        self._in_flight: deque[float] = deque()
        self._buffer = bytearray()
        self.acknowledged = 0
        self.latencies: list[float] = []
        self.socket = sockets.connect(("127.0.0.1", port), ThreadedRuntime(), 5.0)
        self.socket.setblocking(True)
        self.socket.sendall(
            encode_request(
                DataRequest(
                    op=Op.APPEND,
                    cluster=cluster_hash(CLUSTER),
                    target=ServerId(1),
                    chunk_id=ChunkId(chunk),
                    birth=BIRTH,
                    offset=0,
                    length=0,
                    deadline_ms=60_000,
                    op_id=1,
                    start_id=START,
                )
            )
        )

    def fill(self) -> None:
        """Send as many records as may be in flight."""
        parts = []
        now_s = time.perf_counter()
        window = self._sequence - len(self._in_flight)
        while len(self._in_flight) < self._depth:
            head = RecordHeader(self._appender, self._sequence, window, len(self._data), self._crc)
            parts += [encode_record_head(head), self._data]
            self._sequence += 1
            self._in_flight.append(now_s)
        if parts:
            self.socket.sendall(b"".join(parts))

    def take(self) -> None:
        """Read what was acknowledged."""
        self._buffer += self.socket.recv(1 << 16)
        while len(self._buffer) >= FRAME_BYTES:
            frame = decode_frame(bytes(self._buffer[:FRAME_BYTES]))
            size = FRAME_BYTES + frame.body_length
            if len(self._buffer) < size:
                return
            body = bytes(self._buffer[FRAME_BYTES:size])
            del self._buffer[:size]
            if frame.kind is FrameKind.FAILED:
                raise decode_error(body)
            if frame.kind is FrameKind.RECORDED:
                now_s = time.perf_counter()
                for _ in decode_record_acks(body):
                    self.latencies.append(now_s - self._in_flight.popleft())
                    self.acknowledged += 1


def run(
    servers: Servers, tails: list[int], streams: int, depth: int, size: int, seconds: float
) -> dict[str, Any]:
    """Append for a while, each stream to one of the tails in turn; return the row."""
    selector = selectors.DefaultSelector()
    data = os.urandom(size)
    clients = [
        Client(servers.port, tails[n % len(tails)], 1 + n, depth // streams, data)
        for n in range(streams)
    ]
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    before = servers.processor_s()
    started = time.perf_counter()
    for client in clients:
        client.fill()
    room = servers.made.capacity * len(tails) - 2 * max(depth, streams) * size
    limit = min(room // size, TAIL_RECORDS_MAX * len(tails) * 3 // 4)
    while time.perf_counter() - started < seconds:
        if sum(client.acknowledged for client in clients) > limit:
            break  # The tails are full, or nearly.
        for key, _ in selector.select(5.0):
            key.data.take()
            key.data.fill()
    took = time.perf_counter() - started
    processor = servers.processor_s() - before
    total = sum(client.acknowledged for client in clients)
    latencies = sorted(one for client in clients for one in client.latencies)
    for client in clients:
        client.socket.close()
    return {
        "name": f"append {size} B, {depth} in flight, {streams} streams, {len(tails)} tails",
        "records_per_s": round(total / took),
        "p50_ms": round(statistics.median(latencies) * 1e3, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1e3, 2),
        "server_cpu_us_per_record": round(processor / total * 1e6, 1),
    }


def bare_syncs(directory: Path, seconds: float) -> float:
    """Return how many growing writes of 4 KiB with fdatasync one thread does in a second."""
    path = directory / "bare"
    number = os.open(path, os.O_CREAT | os.O_RDWR)
    done = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        os.pwrite(number, bytes(4096), done * 4096)
        os.fdatasync(number)
        done += 1
    os.close(number)
    return done / seconds


def measure(made: Made, cases: list[Case], options: argparse.Namespace) -> None:
    """Print one row per case, each with tails of its own."""
    place = Path(tempfile.mkdtemp(prefix="appends-", dir=options.directory))
    servers = Servers(place, made)
    tail = iter(range(1, made.tails + 1))
    try:
        for size, depth, streams, tails in cases:
            chosen = [next(tail) for _ in range(tails)]
            before = bare_syncs(place, options.seconds / 6)
            row = run(servers, chosen, streams, depth, size, options.seconds)
            bare = (before + bare_syncs(place, options.seconds / 6)) / 2
            row["durability"] = made.durability
            row["bare_syncs_per_s"] = round(bare)
            row["records_per_bare_sync"] = round(row["records_per_s"] / bare, 2)
            row["load_1m"] = round(os.getloadavg()[0], 1)
            print(json.dumps(row), flush=True)
    finally:
        servers.stop()
        shutil.rmtree(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--files", type=int, nargs="+", help="one stream to each of so many files")
    parser.add_argument("--depth", type=int, default=1, help="in flight to each of them")
    parser.add_argument("--size", type=int, nargs="+", default=[100, 4096])
    parser.add_argument("--durability", choices=("disk", "memory"), default="disk")
    options = parser.parse_args()
    if options.files:
        cases = [
            (size, options.depth * files, files, files)
            for size in options.size
            for files in options.files
        ]
        count = sum(files for _, _, _, files in cases)
        measure(Made(count, options.durability, FILE_BYTES), cases, options)
    else:
        shapes = ((1, 1, 1), (64, 4, 1), (64, 4, 4))
        cases = [(size, *shape) for size in options.size for shape in shapes]
        measure(Made(durability=options.durability), cases, options)


if __name__ == "__main__":
    main()
