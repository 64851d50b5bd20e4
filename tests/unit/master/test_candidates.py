"""Where a new chunk goes as the leader hears its servers: who has hung up comes last."""

from __future__ import annotations

import msgspec
import pytest
from master_tables import Tables

from gfs_ha.errors import Busy, NoServers
from gfs_ha.ids import Epoch, ServerId
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.candidates import choose
from gfs_ha.master.observed import Observed
from gfs_ha.master.placement import Wanted
from gfs_ha.master.roster import Roster
from gfs_ha.master.state.records import Disk, Server
from gfs_ha.protocol.control import DiskFacts, Heartbeat, RegisterServer

NOW_S = 105.0


def servers() -> list[tuple[ServerId, Server]]:
    """Return four registered servers in two racks."""
    with Tables().view() as view:
        return view.servers()


def heard(
    numbers: tuple[int, ...] = (1, 2, 3, 4), elected_s: float = 100.0, disk_count: int = 1
) -> Observed:
    """Return what a leader knows that has heard these servers just now."""
    seen = Observed(elected_s)
    for number in numbers:
        ids = [100 * (one + 1) + number for one in range(disk_count)]
        disks = tuple(DiskFacts(one, 100 * GIB, 90 * GIB, 0) for one in ids)
        seen.registered(
            number, RegisterServer(f"cs{number}", number, "h", 1, "r", "m", 1, 1, disks), NOW_S
        )
        seen.heard(Heartbeat(number, 1, 1, Epoch(1, 1), 0.1, 0, 0, disks), NOW_S, 0)
    return seen


def wanted(goal: int = 3) -> Wanted:
    return Wanted(goal, 2, MIB, "", "", frozenset(), 7)


def placed(hung_up: tuple[int, ...], goal: int = 3) -> set[int]:
    chosen = choose(Roster(servers()), heard(), wanted(goal), NOW_S, frozenset(hung_up))
    assert len(chosen.replicas) == goal
    return {server_id for server_id, _ in chosen.replicas}


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
def test_who_has_hung_up_gets_no_copy_while_there_are_others(gone: int) -> None:
    assert placed((gone,)) == {1, 2, 3, 4} - {gone}


def test_without_enough_others_it_is_taken_for_one_that_comes_back_in_a_moment() -> None:
    assert placed((1, 2, 3, 4)) and placed((1, 2))
    assert placed((3,), goal=4) == {1, 2, 3, 4}


def test_the_disks_of_a_server_take_chunks_in_turns() -> None:
    (number, first), *_ = servers()
    both = msgspec.structs.replace(first, disks=(Disk(101, 1 << 40), Disk(201, 1 << 40)))
    known, seen = Roster([(number, both)]), heard((1,), disk_count=2)
    one_copy = Wanted(1, 1, MIB, "", "", frozenset(), 7)
    turns = [choose(known, seen, one_copy, NOW_S).replicas[0][1] for _ in range(4)]
    assert turns == [101, 201, 101, 201]


def test_a_new_leader_waits_for_its_servers_and_an_old_one_says_what_is_missing() -> None:
    with pytest.raises(Busy):
        choose(Roster(servers()), heard((1, 2), elected_s=NOW_S - 1.0), wanted(), NOW_S)
    old = heard((1,), elected_s=NOW_S - 50.0)
    with pytest.raises(NoServers, match="2 needed"):
        choose(Roster(servers()), old, wanted(), NOW_S)
    seen = heard()
    choose(Roster(servers()), seen, wanted(), NOW_S)
    assert sum(seen.pending_bytes(NOW_S).values()) == 3 * MIB
