"""A client process that creates empty files for a while and tells how long each took.

    python benchmarks/creator.py CONFIG DIRECTORY SECONDS

It prints `ready`, waits for a line on standard input, and ends with one JSON object.
"""

from __future__ import annotations

import json
import sys
import time

import gfs_ha


def main(config: str, directory: str, seconds: str) -> None:
    """Create files one after another in an open session."""
    took_s: list[float] = []
    with gfs_ha.connect(config) as cluster:
        cluster.mkdir(directory, parents=True)
        for number in range(20):
            cluster.write_bytes(f"{directory}/warm-{number}", b"")
        print("ready", flush=True)
        sys.stdin.readline()
        started_s = time.perf_counter()
        end_s = started_s + float(seconds)
        before_s = started_s
        while before_s < end_s:
            cluster.write_bytes(f"{directory}/{len(took_s):08d}", b"")
            now_s = time.perf_counter()
            took_s.append(now_s - before_s)
            before_s = now_s
    took_s.sort()
    print(
        json.dumps(
            {
                "count": len(took_s),
                "seconds": before_s - started_s,
                "p50_ms": took_s[len(took_s) // 2] * 1000,
                "p99_ms": took_s[len(took_s) * 99 // 100] * 1000,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
