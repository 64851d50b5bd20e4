"""Where a new chunk goes as the leader hears its servers: who has hung up comes last."""

from __future__ import annotations

import msgspec
import pytest
from master_tables import Tables

from gfs_ha.errors import Busy, NoServers
from gfs_ha.ids import DiskId, Epoch, ServerId
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.candidates import candidates, choose
from gfs_ha.master.observed import Observed
from gfs_ha.master.placement import Wanted
from gfs_ha.master.roster import Roster
from gfs_ha.master.state.records import Disk, Server
from gfs_ha.master.state.server_mode_records import DiskMode, ServerMode
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


class Told:
    """The servers whose keys for tickets are known."""

    def __init__(self, *server_ids: int) -> None:
        self._server_ids = server_ids

    def knows(self, server_id: int, start_id: int) -> bool:
        return server_id in self._server_ids


def test_who_told_no_key_for_tickets_gets_no_copy_and_a_new_leader_waits_for_it() -> None:
    seen = heard(elected_s=NOW_S - 50.0)
    seen.keys = Told(1, 2, 4)
    chosen = choose(Roster(servers()), seen, wanted(4), NOW_S)
    assert {server_id for server_id, _ in chosen.replicas} == {1, 2, 4}
    (why,) = [one.trouble for one in candidates(Roster(servers()), seen, NOW_S) if one.trouble]
    assert why == "has told this leader no key for tickets, so that nobody could write to it"
    new = heard(elected_s=NOW_S - 1.0)
    new.keys = Told(1, 2, 4)
    with pytest.raises(Busy):
        choose(Roster(servers()), new, wanted(4), NOW_S)


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


@pytest.mark.parametrize("how", ["draining", "drained", "failed", "ailing", "lost"])
def test_a_disk_that_is_on_its_way_out_takes_nothing_although_it_is_the_emptiest(how: str) -> None:
    (number, first), *_ = servers()
    seen = heard((1,), disk_count=3)
    told = seen.servers[number].disks
    emptiest = msgspec.structs.replace(
        told[2],
        free_bytes=99 * GIB,
        failed="EIO" if how == "failed" else "",
        ailing="EIO" if how == "ailing" else "",
    )
    seen.servers[number].disks = (*told[:2], emptiest)
    disks = tuple(Disk(one.disk_id, 1 << 40) for one in told[:2])
    third = Disk(emptiest.disk_id, 1 << 40, lost=how == "lost")
    row = msgspec.structs.replace(first, disks=(*disks, third))
    modes = {}
    if how in ("draining", "drained"):
        modes = {(number, emptiest.disk_id): DiskMode(how, 1, 1)}
    known = Roster([(number, row)], disk_modes=modes)
    one_copy = Wanted(1, 1, MIB, "", "", frozenset(), 7)
    chosen = {choose(known, seen, one_copy, NOW_S).replicas[0][1] for _ in range(6)}
    assert chosen == {101, 201}


def test_what_ails_a_server_passes_unless_it_is_dead_or_out_of_service() -> None:
    def passing(known: Roster, observed: Observed, now_s: float) -> set[int]:
        return {one.server_id for one in candidates(known, observed, now_s) if one.passing}

    assert passing(Roster(servers()), heard(), NOW_S) == set()
    assert passing(Roster(servers()), heard((1, 2, 3)), NOW_S) == {4}, "it was not heard yet"
    assert passing(Roster(servers()), heard(), NOW_S + 5.0) == {1, 2, 3, 4}, "they are suspect"
    assert passing(Roster(servers()), heard(), NOW_S + 50.0) == set(), "they are dead"
    assert passing(Roster(servers()), heard(()), NOW_S + 50.0) == set(), "dead since before"
    pause = ServerMode(maintenance_until_ms=1)
    modes = {1: pause, 2: msgspec.structs.replace(pause, mode="drained", job=1)}
    assert passing(Roster(servers(), modes), heard(), NOW_S) == {1}


def test_a_server_whose_disks_are_all_on_their_way_out_says_so() -> None:
    (number, first), *_ = servers()
    known = Roster(
        [(number, first)], disk_modes={(number, DiskId(101)): DiskMode("draining", 1, 1)}
    )
    (found,) = candidates(known, heard((1,)), NOW_S)
    assert found.trouble == "is left without a disk: all are drained"


def test_a_disk_that_failed_a_client_gives_way_to_another_one_of_its_server() -> None:
    (number, first), *_ = servers()
    (disk,) = first.disks
    row = msgspec.structs.replace(
        first, disks=(disk, msgspec.structs.replace(disk, disk_id=DiskId(201)))
    )
    known, seen = Roster([(number, row)]), heard((1,), disk_count=2)
    for failed, places in (
        ((101,), {(1, 201)}),
        ((201,), {(1, 101)}),
        ((9,), {(1, 101), (1, 201)}),
    ):
        asked = Wanted(1, 1, MIB, "", "", frozenset(), 7, failed_disks=frozenset(failed))
        chosen = {choose(known, seen, asked, NOW_S).replicas[0] for _ in range(4)}
        assert chosen == places
    asked = Wanted(1, 1, MIB, "", "", frozenset(), 7, failed_disks=frozenset({101, 201}))
    with pytest.raises(NoServers, match="failed just now, on every disk that it has"):
        choose(known, seen, asked, NOW_S)


def test_what_ails_the_only_disk_of_a_server_is_said() -> None:
    (number, first), *_ = servers()
    seen = heard((1,))
    (disk,) = seen.servers[number].disks
    seen.servers[number].disks = (msgspec.structs.replace(disk, ailing="cannot write: EIO"),)
    (found,) = candidates(Roster([(number, first)]), seen, NOW_S)
    assert found.trouble == "failed just now, on every disk that it has: cannot write: EIO"
