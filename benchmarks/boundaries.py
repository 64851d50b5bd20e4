"""What the end of a chunk costs those who append: the longest waits while small tails fill up.

    python benchmarks/boundaries.py [--mib 24] [--chunk-kib 1024] [--size 4096]

A real cluster of 3 masters and 4 chunkservers; one writer with one record on its way, then one with
32. As many of its longest waits as there were ends of tails are those at the ends. Prints one JSON
object per row.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import deque
from typing import Any

from stage import Failed, Interrupted, Stage

import gfs_ha

KIB = 1024


def run(stage: Stage, options: argparse.Namespace, depth: int) -> dict[str, Any]:
    """Append until so many bytes are there, at most `depth` records on their way; return a row."""
    record = os.urandom(options.size)
    count = options.mib * KIB * KIB // options.size
    waits: list[float] = []
    waiting: deque[tuple[float, Any]] = deque()
    path = f"/boundaries{depth}"

    def settle() -> None:
        sent_s, done = waiting.popleft()
        done.result(60.0)
        waits.append(time.perf_counter() - sent_s)

    with gfs_ha.connect(stage.cluster.config_path) as cluster, cluster.appender(path) as appender:
        appender.append(record).result(60.0)  # Who opens the first tail is measured elsewhere.
        began_s = time.perf_counter()
        for _ in range(count):
            waiting.append((time.perf_counter(), appender.append(record)))
            while len(waiting) >= depth:
                settle()
        while waiting:
            settle()
        took_s = time.perf_counter() - began_s
        ends = max(1, len(cluster.operations.placement(path).items) - 1)
    waits.sort()
    late = waits[-ends * depth :: depth]
    return {
        "name": f"ends of tails of {options.chunk_kib} KiB, {depth} on their way",
        "ends": ends,
        "end_p50_ms": round(statistics.median(late) * 1e3, 1),
        "end_max_ms": round(late[-1] * 1e3, 1),
        "record_p50_ms": round(statistics.median(waits) * 1e3, 2),
        "records_per_s": round(count / took_s),
        "load_1m": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=24)
    parser.add_argument("--chunk-kib", type=int, default=1024)
    parser.add_argument("--size", type=int, default=4096)
    options = parser.parse_args()
    try:
        with Stage("boundaries", bool(os.environ.get("KEEP"))) as stage:
            stage.cluster.up(
                masters=3,
                chunkservers=4,
                racks=("r1", "r2"),
                chunk_bytes=options.chunk_kib * KIB,
            )
            for depth in (1, 32):
                print(json.dumps(run(stage, options, depth)), flush=True)
        return 0
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status


if __name__ == "__main__":
    sys.exit(main())
