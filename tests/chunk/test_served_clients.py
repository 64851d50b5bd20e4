"""For whom a server counts what it serves: each byte once, under the name that came with it."""

from __future__ import annotations

from pathlib import Path

from append_house import appending, order_tail
from chunk_house import CHUNK, House, client_room, fetch, push, street, target
from replica_house import noise

from gfs_ha.ids import ChunkId
from gfs_ha.limits import KIB, MIB
from gfs_ha.protocol.usage import UNNAMED

PUT = ChunkId(CHUNK + 1)

Counted = dict[str, tuple[int, int]]


def counted(house: House, by: str) -> Counted:
    told = house.port.usage()
    assert told is not None
    [sketch] = [one for one in told.sketches if (one.by, one.window) == (by, "1h")]
    return {one.key: (one.operations, one.bytes) for one in sketch.entries}


def test_servers_count_for_whom_they_work_and_each_byte_once(tmp_path: Path) -> None:
    with street(tmp_path) as houses, client_room() as room:
        room.label = "ann@box:1"
        push(room, target(houses, PUT), noise(MIB))
        room.label = "bob@box:2"
        assert fetch(room, houses[1], 0, 300 * KIB, PUT)[0] == noise(MIB)[: 300 * KIB]
        room.label = ""
        assert fetch(room, houses[1], 0, 4 * KIB, PUT)[0] == noise(MIB)[: 4 * KIB]
        order_tail(houses)
        with appending(houses[0], label="ann@box:1") as stream:
            stream.append(1, b"a" * 100)
            stream.append(2, b"b" * 50)
            stream.wait_for(1, 2)
        with appending(houses[0]) as stream:
            stream.append(3, b"c" * 7)
            stream.wait_for(3)
    # Once they have stopped: what was answered a moment ago is counted by then.
    assert [counted(house, "client") for house in (houses[0], houses[1])] == [
        {"ann@box:1": (3, MIB + 150), UNNAMED: (1, 7)},
        {"bob@box:2": (1, 300 * KIB), UNNAMED: (1, 4 * KIB)},
    ]
    told = houses[2].port.usage()
    assert told is not None and not told.sketches, "the last of a chain serves nobody of its own"


def test_operations_are_counted_by_their_kind(tmp_path: Path) -> None:
    with street(tmp_path) as houses, client_room() as room:
        room.label = "ann"
        push(room, target(houses, PUT), noise(MIB))
        fetch(room, houses[0], 0, KIB, PUT)
        fetch(room, houses[0], 0, KIB, PUT)
    assert counted(houses[0], "op") == {"write": (1, MIB), "read": (2, 2 * KIB)}
