"""The floor of a create: one durable LMDB commit of its rows (dentry, inode, session, log entry).

Prints one JSON object with the median, the 99th percentile and the rate.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import lmdb

LOG_BYTES = 150
DENTRY_BYTES = 24
INODE_BYTES = 90
SESSION_BYTES = 48


def measure(directory: Path, count: int) -> dict[str, float | str]:
    """Return the figures of `count` commits, one after another."""
    env = lmdb.open(str(directory / "db"), map_size=1 << 30, max_dbs=2)
    log = env.open_db(b"log")
    state = env.open_db(b"state")
    took = []
    started = time.perf_counter()
    for number in range(count):
        key = number.to_bytes(8, "big")
        began = time.perf_counter()
        with env.begin(write=True) as rows:
            rows.put(key, os.urandom(LOG_BYTES), db=log)
            rows.put(b"d" + key + b"file-%d" % number, os.urandom(DENTRY_BYTES), db=state)
            rows.put(b"i" + key, os.urandom(INODE_BYTES), db=state)
            rows.put(b"s" + bytes(8), os.urandom(SESSION_BYTES), db=state)
        took.append(time.perf_counter() - began)
    seconds = time.perf_counter() - started
    env.close()
    took.sort()
    return {
        "name": "bare commit",
        "commits": count,
        "p50_ms": took[count // 2] * 1e3,
        "p99_ms": took[count * 99 // 100] * 1e3,
        "commits_per_s": count / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="floor-commit-", dir=options.directory))
    try:
        print(json.dumps(measure(directory, options.commits)))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
