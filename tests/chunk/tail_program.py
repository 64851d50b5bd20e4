"""One data port as a process of its own: `tail_program.py DIRECTORY SERVER_ID START_ID`.

A line on standard input asks for something, a line on standard output answers:
`lead PORT ID…` makes the tail of the tests as its primary, `make` as another replica;
`journal` waits until appends go to the journal; `fence` fences it and tells the end;
`prove LENGTH` tells CRC and sequences of its records.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from chunk_house import BIRTH, CHUNK, House, start_house, wait_for_journal

from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.errors import GfsError
from gfs_ha.ids import DiskId, LogIndex, ServerId, StartId
from gfs_ha.limits import MIB
from gfs_ha.protocol.control import CopySource, CreateReplica
from gfs_ha.runtime import ThreadedRuntime

ORDER = CreateReplica(CHUNK, BIRTH, LogIndex(10), DiskId(0), "disk", 8 * MIB)


def obey(house: House, start_id: StartId, words: list[str]) -> str:
    match words:
        case ["make"]:
            house.port.primary.create(ORDER)
            return "made"
        case ["lead", *rest]:
            pairs = zip(rest[::2], rest[1::2], strict=True)
            chain = tuple(CopySource(ServerId(int(i)), "127.0.0.1", int(p)) for p, i in pairs)
            house.port.primary.create(
                msgspec.structs.replace(ORDER, chain=chain, primary_start=start_id)
            )
            return "led"
        case ["journal"]:
            wait_for_journal(house)
            return "journal"
        case ["fence"]:
            answer = house.store.fence(CHUNK, BIRTH, LogIndex(20))
            return f"{answer.end} {answer.proof}"
        case ["prove", length]:
            proof = house.store.prove(CHUNK, LogIndex(20), int(length))
            return f"{proof.crc} {' '.join(str(one.sequence) for one in proof.records)}"
    raise AssertionError(words)


def main() -> None:
    directory, server_id, start = Path(sys.argv[1]), int(sys.argv[2]), StartId(int(sys.argv[3]))
    house = start_house(PosixDisk(directory), server_id, ThreadedRuntime(), start_id=start)
    print(house.port.port, flush=True)
    for line in sys.stdin:  # Until the test is done, however it ends.
        try:
            print(obey(house, start, line.split()), flush=True)
        except GfsError as error:
            print(error.code, flush=True)


if __name__ == "__main__":
    main()
