"""Maintenance: a server that stands still in its time is waited for, but for need."""

from __future__ import annotations

from dataclasses import replace

import pytest
from repair_house import House
from test_lease_planners import House as TailHouse

from gfs_ha.ids import ServerId
from gfs_ha.limits import GIB
from gfs_ha.master.census import Presence, lost_disks
from gfs_ha.master.handlers.admin import under_now
from gfs_ha.master.placement import Candidate
from gfs_ha.master.planners import leases
from gfs_ha.master.planners.pauses import plan_pauses
from gfs_ha.master.planners.plan import Seen
from gfs_ha.master.roster import roster
from gfs_ha.master.state.server_mode_commands import SetMaintenance, SetServerMode
from gfs_ha.protocol.server_modes import DRAINING, IN_SERVICE

HOUR_MS = 3_600_000


def test_a_server_that_stops_in_its_maintenance_is_waited_for() -> None:
    house = House()
    chunk = house.chunk((1, 2, 3))
    house.file(chunk, "/a")
    house.tables.do(SetMaintenance(3, HOUR_MS))
    house.dead = {3}
    house.rest()
    assert house.copies_made == 0 and house.row(chunk).holders == (1, 2, 3)


def test_after_its_time_it_is_repaired_without_a_word_of_anybody() -> None:
    house = House()
    chunk = house.chunk((1, 2, 3))
    house.file(chunk, "/a")
    house.tables.do(SetMaintenance(3, 50_000))  # The house is 100 s old.
    house.dead = {3}
    house.rest()
    assert house.good(chunk) == {1, 2, 4}


def test_its_end_is_written_down_once_and_not_when_it_was_made_longer() -> None:
    house = House()
    house.tables.do(SetMaintenance(3, 50_000))
    house.tables.do(SetMaintenance(4, HOUR_MS))
    made = house.plan(plan_pauses)
    assert made.proposals == [SetMaintenance(3, 0, 50_000)]
    house.tables.do(SetMaintenance(3, HOUR_MS))
    with pytest.raises(AssertionError, match="StaleCommand"):
        house.apply(made)
    assert house.plan(plan_pauses).empty
    house.tables.do(SetMaintenance(3, 50_000))
    house.apply(house.plan(plan_pauses))
    assert house.plan(plan_pauses).empty


def test_a_chunk_with_one_copy_left_outside_is_repaired_at_once() -> None:
    house = House()
    chunk = house.chunk((1, 2, 3))
    house.file(chunk, "/a")
    house.tables.do(SetMaintenance(3, HOUR_MS))
    house.dead = {3, 2}
    house.rest()
    assert house.good(chunk) == {1, 4}
    house.dead = {2}
    house.rest()
    assert house.good(chunk) == {1, 3, 4}


def test_a_chunk_of_two_copies_does_not_wait_with_one() -> None:
    house = House()
    chunk = house.chunk((2, 3), goal=2)
    house.tables.do(SetMaintenance(3, HOUR_MS))
    house.dead = {3}
    house.rest()
    assert len(house.good(chunk)) == 2 and 2 in house.good(chunk)
    assert house.copies_made == 1


def test_a_damaged_copy_beside_it_is_made_anew() -> None:
    house = House()
    chunk = house.chunk((1, 2, 3))
    house.file(chunk, "/a")
    house.tables.do(SetMaintenance(3, HOUR_MS))
    house.dead = {3}
    house.damaged = {(chunk, 2)}
    house.rest()
    assert len(house.good(chunk)) >= 2 and 1 in house.good(chunk)


def test_it_gets_no_copies_while_it_is_in_maintenance() -> None:
    house = House()
    chunk = house.chunk((1, 2, 3))
    house.file(chunk, "/a")
    house.tables.do(SetMaintenance(4, HOUR_MS))
    house.dead = {3}
    house.rest()
    assert house.good(chunk) == {1, 2}
    house.tables.do(SetMaintenance(4, 0))
    house.rest()
    assert house.good(chunk) == {1, 2, 4}


class Tails(TailHouse):
    """A house that sees its servers as placement does, as they stand."""

    def seen(self, after_s: float) -> Seen:
        found = super().seen(after_s)
        with self.tables.view() as view:
            known = roster(view, after_s)
        candidates = tuple(
            Candidate(one, 100 + one, row.name, row.rack, "", 0.1, GIB, GIB, 0, known.trouble(one))
            for one, row in known.servers
        )
        return replace(found, repair=replace(found.repair, candidates=candidates))


def test_tails_are_handed_on_to_servers_in_service() -> None:
    house = Tails()
    house.tail("/a", (1, 2, 3))
    house.tail("/b", (2, 3, 4))
    assert house.sealed_because() == []
    house.tables.do(SetServerMode(1, IN_SERVICE, DRAINING, 7))
    assert house.sealed_because() == [leases.LEAVES]
    house.tables.do(SetMaintenance(4, HOUR_MS))
    assert house.sealed_because() == [leases.PAUSES]


def test_tails_stay_where_they_are_when_no_others_could_take_the_next_one() -> None:
    house = Tails()
    house.tail("/a", (1, 2, 3))
    for number in (1, 2, 3):
        house.tables.do(SetServerMode(number, IN_SERVICE, DRAINING, number))
    assert house.sealed_because() == [], "one server alone takes no chunk of two copies"
    house.tables.do(SetServerMode(3, DRAINING, IN_SERVICE, 0, 3))
    assert house.sealed_because() == [leases.LEAVES]


def test_a_chunk_that_lacks_copies_is_told_of_behind_however_many_that_wait() -> None:
    house = House(server_count=6)
    for _ in range(5):
        house.chunk((1, 2, 3))
    house.chunk((3, 4))  # Wants three; with one server in maintenance it has one.
    house.tables.do(SetMaintenance(3, HOUR_MS))
    house.dead = {3}
    house.deaf = {1, 2, 4, 5, 6}
    house.tick()  # The walk of repair counts all of them.
    with house.tables.view() as view:
        presence = Presence(lambda server_id: server_id not in house.dead, lost_disks(view))
        pausing = frozenset({ServerId(3)})
        newest = house.cursors.queue.newest
        assert under_now(view, presence, pausing, newest) == (1, False)
        assert under_now(view, presence, pausing, newest, counted_max=4) == (1, True)
