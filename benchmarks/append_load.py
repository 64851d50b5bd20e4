"""One process that appends records of one size to a file for a while; prints what came of it.

    python append_load.py records CONFIG PATH SIZE SECONDS memory|disk DEPTH
    python append_load.py file CONFIG PATH SIZE SECONDS memory|disk DEPTH
    python append_load.py mount - PATH SIZE SECONDS memory|disk DEPTH

`records` is our appender: DEPTH records are on their way, each is answered with its place once
three servers have it. `file` is our file object and `mount` a file of a mount, both opened for
appending: a write returns when the own client has it, and with `disk` it is flushed, or synced,
before the next one. The end waits for all that was written.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from typing import Any


def records(
    config: str, path: str, data: bytes, seconds: float, durability: str, depth: int
) -> Any:
    import gfs_ha

    waits: list[float] = []
    waiting: deque[tuple[float, Any]] = deque()
    with (
        gfs_ha.connect(config) as cluster,
        cluster.appender(path, durability=durability) as appender,
    ):
        appender.append(data).result(60.0)
        began_s = time.perf_counter()
        while time.perf_counter() < began_s + seconds:
            waiting.append((time.perf_counter(), appender.append(data)))
            while len(waiting) >= depth:
                sent_s, done = waiting.popleft()
                done.result(60.0)
                waits.append(time.perf_counter() - sent_s)
        for sent_s, done in waiting:
            done.result(60.0)
            waits.append(time.perf_counter() - sent_s)
        return len(waits), time.perf_counter() - began_s, waits


def file(config: str, path: str, data: bytes, seconds: float, durability: str) -> Any:
    import gfs_ha

    waits: list[float] = []
    with (
        gfs_ha.connect(config) as cluster,
        cluster.open(path, "ab", durability=durability) as target,
    ):
        target.write(data)
        target.flush()
        began_s = sent_s = time.perf_counter()
        while sent_s < began_s + seconds:
            target.write(data)
            if durability == "disk":
                target.flush()
            now_s = time.perf_counter()
            waits.append(now_s - sent_s)
            sent_s = now_s
        target.flush()
        return len(waits), time.perf_counter() - began_s, waits


def mount(path: str, data: bytes, seconds: float, synced: bool) -> Any:
    waits: list[float] = []
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, data)
    os.fsync(file)
    began_s = sent_s = time.perf_counter()
    while sent_s < began_s + seconds:
        if os.write(file, data) != len(data):
            raise OSError("a short write")
        if synced:
            os.fsync(file)
        now_s = time.perf_counter()
        waits.append(now_s - sent_s)
        sent_s = now_s
    os.close(file)
    return len(waits), time.perf_counter() - began_s, waits


def main() -> None:
    system, where, path, size, seconds, durability, depth = sys.argv[1:]
    data = os.urandom(int(size))
    sys.stdin.readline()  # All begin together.
    used_s = sum(os.times()[:2])
    if system == "records":
        count, took_s, waits = records(where, path, data, float(seconds), durability, int(depth))
    elif system == "file":
        count, took_s, waits = file(where, path, data, float(seconds), durability)
    else:
        count, took_s, waits = mount(path, data, float(seconds), durability == "disk")
    waits = sorted(waits)[:: max(1, len(waits) // 500)]
    used_s = sum(os.times()[:2]) - used_s
    print(json.dumps({"count": count, "took_s": took_s, "waits": waits, "used_s": used_s}))


if __name__ == "__main__":
    main()
