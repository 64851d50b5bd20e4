"""A client that makes the log grow: first many names, then the same few changed again and again.

    python filler.py '{"config": ..., "fill_bytes": ..., "counter": ...}'

`counter` is a file with the bytes of log that were acknowledged so far, as text. What it changes is
not judged; names are long, so that little work makes much log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from gfs_ha import config
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.errors import GfsError
from gfs_ha.protocol.metadata import Publish, Published, PublishFile

_NAME = "filler-{:06d}-" + "x" * 220
_NAME_BYTES = 260  # Of one name in the log, at least.
_BATCH = 150
_PAUSE_S = 0.12
_TIMEOUT_S = 5.0


class Filler:
    """Writes until told to stop."""

    def __init__(self, config_path: str, counter: Path) -> None:
        self._config_path = config_path
        self._counter = counter
        self._bytes = 0
        self._ended = threading.Event()

    def stop(self, *_: object) -> None:
        self._ended.set()

    def work(self, fill_bytes: int) -> None:
        """Fill the tables so far, say that it is done, and go on."""
        numbers = 0
        while not self._ended.is_set():
            connection = ClusterConnection(config.load(self._config_path), _TIMEOUT_S)
            try:
                while not self._ended.is_set():
                    filling = numbers * _NAME_BYTES < fill_bytes
                    first = numbers if filling else 0
                    if not filling:
                        time.sleep(_PAUSE_S)
                    self._change(connection, first)
                    numbers += _BATCH if filling else 0
                    self._note(filling)
            except GfsError:
                pass  # Whatever it was: what counts is what others see of it.
            finally:
                connection.close()

    def _change(self, connection: ClusterConnection, first: int) -> None:
        stamp = time.monotonic_ns()
        files = tuple(
            PublishFile("/" + _NAME.format(first + at), 0, 0o644, stamp) for at in range(_BATCH)
        )
        connection.session.change(Publish(files), Published)

    def _note(self, filling: bool) -> None:
        if filling:
            return
        self._bytes += _BATCH * _NAME_BYTES
        fresh = self._counter.with_name(self._counter.name + ".new")
        fresh.write_text(f"{self._bytes}\n", encoding="ascii")
        os.replace(fresh, self._counter)


def main() -> None:
    wish = json.loads(sys.argv[1])
    filler = Filler(wish["config"], Path(wish["counter"]))
    signal.signal(signal.SIGTERM, filler.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # Whoever starts it holds it back.
    filler.work(int(wish["fill_bytes"]))


if __name__ == "__main__":
    main()
