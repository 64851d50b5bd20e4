"""Do three bare members hold their leader while bulk writers flood the same disk? (M3, D5)

Three processes run a RaftNode on LMDB with a trivial machine, as many others stream into files as
chunkservers do: windows of 1 MiB, each written back and waited for at once (`sync_file_range`),
fdatasync per 64 MiB. Prints elections, commands per second, p50 and p99; exit status 1 on any
election.

    python benchmarks/raft_beside_bulk.py [--seconds 20] [--writers 3] [--in-flight 8]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import Table, Writer
from gfs_ha.limits import WRITE_BACK_BYTES
from gfs_ha.master.raft.contract import Outcome, RaftConfig
from gfs_ha.master.raft.identity import bootstrap
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.transport import tcp_transport
from gfs_ha.runtime import ThreadedRuntime

STATE = Table("state", "state")
FILE_BYTES = 64 << 20
PAYLOAD = bytes(150)
WAIT_FOR_WRITE_BACK = 7  # Before, write, after.


class Rows:
    """Keeps the newest hundred thousand payloads."""

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        writer.put(STATE, (index % 100_000).to_bytes(8, "big"), payload)
        return b""


def run_master(config: RaftConfig, directory: Path) -> None:
    """One member; takes orders as JSON lines from standard input."""
    sys.setswitchinterval(0.0005)
    runtime = ThreadedRuntime(lambda name, error: os._exit(70))
    kv = LmdbKV(directory, ("log", "meta", "state"), 8 << 30)
    bootstrap(kv, config)
    node = RaftNode(config, kv, Rows(), tcp_transport(config, runtime), runtime)
    runtime.spawn("raft", node.run)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "load":
            answer = load(node, order["in_flight"], order["seconds"])
        else:
            status = node.status()
            answer = {
                "role": status.role,
                "term": status.term,
                "commit_p50_ms": round(status.commit_p50_ms, 2),
                "commit_p99_ms": round(status.commit_p99_ms, 2),
            }
        print(json.dumps(answer), flush=True)


def load(node: RaftNode, in_flight: int, seconds: float) -> dict[str, float]:
    """Keep `in_flight` commands going for a while; return the figures."""
    times: list[float] = []
    errors = [0]
    end = time.monotonic() + seconds
    live = threading.Semaphore(0)

    def issue() -> None:
        began = time.perf_counter()

        def done(outcome: Outcome) -> None:
            if outcome.error is None:
                times.append(time.perf_counter() - began)
            else:
                errors[0] += 1
            if time.monotonic() < end and outcome.error is None:
                issue()
            else:
                live.release()

        node.propose(PAYLOAD, 10.0, done)

    for _ in range(in_flight):
        issue()
    for _ in range(in_flight):
        live.acquire(timeout=seconds + 20)
    times.sort()
    count = len(times)
    return {
        "commands_per_s": round(count / seconds),
        "p50_ms": round(times[count // 2] * 1000, 2) if count else 0,
        "p99_ms": round(times[count * 99 // 100] * 1000, 2) if count else 0,
        "max_ms": round(times[-1] * 1000, 1) if count else 0,
        "errors": errors[0],
    }


def run_writer(path: Path, seconds: float) -> None:
    """Write 64 MiB after 64 MiB over three files, as a chunkserver does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sync_file_range.argtypes = [
        ctypes.c_int,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_uint,
    ]
    window = mmap.mmap(-1, WRITE_BACK_BYTES)
    window.write(os.urandom(WRITE_BACK_BYTES))
    end = time.monotonic() + seconds
    written = turn = 0
    while time.monotonic() < end:
        descriptor = os.open(f"{path}.{turn % 3}", os.O_RDWR | os.O_CREAT, 0o644)
        for offset in range(0, FILE_BYTES, WRITE_BACK_BYTES):
            os.pwrite(descriptor, window, offset)
            libc.sync_file_range(descriptor, offset, WRITE_BACK_BYTES, WAIT_FOR_WRITE_BACK)
            written += WRITE_BACK_BYTES
        os.fdatasync(descriptor)
        os.close(descriptor)
        turn += 1
    print(written)


class Master:
    """A member in a process of its own."""

    def __init__(self, name: str, members: dict[str, tuple[str, int]], directory: Path) -> None:
        arguments = json.dumps({"name": name, "members": members, "directory": str(directory)})
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--master", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, **order: object) -> dict[str, float | str]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a master died")
        answer: dict[str, float | str] = json.loads(line)
        return answer


def free_addresses(count: int) -> list[tuple[str, int]]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname() for sock in sockets]


def measure(masters: list[Master], options: argparse.Namespace, home: Path, writers: int) -> int:
    """Run one load and print its line; return the elections that happened in it."""
    before = [master.order(do="status") for master in masters]
    leader = next(i for i, status in enumerate(before) if status["role"] == "leader")
    bulk = [
        subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--writer",
                str(home / f"bulk{i}"),
                str(options.seconds + 2),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(writers)
    ]
    time.sleep(1.0)  # The writers are at full speed.
    figures = masters[leader].order(do="load", in_flight=options.in_flight, seconds=options.seconds)
    bulk_bytes = sum(int(process.communicate(timeout=120)[0]) for process in bulk)
    after = [master.order(do="status") for master in masters]
    elections = max(int(s["term"]) for s in after) - max(int(s["term"]) for s in before)
    report = {
        "writers": writers,
        "bulk_mb_per_s": round(bulk_bytes / (options.seconds + 2) / 1e6),
        "elections": elections,
        **figures,
        "commit_p50_ms": after[leader]["commit_p50_ms"],
        "commit_p99_ms": after[leader]["commit_p99_ms"],
    }
    print(json.dumps(report))
    return elections


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--master", help=argparse.SUPPRESS)
    parser.add_argument("--writer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.master:
        given = json.loads(options.master)
        members = {name: (host, port) for name, (host, port) in given["members"].items()}
        run_master(RaftConfig("bench", 1, given["name"], members), Path(given["directory"]))
        return 0
    if options.writer:
        run_writer(Path(options.writer[0]), float(options.writer[1]))
        return 0
    home = Path(tempfile.mkdtemp(prefix="beside-bulk-", dir=options.directory))
    names = ["m1", "m2", "m3"]
    members = dict(zip(names, free_addresses(3), strict=True))
    masters = [Master(name, members, home / name) for name in names]
    try:
        deadline = time.monotonic() + 30
        while all(master.order(do="status")["role"] != "leader" for master in masters):
            if time.monotonic() > deadline:
                raise SystemExit("no leader within 30 s")
            time.sleep(0.05)
        elections = measure(masters, options, home, 0)
        elections += measure(masters, options, home, options.writers)
    finally:
        for master in masters:
            master.process.kill()
            master.process.communicate()
        shutil.rmtree(home, ignore_errors=True)
    return 1 if elections else 0


if __name__ == "__main__":
    sys.exit(main())
