"""One data port as a process of its own: `data_port_program.py DIRECTORY SERVER_ID`.

A line on standard input is a log index: fence the chunk of the tests, and print what comes of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from chunk_house import BIRTH, CHUNK, start_house

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.errors import GfsError
from gfs_ha.ids import LogIndex
from gfs_ha.runtime import ThreadedRuntime


def main() -> None:
    directory, server_id = Path(sys.argv[1]), int(sys.argv[2])
    house = start_house(PosixDisk(directory), server_id, ThreadedRuntime())
    print(house.port.port, flush=True)
    for line in sys.stdin:  # Until the test is done, however it ends.
        try:
            print(house.store.fence(CHUNK, BIRTH, LogIndex(int(line))).end, flush=True)
        except GfsError as error:
            print(error.code, flush=True)


if __name__ == "__main__":
    main()
