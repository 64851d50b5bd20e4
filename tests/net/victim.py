"""A door in a process of its own, for tests that flood, starve, stop or kill it.

`python victim.py [--files N] [--tls DIRECTORY]` prints its port and serves until standard input
ends.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

from door_house import GREETING, Service

from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
from gfs_ha.net.tls import Credentials
from gfs_ha.runtime import ThreadedRuntime

LIMITS = DoorLimits(
    handshake_deadline_s=2.0,
    frame_deadline_s=1.5,
    write_stall_s=0.5,
)


class Forgetful(Service):
    """Remembers only how often it was asked: a flood must not fill its memory."""

    def handle(self, connection, method, context, body):  # type: ignore[no-untyped-def]
        answer = super().handle(connection, method, context, body)
        self.asked.clear()
        self.deferred.clear()
        self.abandoned.clear()
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--files", type=int)
    parser.add_argument("--tls", type=Path)
    given = parser.parse_args()
    if given.files is not None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (given.files, hard))
    runtime = ThreadedRuntime()
    credentials = None if given.tls is None else Credentials(given.tls, GREETING.decode(), runtime)
    service = Forgetful()
    door = Door(runtime, ("127.0.0.1", 0), service.hello, service, LIMITS, credentials)
    task = runtime.spawn("door", door.run)
    print(door.port, flush=True)
    sys.stdin.read()
    assert task.running(), "the door ended by itself"
    door.stop()
    assert task.join(10)
    print(door.stats(), flush=True)


if __name__ == "__main__":
    main()
