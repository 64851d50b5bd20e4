"""Emptying servers: it ends when it can, never early, and says what stands in the way."""

from __future__ import annotations

import pytest
from drain_house import DrainHouse
from repair_house import LENGTH

from gfs_ha.ids import ChunkId
from gfs_ha.master.planners import drain
from gfs_ha.master.planners.drain import TURN, plan_drain
from gfs_ha.master.planners.drain_walk import Blocked, DrainRound
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.planners.plan import Cursors
from gfs_ha.master.planners.rebalance import PAID_AHEAD_S
from gfs_ha.master.state.commands import (
    EndCopy,
    EnrolledDisk,
    EnrollServer,
    PlaceCopy,
)
from gfs_ha.master.state.events import events_after
from gfs_ha.master.state.job_commands import SetJobPhase
from gfs_ha.master.state.jobs import job_events
from gfs_ha.master.state.server_mode_commands import (
    ForgetPlaces,
    SetMaintenance,
    SetServerMode,
)
from gfs_ha.master.state.tail_commands import OpenTail, PlaceTail
from gfs_ha.protocol.control import OpenReplica
from gfs_ha.protocol.jobs import DECOMMISSION, DISK_DRAIN, DRAIN, PAUSED, RUNNING, ways_together
from gfs_ha.protocol.metadata import Mkdir, Publish, PublishFile, ReleaseChunks
from gfs_ha.protocol.policy import SetReplication
from gfs_ha.protocol.server_modes import (
    DECOMMISSIONED,
    DRAINED,
    DRAINING,
    IN_SERVICE,
)


def filled(house: DrainHouse, count: int = 5, servers: tuple[int, ...] = (1, 2, 3)) -> list[int]:
    """Return chunks of files on servers."""
    chunks = []
    for number in range(count):
        chunk = house.chunk(servers, goal=len(servers))
        house.file(chunk, f"/f{number}-{servers[0]}{servers[-1]}")
        chunks.append(chunk)
    return chunks


@pytest.mark.parametrize(("kind", "mode"), [(DRAIN, DRAINED), (DECOMMISSION, DECOMMISSIONED)])
def test_a_server_is_emptied_and_every_chunk_has_its_copies(kind: str, mode: str) -> None:
    house = DrainHouse(5)
    chunks = filled(house)
    number = house.begin(3, kind)
    house.until(number)
    assert house.mode(3) == mode and house.places(3) == 0 and not house.on_disk[3]
    for chunk in chunks:
        assert len(house.good(chunk)) == 3 and 3 not in house.good(chunk)
    job = house.job(number)
    assert (job.moves, job.moved_bytes) == (5, 5 * LENGTH)
    assert house.copies_made == 5


def test_a_plan_that_was_applied_is_not_planned_again() -> None:
    house = DrainHouse(5)
    filled(house)
    house.begin(3)
    made = house.plan(plan_drain)
    moves = [one for one in made.proposals if isinstance(one, PlaceCopy)]
    assert moves and len(moves) == len(made.proposals)
    assert all(one.leaves == 3 and one.job == 1 and one.server_id in (4, 5) for one in moves)
    house.apply(made)
    again = house.plan(plan_drain)
    assert not {one.chunk_id for one in moves} & {one.chunk_id for one in again.proposals}


def test_an_empty_server_is_done_at_once_and_one_with_a_tombstone_is_not() -> None:
    house = DrainHouse(5)
    empty = house.begin(5)
    house.until(empty, ticks=2)
    chunk = house.chunk((1, 2, 3))
    number = house.begin(3)
    house.tables.do(ReleaseChunks((chunk,)), house.session)
    house.tick()
    assert not house.done(number), "its replica is still to be deleted"


def test_nobody_is_done_before_the_own_tally_of_the_server_says_so() -> None:
    house = DrainHouse(5)
    house.on_disk[5] = {99}  # A copy that no table knows of.
    number = house.begin(5)
    for _ in range(4):
        house.tick()
    assert not house.done(number)
    walk = house.cursors.drains.of(number)
    assert walk.newest is not None and "tally" in walk.newest.left
    house.on_disk[5] = set()
    house.until(number)


def test_a_replica_of_a_known_chunk_that_is_listed_keeps_the_job_going() -> None:
    house = DrainHouse(5)
    (chunk,) = filled(house, 1)
    row = house.row(chunk)
    house.listed[5] = {chunk: OpenReplica(chunk, row.birth, 105, 10, "fenced")}
    number = house.begin(5)
    for _ in range(4):
        house.tick()
    assert not house.done(number)
    house.listed = {}
    house.until(number)


def test_a_silent_server_is_waited_for_before_it_is_called_empty() -> None:
    house = DrainHouse(5)
    house.suspect = {5}
    number = house.begin(5)
    for _ in range(4):
        house.tick()
    assert not house.done(number)
    house.suspect = set()
    house.until(number)


def test_a_server_that_has_not_told_what_it_holds_is_waited_for() -> None:
    house = DrainHouse(5)
    house.untold = {5}
    number = house.begin(5)
    for _ in range(4):
        house.tick()
    assert not house.done(number)
    assert "not told yet" in house.cursors.drains.of(number).newest.left
    house.untold = set()
    house.until(number)


def test_what_was_copied_and_waits_to_be_deleted_is_not_left_to_be_moved() -> None:
    house = DrainHouse(5)
    filled(house)
    house.unsettled = {4, 5}
    number = house.begin(3)
    for _ in range(8):
        house.tick()
        told = house.cursors.jobs.of(number)
        assert house.job(number).moves + max(0, told.left_moves) <= 5, "nothing counts twice"
    assert house.job(number).moves == 5 and house.places(3) and not house.done(number)
    assert (told.left_moves, told.left_bytes) == (0, 0) and "copied elsewhere" in told.waits
    house.unsettled = set()
    house.until(number)


def test_too_few_servers_are_named_with_the_number_that_would_do() -> None:
    house = DrainHouse(4)
    (chunk,) = filled(house, 1)
    filled(house, 2, (1, 2))
    for server in (3, 4):
        house.begin(server)
    for _ in range(6):
        house.tick()
    newest = house.cursors.drains.of(1).newest
    assert newest is not None and newest.blocked_count == 1
    (blocked,) = newest.blocked
    assert blocked.chunk_id == chunk and blocked.fewer == 2
    assert blocked.why == "wants 3 copies (goal 3), only 2 other servers in service"
    assert house.job(1).last_error == f"blocked: {blocked.why}"
    told = house.cursors.jobs.of(1)
    assert (told.left_moves, told.blocked) == (1, 1)
    (shown,) = told.blockers
    assert shown.path == "/f0-13" and shown.ways == (
        "add a server, or take one back into service: gfsctl admin chunkservers undrain cs3",
        "want fewer copies: gfsctl setrep 2 /f0-13",
    )
    assert house.plan(plan_drain).empty
    assert len(house.good(chunk)) == 3, "nothing goes before there is another one"


def test_a_way_out_takes_any_name_of_a_file_as_one_word() -> None:
    blocked = Blocked(ChunkId(1), "it wants 3 copies", "add a server", fewer=2)
    assert blocked.ways("/a; rm -r ~")[1] == "want fewer copies: gfsctl setrep 2 '/a; rm -r ~'"
    assert blocked.ways("")[1] == "want fewer copies: gfsctl setrep 2 FILE"


def test_many_blocked_files_of_one_directory_are_let_go_by_one_command() -> None:
    house = DrainHouse(4)
    for directory in ("/logs", "/logs/b c"):
        house.tables.do(Mkdir(directory), house.session)
    for path in [*(f"/logs/{at}" for at in range(3)), "/logs/b c/3", "/db"]:
        house.file(house.chunk((1, 2, 3, 4), goal=4), path)
    number = house.begin(3)
    for _ in range(6):
        house.tick()
    ways = {one.path: one.ways[1] for one in house.cursors.jobs.of(number).blockers}
    assert ways.pop("/db") == "want fewer copies: gfsctl setrep 3 /db", "alone, and `/` is too much"
    assert len(ways) == 4
    below = "want fewer copies of all files there: gfsctl setrep -R 3 /logs"
    assert set(ways.values()) == {below}
    few = DrainRound(blocked=[Blocked(ChunkId(at), "it wants 4", "add one", 3) for at in range(3)])
    told = few.blockers({ChunkId(at): f"/logs/{at}" for at in range(3)})
    assert [one.ways[1] for one in told] == [
        f"want fewer copies: gfsctl setrep 3 /logs/{at}" for at in range(3)
    ]


def test_the_way_out_of_a_blocked_job_is_the_very_commands_that_let_its_chunks_go() -> None:
    def ways(*paths: str, others: tuple[Blocked, ...] = ()) -> tuple[str, ...]:
        files = dict(enumerate(paths))
        same = [Blocked(ChunkId(at), "it wants 4", "add one", 3) for at in files]
        found = DrainRound(blocked=[*same, *others])
        return ways_together(found.blockers({ChunkId(at): path for at, path in files.items()}))

    alone = "want fewer copies: gfsctl setrep 3 /a"
    assert ways("/a") == ("add one", alone) == ways("/a", "/a")
    two = f"{alone}, gfsctl setrep 3 '/b c'"
    assert ways("/a", "/b c") == ("add one", two) == ways("/a", "", "/b c"), "not FILE as well"
    five = ways("/a", "/b", "/c", "/d", "/e")[1]
    assert five == f"{alone}, gfsctl setrep 3 /b, gfsctl setrep 3 /c, and so for 2 more at least"
    below = "want fewer copies of all files there: gfsctl setrep -R 3 /d"
    many = [f"/d/{at}" for at in range(9)]
    assert ways(*many) == ("add one", below)
    assert ways(*many, "/a")[1] == f"{below}, gfsctl setrep 3 /a"
    assert ways("") == ("add one", "want fewer copies: gfsctl setrep 3 FILE")
    away = Blocked(ChunkId(99), "cs7 is away", "bring cs7 back", 0)
    assert ways("/a", others=(away,)) == ("add one", alone)
    assert ways(others=(away,)) == ("bring cs7 back",) and ways() == ()


def test_many_blocked_chunks_keep_no_other_one_from_being_moved() -> None:
    house = DrainHouse(4)
    filled(house, 120, (1, 2, 3, 4))
    movable = filled(house, 2)
    number = house.begin(3)
    for _ in range(30):
        house.tick()
    assert house.job(number).moves == 2
    assert all(3 not in house.good(chunk) for chunk in movable)
    assert house.cursors.jobs.of(number).blocked == 120


def test_after_another_server_came_a_blocked_job_ends_by_itself() -> None:
    house = DrainHouse(4)
    filled(house, 5, (1, 2, 3, 4))
    number = house.begin(3)
    for _ in range(6):
        house.tick()
    assert not house.done(number) and house.mode(3) == DRAINING
    assert house.cursors.drains.of(number).newest.blocked_count == 5
    house.tables.enroll(5)
    house.until(number)


def test_after_fewer_copies_are_wanted_a_blocked_job_ends_by_itself() -> None:
    house = DrainHouse(3)
    house.tables.do(SetMaintenance(4, 24 * 3_600_000))
    (chunk,) = filled(house, 1)
    number = house.begin(3)
    for _ in range(6):
        house.tick()
    (blocked,) = house.cursors.drains.of(number).newest.blocked
    assert blocked.why == "wants 3 copies (goal 3), and cs4 is in maintenance"
    house.tables.do(SetReplication("/f0-13", 2), house.session)
    house.until(number)
    assert house.good(chunk) == {1, 2}


def test_full_and_dead_servers_are_named() -> None:
    house = DrainHouse(4)
    filled(house, 1)
    number = house.begin(3)
    house.full = {4}
    for _ in range(4):
        house.tick()
    (blocked,) = house.cursors.drains.of(number).newest.blocked
    assert blocked.why.endswith("and no other server has room: cs4 is full")
    house.full, house.dead = set(), {4}
    for _ in range(4):
        house.tick()
    (blocked,) = house.cursors.drains.of(number).newest.blocked
    assert blocked.why == "wants 3 copies (goal 3), and cs4 is away"
    house.dead = set()
    house.until(number)


def test_the_rule_of_one_copy_on_a_machine_is_named() -> None:
    house = DrainHouse(4, machines={1: "a", 2: "b", 3: "c", 4: "a"})
    filled(house, 1)
    number = house.begin(3)
    for _ in range(4):
        house.tick()
    (blocked,) = house.cursors.drains.of(number).newest.blocked
    assert "on different machines, and cs4 is on one with a copy" in blocked.why


def test_a_server_that_dies_on_the_way_is_repaired_and_the_job_says_so() -> None:
    house = DrainHouse(5)
    chunks = filled(house, 8)
    number = house.begin(3)
    house.apply(house.plan(plan_drain))
    house.dead = {3}
    house.until(number)
    assert house.places(3) == 0 and house.mode(3) == DRAINED
    for chunk in chunks:
        assert len(house.good(chunk)) == 3
    assert told(house, number).count(drain.DIED) == 1


def test_no_place_on_a_dead_server_is_forgotten_before_others_hold_the_chunk() -> None:
    house = DrainHouse(3)
    house.tables.do(SetMaintenance(4, 24 * 3_600_000))
    (chunk,) = filled(house, 1)
    number = house.begin(3)
    house.dead = {3}
    for _ in range(10):
        house.tick()
    assert not house.done(number) and house.places(3) == 1
    house.now_s += 2.0  # The walk has rested.
    made = house.plan(plan_drain)
    assert not [one for one in made.proposals if isinstance(one, ForgetPlaces)]
    assert house.good(chunk) == {1, 2}
    (blocked,) = house.cursors.drains.of(number).newest.blocked
    assert blocked.why == "wants 3 copies (goal 3), and cs4 is in maintenance"


def test_a_place_on_a_dead_server_is_forgotten_on_the_word_of_settled_servers_alone() -> None:
    house = DrainHouse(4)
    (chunk,) = filled(house, 1)
    number = house.begin(3)
    house.dead, house.unsettled = {3}, {4}
    for _ in range(10):
        house.tick()
    assert house.good(chunk) == {1, 2, 4}
    assert not house.done(number) and house.places(3) == 1
    house.now_s += 2.0  # The walk has rested.
    made = house.plan(plan_drain)
    assert not [one for one in made.proposals if isinstance(one, ForgetPlaces)]
    house.unsettled = set()
    house.until(number)


def test_two_drains_at_once_move_one_copy_after_the_other() -> None:
    house = DrainHouse(6)
    chunks = filled(house, 6)
    first, second = house.begin(2), house.begin(3)
    house.until(first)
    house.until(second)
    for chunk in chunks:
        good = house.good(chunk)
        assert len(good) == 3 and not good & {2, 3}
    assert house.copies_made == 12


def test_a_whole_rack_is_emptied_although_the_rule_is_broken_then() -> None:
    house = DrainHouse(6, racks={5: "r1", 6: "r1"})
    chunks = filled(house, 4, (1, 3, 4))  # Racks r1, r2, r2.
    jobs = [house.begin(server) for server in (3, 4)]
    for number in jobs:
        house.until(number)
    for chunk in chunks:
        assert len(house.good(chunk)) == 3 and not house.good(chunk) & {3, 4}


def test_undrain_in_the_middle_leaves_every_chunk_with_its_copies() -> None:
    house = DrainHouse(5)
    chunks = filled(house, 6)
    number = house.begin(3)
    house.apply(house.plan(plan_drain))
    house.tick()
    house.cancel(number)
    assert house.mode(3) == IN_SERVICE
    house.rest()
    for chunk in chunks:
        assert len(house.good(chunk)) == 3
    assert house.plan(plan_drain).empty and house.cursors.drains.jobs == {}


def test_more_copies_wanted_meanwhile_are_made_elsewhere() -> None:
    house = DrainHouse(6)
    (chunk,) = filled(house, 1)
    number = house.begin(3)
    house.apply(house.plan(plan_drain))
    house.tables.do(SetReplication("/f0-13", 4), house.session)
    house.until(number)
    house.rest()
    assert len(house.good(chunk)) == 4 and 3 not in house.good(chunk)


def test_a_server_that_restarts_with_an_empty_disk_is_emptied_all_the_same() -> None:
    house = DrainHouse(5)
    chunks = filled(house, 4)
    number = house.begin(3)
    house.tick()
    house.tables.enroll(3, disk=303)
    house.on_disk[3] = set()
    house.until(number)
    for chunk in chunks:
        assert len(house.good(chunk)) == 3 and 3 not in house.good(chunk)
    assert house.mode(3) == DRAINED


def test_a_copy_that_is_under_way_to_a_server_is_ended_when_it_is_to_be_emptied() -> None:
    house = DrainHouse(4)
    chunk = house.chunk((1, 2, 3))
    house.file(chunk, "/a")
    house.dead = {3}
    house.deaf = {4}
    house.tick()
    assert [one.server_id for one in house.row(chunk).copying] == [4]
    number = house.begin(4)
    ended = [one for one in house.plan(plan_drain).proposals if isinstance(one, EndCopy)]
    assert [one.server_id for one in ended] == [4]
    house.tick()
    house.deaf, house.dead = set(), set()
    house.until(number)


def test_chunks_that_lack_copies_come_first() -> None:
    house = DrainHouse(6)
    filled(house, 3)
    lacking = house.chunk((4, 5, 6))
    house.file(lacking, "/lacking")
    house.dead = {4}
    house.deaf = {1, 2, 3}
    house.tick()
    house.begin(3)
    assert house.plan(plan_drain).empty
    house.deaf = set()
    house.dead = set()
    house.until(1)


def test_a_young_leader_and_one_that_holds_repair_move_nothing() -> None:
    house = DrainHouse(5)
    filled(house)
    number = house.begin(3)
    house.young = True
    assert house.plan(plan_drain).empty
    house.young, house.hold = False, "most servers are away"
    assert house.plan(plan_drain).empty
    house.hold = ""
    house.until(number)


def test_a_paused_job_moves_nothing_and_keeps_the_server_out_of_service() -> None:
    house = DrainHouse(5)
    filled(house)
    number = house.begin(3)
    house.tables.do(SetJobPhase(number, RUNNING, PAUSED))
    assert house.plan(plan_drain).empty and house.mode(3) == DRAINING
    house.tables.do(SetJobPhase(number, PAUSED, RUNNING))
    house.until(number)


def test_a_chunk_that_is_being_written_is_waited_for() -> None:
    house = DrainHouse(5)
    chunk = house.tables.chunk(house.session, (1, 2, 3)).chunk_id
    number = house.begin(3)
    for _ in range(3):
        house.tick()
    newest = house.cursors.drains.of(number).newest
    assert newest is not None and newest.waits[drain.WRITTEN] == 1
    assert not house.done(number) and house.row(chunk).state == "open"


def test_a_tail_that_nobody_else_could_go_on_with_is_named_with_its_file() -> None:
    house = DrainHouse(4)
    session = house.session
    inode = house.tables.do(Publish((PublishFile("/log", 0, 0o644, 1),)), session).files[0].inode_id
    places = ((1, 101), (2, 102), (3, 103))
    chunk = house.tables.do(PlaceTail(inode, places)).chunk_id
    house.tables.do(OpenTail(inode, chunk, "/log", 1, 1))
    jobs = [house.begin(server) for server in (1, 2, 3)]
    for _ in range(3):
        house.tick()
    (shown,) = house.cursors.jobs.of(jobs[0]).blockers
    assert shown.path == "/log" and "need 2 servers in service, and 1 other server" in shown.why
    assert len(shown.ways) == 1 and "undrain cs1" in shown.ways[0]
    house.cancel(jobs[2])
    for _ in range(3):
        house.tick()
    assert house.cursors.jobs.of(jobs[0]).blockers == (), "planners/leases.py hands it on"
    newest = house.cursors.drains.of(jobs[0]).newest
    assert newest is not None and newest.waits[drain.APPENDED] == 1


def test_one_disk_of_a_server_is_emptied_onto_other_servers() -> None:
    house = DrainHouse(5)
    chunks = filled(house, 4)
    number = house.begin(3, DISK_DRAIN, 103)
    house.until(number)
    assert house.mode(3) == IN_SERVICE
    for chunk in chunks:
        assert len(house.good(chunk)) == 3 and 3 not in house.good(chunk)


def enroll(house: DrainHouse, number: int, *disks: int) -> None:
    """Let a server start again with these disks."""
    told = tuple(EnrolledDisk(one, 1 << 40) for one in disks)
    where = ("127.0.0.1", 7300 + number, "r2", "h")
    house.tables.do(EnrollServer(f"cs{number}", 0, *where, 2, 1, told))


def test_a_disk_whose_server_is_needed_is_blocked_and_the_ways_out_are_named() -> None:
    house = DrainHouse(3)
    house.tables.do(SetMaintenance(4, 24 * 3_600_000))
    house.tables.do(SetServerMode(4, IN_SERVICE, DRAINED))
    (chunk,) = filled(house, 1)
    number = house.begin(3, DISK_DRAIN, 103)
    for _ in range(4):
        house.tick()
    (shown,) = house.cursors.jobs.of(number).blockers
    assert shown.why == (
        "wants 3 copies (goal 3), only 2 servers beside cs3, which has no other disk in service"
    )
    assert "or a disk to cs3" in shown.ways[0] and "disks undrain cs3:0x67" in shown.ways[0]
    assert shown.ways[1] == "want fewer copies: gfsctl setrep 2 /f0-13"
    assert len(house.good(chunk)) == 3 and not house.done(number)
    house.tables.do(SetServerMode(4, DRAINED, IN_SERVICE))
    house.tables.do(SetMaintenance(4, 0))
    house.until(number)


def needed(*disks: int) -> tuple[DrainHouse, int]:
    """Return a house of three servers whose third one has these disks, and the drain of one."""
    house = DrainHouse(3)
    house.tables.do(SetServerMode(4, IN_SERVICE, DRAINED))
    filled(house, 2)
    enroll(house, 3, 103, *disks)
    return house, house.begin(3, DISK_DRAIN, 103)


@pytest.mark.parametrize("state", ["suspect", "dead"])
def test_a_disk_whose_server_is_away_waits_for_it_and_says_since_when(state: str) -> None:
    house, number = needed(203)
    (house.dead if state == "dead" else house.suspect).add(3)
    for _ in range(4):
        house.tick()
    shown = house.cursors.jobs.of(number).blockers
    assert {one.why for one in shown} == {
        "wants 3 copies (goal 3), only 2 servers beside cs3, which is away:"
        f" it is {state} (no heartbeat for 7 s)"
    }
    assert shown[0].ways[0] == (
        "bring cs3 back: its other disks take the copies (gfsctl admin chunkservers show cs3);"
        " or add a server"
    )
    error = house.job(number).last_error
    assert error.endswith("which is away"), "it is written down once, not at every look"
    house.dead, house.suspect = set(), set()
    house.until(number)


def test_a_disk_whose_server_is_in_maintenance_waits_for_its_end() -> None:
    house, number = needed(203)
    house.tables.do(SetMaintenance(3, 3_600_000))
    for _ in range(4):
        house.tick()
    shown = house.cursors.jobs.of(number).blockers[0]
    assert shown.why.endswith("only 2 servers beside cs3, which is in maintenance")
    assert "chunkservers maintenance off cs3" in shown.ways[0]


def test_another_disk_that_was_drained_is_named_as_the_way_out() -> None:
    house, number = needed(203)
    house.until(house.begin(3, DISK_DRAIN, 203))
    for _ in range(4):
        house.tick()
    shown = house.cursors.jobs.of(number).blockers[0]
    assert shown.why.endswith("beside cs3, which has no other disk in service")
    assert shown.ways[0] == (
        "take a disk of cs3 back into service: gfsctl admin disks undrain cs3:0xcb,"
        " or this one, cs3:0x67; or add a server, or a disk to cs3"
    )


def test_a_disk_is_emptied_onto_another_one_of_its_server() -> None:
    house = DrainHouse(3)
    house.tables.do(SetMaintenance(4, 24 * 3_600_000))
    house.tables.do(SetServerMode(4, IN_SERVICE, DRAINED))
    chunks = filled(house, 4)
    before = {chunk: house.row(chunk).holders for chunk in chunks}
    number = house.begin(3, DISK_DRAIN, 103)
    enroll(house, 3, 103, 203)
    for _ in range(200):
        assert all(house.row(chunk).holders == before[chunk] for chunk in chunks), "all the time"
        if house.done(number):
            break
        house.tick()
    assert house.done(number) and house.job(number).moves == len(chunks)
    for chunk in chunks:
        assert (3, 203) in [(one.server_id, one.disk_id) for one in house.row(chunk).replicas]


def test_a_lost_disk_is_empty_once_its_chunks_have_their_copies_elsewhere() -> None:
    house = DrainHouse(4)
    (chunk,) = filled(house, 1)
    enroll(house, 3, 203)
    house.on_disk[3] = set()
    number = house.begin(3, DISK_DRAIN, 103)
    house.until(number)
    assert all((one.server_id, one.disk_id) != (3, 103) for one in house.row(chunk).replicas)
    assert len(house.row(chunk).holders) == 3
    texts = told(house, number)
    assert texts.count(drain.DISK_LEFT) == 1, "when it was met"
    assert texts[-1] == f"is done: {drain.DISK_GONE}"


def test_a_drain_of_a_disk_that_fails_on_the_way_says_how_it_ended() -> None:
    house, number = needed(203)
    house.tables.do(SetServerMode(4, DRAINED, IN_SERVICE))
    house.failed_disks.add((3, 103))
    house.until(number)
    texts = told(house, number)
    assert drain.DISK_BROKEN in texts and texts[-1] == f"is done: {drain.DISK_FAILED}"


def test_a_disk_that_its_server_registers_without_and_tells_of_as_failed_has_failed() -> None:
    house = DrainHouse(4)
    filled(house, 10)
    number = house.begin(3, DISK_DRAIN, 103, bytes_per_s=1)
    house.tick()
    enroll(house, 3, 203)
    house.on_disk[3] = set()
    house.failed_disks.add((3, 103))
    house.until(number, 20)
    assert drain.DISK_LEFT not in told(house, number), "nor is it held back by the limit"
    assert told(house, number)[-1] == f"is done: {drain.DISK_FAILED}"


def test_a_drain_of_a_disk_that_was_empty_when_its_server_left_it_says_so() -> None:
    house = DrainHouse(4)
    number = house.begin(3, DISK_DRAIN, 103)
    enroll(house, 3, 203)
    house.until(number)
    assert told(house, number)[-1] == f"is done: {drain.DISK_GONE}"
    with house.tables.view() as view:
        texts = [row.text for _, row in events_after(view, 0)]
    assert "came back without disk 0x67, which was draining: it is forgotten" in texts


def told(house: DrainHouse, number: int) -> list[str]:
    """Return what the log of a job says."""
    with house.tables.view() as view:
        return [row.text for _, row in job_events(view, number, 0, 100)]


def test_a_drain_with_a_limit_begins_no_more_than_that_allows() -> None:
    house = DrainHouse(5)
    filled(house, 15)
    number = house.begin(3, bytes_per_s=LENGTH)
    began_s = house.now_s
    while not house.done(number):
        house.tick()
        allowed = house.now_s - began_s + PAID_AHEAD_S + 1
        assert house.copies_made <= allowed, "a copy a second, and what may be ahead"
        assert house.now_s - began_s < 100, "it goes on"
    assert house.job(number).moves == 15


def test_what_was_moved_since_a_look_is_no_more_in_the_rest() -> None:
    house = DrainHouse(5)
    filled(house, 6)
    number, shares = house.begin(3, bytes_per_s=LENGTH), [0.0]
    while not house.done(number):
        house.tick()
        job = house.job(number)
        left_bytes, left_moves = house.cursors.jobs.of(number).after(job.moved_bytes, job.moves)
        if left_bytes >= 0:
            assert (job.moved_bytes + left_bytes, job.moves + left_moves) == (6 * LENGTH, 6)
            shares.append(job.moved_bytes / (6 * LENGTH))
    assert shares == sorted(shares) and len(set(shares)) > 3, "it only goes on"


def test_a_drain_that_its_limit_holds_back_tells_what_blocks_it_and_what_is_left() -> None:
    house = DrainHouse(4)
    filled(house, 9, (1, 2, 3))
    stuck = house.chunk((1, 2, 3, 4), goal=4)
    house.file(stuck, "/stuck")
    number = house.begin(3, bytes_per_s=LENGTH)
    house.tick()
    house.cursors = Cursors()  # A new leader.
    for _ in range(2):
        house.tick()
    left = house.cursors.jobs.of(number)
    assert [one.chunk_id for one in left.blockers] == [stuck] and left.blockers[0].ways
    assert left.left_moves == 10 - left.moves > 5, "long before its walk came round"
    assert house.copies_made <= 7


def test_a_drain_that_waited_for_repair_and_is_paced_now_does_not_say_that_it_waits() -> None:
    house = DrainHouse(6)
    filled(house, 40, (1, 2, 3))
    lacking = house.chunk((4, 5, 6))
    house.file(lacking, "/lacking")
    house.dead, house.deaf = {4}, {1, 2, 3}
    house.tick()
    number = house.begin(3, bytes_per_s=LENGTH)
    house.tick()
    assert TURN in house.cursors.jobs.of(number).waits, "what lacks a copy comes first"
    house.dead, house.deaf = set(), set()
    for _ in range(4):
        house.tick()
    left = house.cursors.jobs.of(number)
    assert house.job(number).moves >= 2 and not left.waits
    assert (left.pace(0, LENGTH), left.pace(900, LENGTH)) == (LENGTH, 900)
    assert JobLeft().pace(0, LENGTH) == 0, "what stands still is not held back"


def test_a_limit_of_one_drain_holds_no_other_one_back() -> None:
    house = DrainHouse(6)
    filled(house, 10, (1, 2, 3))
    filled(house, 10, (2, 4, 5))
    slow = house.begin(3, bytes_per_s=1)
    house.until(house.begin(4))
    assert not house.done(slow) and house.job(slow).moves == 1
