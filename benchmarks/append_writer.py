"""One process that appends records to a file, and writes down what it was told of each.

    python append_writer.py CONFIG PATH WRITER SIZE DEPTH COUNT LOG

It appends COUNT records (0: until its standard input is closed), with at most DEPTH on their way;
a line of LOG is `writer number offset microseconds`. Exit status 1 when a record fails.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections import deque
from pathlib import Path

from append_records import record

import gfs_ha
from gfs_ha.errors import GfsError


def main() -> int:
    config, path, writer_text, size, depth, count, log = sys.argv[1:]
    writer, left = int(writer_text), int(count)
    rows: list[str] = []
    waiting: deque[tuple[int, float, object]] = deque()

    def settle() -> None:
        number, sent_s, done = waiting.popleft()
        offset = done.result(120.0).offset  # type: ignore[attr-defined]
        rows.append(f"{writer} {number} {offset} {(time.monotonic() - sent_s) * 1e6:.0f}\n")

    status, number = 0, 0
    try:
        with gfs_ha.connect(config) as cluster, cluster.appender(path) as appender:
            while not _ended() if not left else number < left:
                done = appender.append(record(writer, number, int(size)))
                waiting.append((number, time.monotonic(), done))
                number += 1
                while len(waiting) >= int(depth) or (waiting and waiting[0][2].done()):
                    settle()
            while waiting:
                settle()
    except GfsError as error:
        print(f"writer {writer}: record {number}: {error.code}: {error.message}", file=sys.stderr)
        status = 1
    Path(log).write_text("".join(rows))
    return status


def _ended() -> bool:
    readable, _, _ = select.select([0], [], [], 0.0)
    return bool(readable) and not os.read(0, 1)


if __name__ == "__main__":
    sys.exit(main())
