"""A door in a process of its own, for tests that flood, starve, stop or kill it.

`python victim.py [NOFILE]` prints its port and serves until standard input ends.
"""

from __future__ import annotations

import resource
import sys

from door_house import Service

from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
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
    if len(sys.argv) > 1:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), hard))
    runtime = ThreadedRuntime()
    service = Forgetful()
    door = Door(runtime, ("127.0.0.1", 0), service.hello, service, LIMITS)
    task = runtime.spawn("door", door.run)
    print(door.port, flush=True)
    sys.stdin.read()
    assert task.running(), "the door ended by itself"
    door.stop()
    assert task.join(10)
    print(door.stats(), flush=True)


if __name__ == "__main__":
    main()
