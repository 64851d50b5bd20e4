"""A client process: changes and looks at a few names until SIGTERM, and records all of it.

    python client.py '{"config": ..., "record": ..., "name": ..., "seed": 1, "began_s": ...}'

Some threads share one session; every few seconds the client ends it and begins another. The names
change with the time, so that the history of each group of names stays short enough to be judged.
With "read": [names] it only looks at these once, and ends.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from chaos import record
from gfs_ha import config
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.consistency import consistency_of
from gfs_ha.errors import (
    AlreadyExists,
    DeadlineExceeded,
    GfsError,
    NoSpace,
    NotFound,
    NotInitialized,
    Refused,
    SessionExpired,
    Unavailable,
    UnknownOutcome,
    error_from_wire,
)
from gfs_ha.protocol.metadata import (
    Done,
    FileStatus,
    Publish,
    Published,
    PublishFile,
    Remove,
    Removed,
    Rename,
    Stat,
)
from gfs_ha.sim.masters.history import (
    ABSENT,
    CREATE,
    DELETE,
    OK,
    PRESENT,
    PUT,
    RENAME,
    STAT,
    Operation,
)

EPOCH_S = 8.0  # How long a group of names is in use.
GROUPS, PER_GROUP = 4, 3
_SESSION_S = 6.0
# What says that a request did not happen, and never will.
_NOTHING = (Unavailable, DeadlineExceeded, SessionExpired, NoSpace, NotInitialized)


class Client:
    """Threads over one connection after another."""

    def __init__(self, wish: dict[str, Any]) -> None:
        self._config_path = Path(wish["config"])
        # Of a client with one session it is what it knew before any master was replaced.
        self._session_s = float(wish.get("session_s", _SESSION_S))
        self._recorder = record.Recorder(Path(wish["record"]))
        self._name = str(wish["name"])
        self._seed = int(wish.get("seed", 0))
        self._began_s = float(wish.get("began_s", time.monotonic()))
        self._timeout_s = float(wish.get("timeout_s", 8.0))
        self._pause_s = float(wish.get("pause_s", 0.01))
        self._read_share = float(wish.get("read_share", 0.35))
        self._threads = int(wish.get("threads", 3))
        # "bounded:0" asks any master, and its answers are linearizable like the leader's. With
        # other bounds, one of several for each thread, the answers' ages are recorded, too.
        words = str(wish.get("consistency", "linearizable")).split()
        self._consistencies = [consistency_of(word) for word in words]
        self._tag_base = int(wish.get("tag_base", 1))
        self._tag_count = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def stop(self, *_: object) -> None:
        self._ended.set()

    def work(self) -> None:
        """Work until told to stop, one session after another."""
        turn = 0
        while not self._ended.is_set():
            turn += 1
            # Each has a connection of its own where it counts how old an answer was.
            known = config.load(self._config_path)
            connections = [
                ClusterConnection(known, self._timeout_s, consistency=one)
                for one in self._consistencies
            ]
            until_s = time.monotonic() + self._session_s
            tasks = [
                threading.Thread(
                    target=self._work,
                    args=(connections[at % len(connections)], f"{turn}.{at}", until_s),
                )
                for at in range(self._threads)
            ]
            for task in tasks:
                task.start()
            for task in tasks:
                task.join()
            for connection in connections:
                connection.close()

    def read(self, names: list[str]) -> None:
        """Look at each name once."""
        connection = ClusterConnection(config.load(self._config_path), 60.0)
        for name in names:
            self._perform(connection, Operation(self._name, STAT, name))
        connection.close()

    def _work(self, connection: ClusterConnection, which: str, until_s: float) -> None:
        chance = random.Random(f"{self._seed} {self._name} {which}")
        while not self._ended.is_set() and time.monotonic() < until_s:
            if self._pause_s:
                time.sleep(chance.expovariate(1 / self._pause_s))
            self._perform(connection, self._draw(chance))

    def _draw(self, chance: random.Random) -> Operation:
        epoch = int((time.monotonic() - self._began_s) / EPOCH_S)
        group = f"e{epoch}g{chance.randrange(GROUPS)}"
        name = f"{group}.{chance.randrange(PER_GROUP)}"
        if chance.random() < self._read_share:
            return Operation(self._name, STAT, name)
        kind = chance.choice([PUT, PUT, CREATE, DELETE, RENAME, RENAME])
        operation = Operation(self._name, kind, name)
        if kind in (PUT, CREATE):
            with self._lock:
                self._tag_count += 1
                operation.tag = self._tag_base + self._tag_count
        elif kind == RENAME:
            operation.target = f"{group}.{chance.randrange(PER_GROUP)}"
            operation.replace = chance.random() < 0.7
        return operation

    def _perform(self, connection: ClusterConnection, operation: Operation) -> None:
        operation.called_s = time.monotonic()
        number = self._recorder.call(operation)
        end = self._recorder.end
        calls = connection.calls
        dated = calls.consistency.bound_ms > 0 and operation.kind == STAT
        seen_index = calls.index
        if dated:
            calls.forget_age()
        try:
            answer = _ask(connection, operation)
        except UnknownOutcome:
            end("unknown", number, time.monotonic())
        except _NOTHING as error:
            end("nothing", number, time.monotonic(), error.code)
        except GfsError as error:
            end("odd", number, time.monotonic(), f"{error.code}: {error.message}")
        else:
            as_of = calls.as_of if dated else None
            facts: tuple[int, ...] = ()
            if as_of is not None:
                facts = (as_of.index, as_of.age_ms, calls.consistency.bound_ms, seen_index)
                facts += (int(as_of.degraded),)
            end("return", number, time.monotonic(), answer, *facts)


def _ask(connection: ClusterConnection, operation: Operation) -> str | int:
    try:
        return _send(connection, operation)
    except NotFound:
        return ABSENT
    except AlreadyExists:
        return PRESENT


def _send(connection: ClusterConnection, operation: Operation) -> str | int:
    path, change = f"/{operation.name}", connection.session.change
    if operation.kind == STAT:
        return connection.calls.read(Stat(path), FileStatus).mtime_ns
    if operation.kind in (PUT, CREATE):
        file = PublishFile(path, 0, 0o644, operation.tag, if_absent=operation.kind == CREATE)
        published = change(Publish((file,)), Published).files[0]
        if published.error:
            error = error_from_wire(published.error, published.message, {})
            raise error if isinstance(error, Refused) else GfsError(published.message)
    elif operation.kind == DELETE:
        change(Remove(path), Removed)
    else:
        change(Rename(path, f"/{operation.target}", operation.replace), Done)
    return OK


def main() -> None:
    wish = json.loads(sys.argv[1])
    client = Client(wish)
    signal.signal(signal.SIGTERM, client.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # Whoever starts it holds it back.
    if "read" in wish:
        client.read(wish["read"])
    else:
        client.work()


if __name__ == "__main__":
    main()
