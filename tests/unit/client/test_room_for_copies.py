"""How many copies servers can hold: who is out of service or dead holds none."""

from __future__ import annotations

import msgspec
import pytest

from gfs_ha.client.room_for_copies import RoomForCopies
from gfs_ha.ids import ServerId
from gfs_ha.protocol.reports import ServerRow


def server(number: int, **how: object) -> ServerRow:
    row = ServerRow(
        *(ServerId(number), f"cs{number}", "h", 7300, f"r{number % 2}", f"h{number}", "live"),
        *(0.1, 0, 0, 1, 2, 0, 0, (), ""),
    )
    return msgspec.structs.replace(row, **how)


FIVE = [server(number) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("change", "possible"),
    [
        ({}, 5),
        ({"state": "suspect"}, 5),
        ({"state": "dead"}, 4),
        ({"state": "dead", "maintenance_left_ms": 60_000}, 5),
        ({"maintenance_left_ms": 60_000}, 5),
        ({"mode": "draining"}, 4),
        ({"mode": "decommissioned", "state": "dead"}, 4),
    ],
)
def test_servers_that_take_copies_now_or_soon_are_counted(
    change: dict[str, object], possible: int
) -> None:
    room = RoomForCopies.of_servers([*FIVE[:4], server(5, **change)])
    assert room.copies(8) == possible and room.copies(2) == 2


def test_a_machine_holds_one_copy_where_there_are_machines_enough() -> None:
    rows = [*FIVE[:4], server(5, machine="h4")]
    assert RoomForCopies.of_servers(rows).copies(5) == 5, "more copies than machines share some"
    rows = [*FIVE[:3], server(4, mode="drained"), server(5, machine="h3")]
    assert RoomForCopies.of_servers(rows).copies(4) == 3


def test_what_is_missing_is_said_with_servers_and_racks() -> None:
    assert RoomForCopies.of_servers(FIVE).lack(5) == ""
    said = "6 copies are wanted, but only 5 chunkservers are in service, in 2 racks: chunks get"
    assert RoomForCopies.of_servers(FIVE).lack(6) == (
        f"{said} 5 copies at most until a server is added"
    )
    one = RoomForCopies.of_servers([FIVE[0], server(2, mode="drained")])
    assert one.lack(3) == (
        "3 copies are wanted, but only 1 of 2 chunkservers is in service, in 1 rack: chunks get"
        " 1 copy at most until one is added or comes back"
    )


def test_nobody_is_told_to_ask_for_no_copy_which_is_the_usual_number() -> None:
    def warning(room: RoomForCopies, goal: int) -> str:
        return room.warning(goal, lambda possible: f"setrep {possible} /a")

    room = RoomForCopies.of_servers(FIVE)
    assert warning(room, 5) == ""
    assert warning(room, 6) == f"{room.lack(6)}; setrep 5 /a asks for no more than that"
    nobody = RoomForCopies.of_servers([server(1, mode="drained")])
    assert warning(nobody, 3) == nobody.lack(3) and "chunks get 0 copies" in nobody.lack(3)
    assert nobody.lack(1).startswith("1 copy is wanted, but only 0 of 1 chunkserver are in service")
