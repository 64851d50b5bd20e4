"""One data port as a process of its own: `data_port_program.py DIRECTORY SERVER_ID`."""

from __future__ import annotations

import sys
from pathlib import Path

from chunk_house import start_house

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.runtime import ThreadedRuntime


def main() -> None:
    directory, server_id = Path(sys.argv[1]), int(sys.argv[2])
    house = start_house(PosixDisk(directory), server_id, ThreadedRuntime())
    print(house.port.port, flush=True)
    sys.stdin.read()  # Until the test is done, however it ends.


if __name__ == "__main__":
    main()
