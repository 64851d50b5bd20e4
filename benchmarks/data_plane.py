"""The data plane alone, beside its floor: pushes down a chain of three data ports, and fetches.

No masters take part: what is measured is slots, packets, acknowledgements and verified reads. Runs
alternate with the floor programs on the same disk, because only a ratio inside one run says
anything. Prints one JSON object per row.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gfs_ha.chunk.dataport import DataPort
from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.client.push import Push, PushTarget
from gfs_ha.ids import ChunkId, DiskId, Epoch, ServerId, make_chunk_id
from gfs_ha.limits import MIB
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import Durability, Hop
from gfs_ha.runtime import ThreadedRuntime, boot_id

CLUSTER = "benchmark"
BIRTH = Epoch(1, 1)
CHUNK_BYTES = 64 * MIB
FLOOR = Path(__file__).parent / "floor"


def serve(directory: Path, server_id: int, ready: int) -> None:
    """Run one data port until killed; writes its port number to `ready`."""
    runtime = ThreadedRuntime()
    identity = Identity(CLUSTER, ServerId(server_id), DiskId(server_id))
    store = ChunkStore.on(PosixDisk(directory), identity, runtime, boot_id())
    port = DataPort(
        ("127.0.0.1", 0), store, TcpStreams(runtime), runtime, lambda chunk, block: None
    )
    os.write(ready, b"%d\n" % port.port)
    port.run()


class Servers:
    """Three data ports, each in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self._children: list[int] = []
        hops = []
        for number in range(1, 4):
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                try:
                    serve(directory / f"cs{number}", number, writer)
                finally:
                    os._exit(1)
            self._children.append(child)
            os.close(writer)
            hops.append(Hop(ServerId(number), "127.0.0.1", int(os.read(reader, 16))))
            os.close(reader)
        self.hops = tuple(hops)

    def processor_s(self) -> float:
        ticks = 0
        for child in self._children:
            fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        for child in self._children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def push_chunks(
    room: DataRoom, hops: tuple[Hop, ...], first: int, total: int, push_bytes: int, durable: bool
) -> list[ChunkId]:
    """Write `total` bytes in pushes of `push_bytes`, and return the chunks."""
    source = memoryview(os.urandom(MIB) * (push_bytes // MIB or 1))[:push_bytes]
    durability = Durability.DISK if durable else Durability.MEMORY
    chunks = []
    offset = CHUNK_BYTES
    target = None
    for _ in range(total // push_bytes):
        if offset + push_bytes > CHUNK_BYTES or target is None:
            chunk = make_chunk_id(1, first + len(chunks))
            target = PushTarget(chunk, BIRTH, CHUNK_BYTES, durability, hops)
            chunks.append(chunk)
            offset = 0
        with Push(room, target, offset, push_bytes, 60.0) as push:
            push.write(source)
            result = push.finish()
        if not result.complete:
            raise SystemExit(f"a push failed: {result.acks}")
        offset += push_bytes
    return chunks


def fetch_chunks(room: DataRoom, hop: Hop, chunks: list[ChunkId], into: memoryview) -> None:
    for chunk in chunks:
        Fetch(room, FetchTarget(hop, chunk, BIRTH), 60.0).read(0, into)


def floor(program: str, directory: Path, *options: str) -> dict[str, float]:
    command = [sys.executable, str(FLOOR / program), "--directory", str(directory), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def compare(directory: Path, total: int, rounds: int, durable: bool) -> None:
    """Print a row for writing and one for reading: ours, the floor, the median of the ratios."""
    ours, bare, read_ours, read_bare, processor, bare_processor = [], [], [], [], [], []
    into = memoryview(bytearray(CHUNK_BYTES))
    for number in range(rounds):
        place = Path(tempfile.mkdtemp(prefix="data-plane-", dir=directory))
        servers = Servers(place)
        runtime = ThreadedRuntime()
        room = DataRoom(CLUSTER, TcpStreams(runtime), runtime)
        try:
            before = servers.processor_s()
            started = time.perf_counter()
            chunks = push_chunks(room, servers.hops, 1, total, CHUNK_BYTES, durable)
            ours.append(total / (time.perf_counter() - started) / 1e6)
            processor.append((servers.processor_s() - before) / (total / 1e9))
            fetch_chunks(room, servers.hops[0], chunks[:1], into)
            started = time.perf_counter()
            fetch_chunks(room, servers.hops[0], chunks, into)
            read_ours.append(total / (time.perf_counter() - started) / 1e6)
        finally:
            room.close()
            servers.stop()
            shutil.rmtree(place)
        options = ["--bytes", str(total)]
        chain = floor("bare_chain.py", directory, *options)
        bare.append(chain["mb_per_s"])
        bare_processor.append(chain["server_cpu_s_per_gb"])
        read_bare.append(floor("bare_read.py", directory, *options)["mb_per_s"])
        print(
            f"# round {number}: write {ours[-1]:.0f} of {bare[-1]:.0f} MB/s, "
            f"read {read_ours[-1]:.0f} of {read_bare[-1]:.0f}",
            file=sys.stderr,
        )
    for name, mine, theirs in (("push", ours, bare), ("fetch", read_ours, read_bare)):
        ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
        row = {
            "name": f"{name} {'durable' if durable else 'memory'}",
            "mb_per_s": round(statistics.median(mine)),
            "floor_mb_per_s": round(statistics.median(theirs)),
            "share": round(ratio, 2),
        }
        if name == "push":
            row["server_cpu_s_per_gb"] = round(statistics.median(processor), 3)
            row["floor_cpu_s_per_gb"] = round(statistics.median(bare_processor), 3)
        print(json.dumps(row))


def small_pushes(directory: Path, count: int, push_bytes: int) -> None:
    """Print the rate of small durable pushes into one chunk, one after another."""
    place = Path(tempfile.mkdtemp(prefix="data-plane-", dir=directory))
    servers = Servers(place)
    runtime = ThreadedRuntime()
    room = DataRoom(CLUSTER, TcpStreams(runtime), runtime)
    try:
        started = time.perf_counter()
        push_chunks(room, servers.hops, 1, count * push_bytes, push_bytes, durable=True)
        seconds = time.perf_counter() - started
    finally:
        room.close()
        servers.stop()
        shutil.rmtree(place)
    bare = floor("bare_create.py", directory, "--files", str(count))
    row = {
        "name": f"pushes of {push_bytes} bytes",
        "per_s": round(count / seconds),
        "ms": round(seconds / count * 1e3, 2),
        "bare_create_per_s": round(bare["files_per_s"]),
        "share": round(count / seconds / bare["files_per_s"], 2),
    }
    print(json.dumps(row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="data-plane-", dir=options.directory))
    try:
        compare(directory, options.bytes, options.rounds, durable=not options.memory)
        small_pushes(directory, 500, 8 << 10)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
