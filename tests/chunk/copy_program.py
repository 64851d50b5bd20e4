"""A server that copies, as a process of its own: `copy_program.py DIRECTORY SOURCE_PORT RATE`.

It says `begun` when the first bytes are there, and then the answer of the order.
"""

from __future__ import annotations

import sys
from pathlib import Path

from chunk_house import BOOT_ID, identity
from copy_house import EPOCH, order, working_copies

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import ServerId
from gfs_ha.protocol.control import CopySource
from gfs_ha.runtime import ThreadedRuntime


def main() -> None:
    directory, port, rate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    runtime = ThreadedRuntime()
    store = ChunkStore.on(PosixDisk(directory), identity(9), runtime, BOOT_ID)
    with working_copies(store) as target:
        source = CopySource(ServerId(1), "127.0.0.1", port)
        target.copies.take(EPOCH, order([source], bytes_per_s=rate))
        while not any(one.bytes_done for one in target.copies.progress()):
            if target.outbox.waiting():
                break
            runtime.sleep(0.001)
        print("begun", flush=True)
        with target.outbox.changed:
            while not target.outbox.waiting():
                target.outbox.changed.wait(1.0)
        print(type(target.outbox.take().answers[0]).__name__, flush=True)
        sys.stdin.read()  # Until it is killed, or the test is over.


if __name__ == "__main__":
    main()
