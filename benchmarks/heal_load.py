"""One client of the constant load: it puts, gets or appends at a steady rate and checks all of it.

    python heal_load.py put|get|append CONFIG LOG RATE

It ends when its standard input is closed. A line of LOG is `begun_s milliseconds what`, of an
operation that failed `begun_s milliseconds ERROR why`; times are of the machine's monotonic clock.
"""

from __future__ import annotations

import os
import random
import select
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from append_records import record
from heal_files import Contents

import gfs_ha
from gfs_ha.errors import GfsError

PUTS = "/puts"
LOG_FILE = "/log"
RECORD_BYTES = 2_048
WRITER = 1  # Of the records.
_WINDOW = 32  # Records of the appender that may be on their way.
_LIST_S = 2.0


class Load:
    """What the three kinds share: the pace, the log, the end."""

    def __init__(self, cluster: gfs_ha.Cluster, log: IO[str], rate: float) -> None:
        self.cluster = cluster
        self.contents = Contents()
        self._log = log
        self._period_s = 1.0 / rate
        self._next_s = time.monotonic()

    def turn(self) -> bool:
        """Wait for the next operation's time; return False when there is to be none.

        An operation that took long is not made up for: what is measured is not a queue of ours.
        """
        wait_s = max(0.0, self._next_s - time.monotonic())
        readable, _, _ = select.select([0], [], [], wait_s)
        if readable and not os.read(0, 1):
            return False
        self._next_s = max(self._next_s + self._period_s, time.monotonic())
        return True

    def note(self, begun_s: float, what: str) -> None:
        """Write down an operation that went well."""
        self._log.write(f"{begun_s:.6f} {(time.monotonic() - begun_s) * 1000:.2f} {what}\n")

    def failed(self, begun_s: float, why: str) -> None:
        """Write down one that did not."""
        self.note(begun_s, f"ERROR {' '.join(why.split())}")


def put(load: Load, stream: int = 1) -> None:
    number = stream * 1_000_000
    while load.turn():
        name = load.contents.name(number)
        data = load.contents.data(name)
        begun_s = time.monotonic()
        try:
            load.cluster.write_bytes(f"{PUTS}/{name}", data)
            load.note(begun_s, f"put {name}")
        except GfsError as error:
            load.failed(begun_s, f"put {name}: {error.code}: {error.message}")
        number += 1


def get(load: Load) -> None:
    chance = random.Random(7)
    names: list[str] = []
    listed_s = -_LIST_S
    while load.turn():
        begun_s = time.monotonic()
        name = "a listing"
        try:
            if begun_s - listed_s > _LIST_S or not names:
                names = [entry.name for entry in load.cluster.listdir(PUTS)]
                listed_s = begun_s
            if not names:
                continue
            name = chance.choice(names)
            begun_s = time.monotonic()
            wrong = load.contents.wrong(name, load.cluster.read_bytes(f"{PUTS}/{name}"))
            if wrong:
                load.failed(begun_s, f"get {wrong}")
            else:
                load.note(begun_s, f"get {name}")
        except GfsError as error:
            load.failed(begun_s, f"get {name}: {error.code}: {error.message}")


def append(load: Load) -> None:
    """Records of one writer; each result is noted in the moment it is there."""
    free = threading.Semaphore(_WINDOW)
    number = 0
    with load.cluster.appender(LOG_FILE) as appender:
        while load.turn():
            begun_s = time.monotonic()
            free.acquire()
            try:
                done = appender.append(record(WRITER, number, RECORD_BYTES))
            except GfsError as error:
                load.failed(begun_s, f"append {number}: {error.code}: {error.message}")
                free.release()
            else:
                done.when_done(partial(_settled, load, free, (number, begun_s), done))
            number += 1
    for _ in range(_WINDOW):
        free.acquire()


def _settled(load: Load, free: threading.Semaphore, sent: tuple[int, float], done: Any) -> None:
    number, begun_s = sent
    try:
        load.note(begun_s, f"append {WRITER} {number} {done.result(0.0).offset}")
    except GfsError as error:
        load.failed(begun_s, f"append {number}: {error.code}: {error.message}")
    finally:
        free.release()


KINDS: dict[str, Callable[[Load], None]] = {"put": put, "get": get, "append": append}


def main() -> int:
    kind, config, log, rate = sys.argv[1:]
    with Path(log).open("w", buffering=1) as file, gfs_ha.connect(config) as cluster:
        KINDS[kind](Load(cluster, file, float(rate)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
