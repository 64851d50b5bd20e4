"""Copies that no server can take: counted apart, with the ways out, and gone when there is one."""

from __future__ import annotations

from repair_house import LENGTH, House

from gfs_ha.master.planners.chunk_paths import BELIEVED_S
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.planners.queue import Tally
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.unplaced import unplaced_rows, ways_out
from gfs_ha.master.state.server_mode_commands import SetMaintenance, SetServerMode
from gfs_ha.protocol.policy import SetReplication
from gfs_ha.protocol.server_modes import DRAINING, IN_SERVICE

ALL = (1, 2, 3, 4, 5)


def looked(house: House) -> tuple[Tally, Plan]:
    """Return what a round over all chunks finds, and the plan that came with its end."""
    house.plan(plan_replication)
    made = house.plan(plan_replication)
    return house.cursors.queue.newest, made


def test_a_goal_above_the_number_of_servers_is_told_apart_with_both_ways_out() -> None:
    house = House(5)
    chunk_id = house.chunk(ALL, goal=6)
    house.file(chunk_id, "/big one")
    house.tables.do(SetReplication("/big one", 6), house.session)
    found, made = looked(house)
    assert (found.chunks, found.copies, found.lacking_bytes) == (1, 1, LENGTH)
    assert (found.unplaced_chunks, found.unplaced_copies, found.unplaced_bytes) == (1, 1, LENGTH)
    assert not made.proposals and made.stuck == {chunk_id}
    reason = "no server can take a copy: all 5 servers have a place of it"
    assert made.waits == {chunk_id: reason}
    queue = house.cursors.queue
    (row,) = unplaced_rows(queue)
    assert (row.path, row.goal, row.possible) == ("/big one", 6, 5)
    fewer = "want fewer copies: gfsctl setrep 5 '/big one'"
    assert ways_out(queue) == ("add a server", fewer)


def test_only_the_copies_that_nobody_can_take_are_counted_apart() -> None:
    house = House(5)
    house.chunk((1, 3, 4), goal=6)
    found, _ = looked(house)
    assert (found.copies, found.unplaced_copies) == (3, 1)
    house.rest()
    assert house.copies_made == 2


def test_a_server_more_takes_what_was_left_without_anybody_asking() -> None:
    house = House(5)
    chunk_id = house.chunk(ALL, goal=6)
    assert looked(house)[0].unplaced_copies == 1
    house.tables.enroll(6)
    house.rest()
    assert looked(house)[0].unplaced_copies == 0
    assert len(house.row(chunk_id).holders) == 6 and ways_out(house.cursors.queue) == ()


def test_what_may_come_back_by_itself_is_no_server_that_is_missing() -> None:
    house = House(4)
    house.chunk((1, 2, 3), goal=4)
    house.suspect = {4}
    assert looked(house)[0].unplaced_copies == 0
    house.suspect, house.dead = set(), {4}
    house.tables.do(SetMaintenance(4, 3_600_000))
    assert looked(house)[0].unplaced_copies == 0
    house.tables.do(SetMaintenance(4, 0))
    found, _ = looked(house)
    assert (found.unplaced_copies, found.way) == (1, "add a server, or bring back cs4")


def test_servers_out_of_service_and_full_ones_are_named_with_what_to_do() -> None:
    house = House(5)
    house.chunk((1, 2, 3), goal=5)
    house.full = {4}
    house.tables.do(SetServerMode(5, IN_SERVICE, DRAINING))
    found, _ = looked(house)
    assert found.unplaced_copies == 2
    undrain = "gfsctl admin chunkservers undrain cs5"
    back = f"take cs5 back into service: {undrain}"
    assert found.way == f"add a server, or {back}, or make room on cs4"


def test_two_servers_of_a_machine_count_once_where_there_are_machines_enough() -> None:
    house = House(5, machines={5: "h4"})
    house.chunk((1, 2, 3, 4), goal=4)
    assert looked(house)[0].chunks == 0
    house.dead = {3}
    found, made = looked(house)
    assert (found.copies, found.unplaced_copies) == (1, 1) and not made.proposals
    house.machines = {}
    assert looked(house)[0].unplaced_copies == 0


def test_a_chunk_that_files_share_is_named_by_the_one_that_wants_most() -> None:
    house = House(5)
    chunk_id = house.chunk(ALL, goal=6)
    for path in ("/a", "/b"):
        house.file(chunk_id, path)
        house.tables.do(SetReplication(path, 6), house.session)
    looked(house)
    assert house.cursors.queue.paths.found == {chunk_id: "/a"}
    house.tables.do(SetReplication("/a", 2), house.session)
    house.rest()
    with house.tables.view() as view:
        paths = house.cursors.queue.paths
        paths.look(view, [chunk_id], 1000.0 + BELIEVED_S)
        assert paths.found == {chunk_id: "/b"}


def test_a_server_on_its_way_out_that_has_a_copy_is_no_way_out_and_does_not_count() -> None:
    house = House(5)
    chunk_id = house.chunk(ALL, goal=6)
    house.tables.do(SetServerMode(5, IN_SERVICE, DRAINING))
    found, _ = looked(house)
    assert (found.unplaced_copies, found.way) == (1, "add a server")
    (row,) = unplaced_rows(house.cursors.queue)
    assert (row.chunk_id, row.possible) == (chunk_id, 4), "the fifth one is to leave"


def test_of_places_that_do_not_count_it_is_told_what_ails_their_servers() -> None:
    house = House(5)
    chunk_id = house.chunk(ALL, goal=6)
    house.dead = {4}
    _, made = looked(house)
    why = "4 have a place of it, cs4 is dead (no heartbeat for 7 s)"
    assert made.waits == {chunk_id: f"no server can take a copy: {why}"}
