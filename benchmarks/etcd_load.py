"""One client process that keeps commands or reads going, at etcd or at our masters.

    python benchmarks/etcd_load.py etcd|ours ENDPOINT|CONFIG write|read IN_FLIGHT SECONDS

Ends with one JSON object: per_s, p50_ms, p99_ms. etcd is spoken to in its own protocol through
grpcio, asynchronously; our masters through the library, one blocking thread per command in flight.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

KEYS = 1000
VALUE = b"x" * 64


def main(system: str, where: str, kind: str, in_flight: str, seconds: str) -> None:
    """Run one load and print its figures."""
    load = _etcd if system == "etcd" else _ours
    took_s, lasted_s = load(where, kind, int(in_flight), float(seconds))
    took_s.sort()
    count = len(took_s)
    print(
        json.dumps(
            {
                "per_s": count / lasted_s,
                "p50_ms": took_s[count // 2] * 1000,
                "p99_ms": took_s[count * 99 // 100] * 1000,
            }
        )
    )


def _etcd(endpoint: str, kind: str, in_flight: int, seconds: float) -> tuple[list[float], float]:
    import grpc

    method = "Put" if kind == "write" else "Range"
    with grpc.insecure_channel(endpoint) as channel:
        put = channel.unary_unary("/etcdserverpb.KV/Put")
        for number in range(KEYS if kind == "read" else 20):
            put(_field(1, f"/warm/{number:08d}".encode()) + _field(2, VALUE), timeout=10)
        call = channel.unary_unary(f"/etcdserverpb.KV/{method}")
        took_s: list[float] = []
        numbers = iter(range(1 << 60))
        end_s = time.perf_counter() + seconds
        live = threading.Semaphore(0)

        def issue() -> None:
            number = next(numbers)
            began_s = time.perf_counter()
            if kind == "write":
                request = _field(1, f"/b/{number:08d}".encode()) + _field(2, VALUE)
            else:
                request = _field(1, f"/warm/{number % KEYS:08d}".encode())
            call.future(request, timeout=10).add_done_callback(lambda done: ended(done, began_s))

        def ended(done: Any, began_s: float) -> None:
            done.result()
            now_s = time.perf_counter()
            took_s.append(now_s - began_s)
            if now_s < end_s:
                issue()
            else:
                live.release()

        began_s = time.perf_counter()
        for _ in range(in_flight):
            issue()
        for _ in range(in_flight):
            if not live.acquire(timeout=seconds + 30):
                raise SystemExit("etcd does not answer")
        return took_s, time.perf_counter() - began_s


def _ours(config: str, kind: str, in_flight: int, seconds: float) -> tuple[list[float], float]:
    import gfs_ha

    with gfs_ha.connect(config) as cluster:
        home = f"/load-{time.monotonic_ns()}"
        cluster.mkdir(home)
        for number in range(KEYS if kind == "read" else 20):
            cluster.write_bytes(f"{home}/warm-{number:08d}", b"")
        took_s: list[float] = []
        started_s = time.perf_counter()
        end_s = started_s + seconds

        def once(worker: int, number: int) -> None:
            if kind == "write":
                cluster.write_bytes(f"{home}/{worker:02d}-{number:08d}", b"")
            else:
                cluster.stat(f"{home}/warm-{(number * 64 + worker) % KEYS:08d}")

        _keep_going(once, in_flight, end_s, took_s)
        return took_s, time.perf_counter() - started_s


def _keep_going(
    once: Callable[[int, int], None], workers: int, end_s: float, took_s: list[float]
) -> None:
    def work(worker: int) -> None:
        number = 0
        before_s = time.perf_counter()
        while before_s < end_s:
            once(worker, number)
            number += 1
            now_s = time.perf_counter()
            took_s.append(now_s - before_s)
            before_s = now_s

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _field(number: int, value: bytes) -> bytes:
    """Return a length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


if __name__ == "__main__":
    main(*sys.argv[1:6])
