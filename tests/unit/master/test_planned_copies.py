"""Repair makes the copies that are missing and no other one, whoever leads and hears what."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from repair_house import LENGTH, House

from gfs_ha.ids import ChunkId
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.plan import Cursors
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.commands import ConfirmCopy, LoseHolder, PlaceCopy, SetRepairBudget
from gfs_ha.protocol.control import OpenReplica


def elect(house: House) -> None:
    """Have another leader, which knows the tables and nothing else yet."""
    house.cursors = Cursors()
    house.copied.clear()
    house.failed.clear()
    house.running.clear()


MOMENTS = st.lists(st.sampled_from(("tick", "elect", "deaf", "young")), max_size=25)


@settings(max_examples=40, deadline=None)
@given(MOMENTS, st.sampled_from((1, 2, 99)))
def test_no_leader_change_makes_a_copy_that_is_not_missing(
    moments: list[str], copies_at_once: int
) -> None:
    house = House(server_count=8)
    house.tables.do(SetRepairBudget(0, 0, copies_at_once, 99))
    chunks = [house.chunk((1, 2, 3)) for _ in range(3)] + [house.chunk((2, 5, 6))]
    house.dead = {2}
    for moment in moments:
        if moment == "elect":
            elect(house)
        elif moment == "deaf":  # Orders get lost, or their answers.
            house.deaf = set() if house.deaf else {4, 7, 8}
        house.young = moment == "young"
        house.hold = "young" if house.young else ""
        house.tick()
        for chunk_id in chunks:
            row = house.row(chunk_id)
            assert len(set(row.holders) - house.dead) + len(row.copying) <= row.goal
    house.young, house.hold, house.deaf = False, "", set()
    elect(house)
    house.rest(200)
    assert house.copies_made == len(chunks), "one of each is missing"
    assert all(len(house.good(chunk_id)) == 3 for chunk_id in chunks)


def test_a_copy_that_is_done_is_confirmed_and_never_ordered_anew() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3))
    house.dead = {3}
    house.apply(house.plan(plan_replication))
    house.obey(house.plan(plan_copies))
    first = house.plan(plan_copies)
    assert first.orders == [] and isinstance(first.proposals[0], ConfirmCopy)
    # That proposal is still on its way, or got lost: it is the same for who plans again.
    again = house.plan(plan_copies)
    assert (again.orders, again.proposals) == (first.orders, first.proposals)
    house.apply(again)
    assert house.plan(plan_copies).empty and len(house.good(chunk_id)) == 3


def test_the_only_copy_that_is_left_is_adopted_although_it_was_to_be_copied_over() -> None:
    """Its server was away when that was ordered; what it was to be copied from is lost since."""
    house = House()
    chunk_id = house.chunk((1, 2))
    row = house.row(chunk_id)
    house.tables.do(LoseHolder(chunk_id, row.sealed_index, 2, "it is not there"))
    house.tables.do(PlaceCopy(chunk_id, row.sealed_index, 2, 102, 1))
    house.tables.enroll(1, disk=999)
    house.gone = {(chunk_id, 1)}
    late = OpenReplica(chunk_id, row.birth, 102, LENGTH, "fenced", row.sealed_index)
    house.listed = {2: {chunk_id: late}}
    house.on_disk = {2: {chunk_id}}
    house.rest()
    assert 2 in house.row(chunk_id).holders and len(house.good(chunk_id)) == 3


def placed_by(house: House) -> dict[int, int]:
    """Return how many copies one plan places on each server."""
    found: dict[int, int] = {}
    for one in house.plan(plan_replication).proposals:
        if isinstance(one, PlaceCopy):
            found[one.server_id] = found.get(one.server_id, 0) + 1
    return found


def test_no_server_is_a_queue_while_others_as_good_have_nothing_to_copy() -> None:
    house = House(server_count=9, racks={one: f"r{one % 3}" for one in range(1, 10)})
    house.limits = replace(house.limits, items=1000)
    house.tables.do(SetRepairBudget(0, 0, 2, 99))
    for _ in range(10):
        house.chunk((1, 4, 5))
    house.dead = {4}
    found = placed_by(house)
    assert sum(found.values()) == 10
    # By the rule it goes into a rack that two of three servers are in: each gets its turn.
    assert len(found) >= 3 and max(found.values()) <= 4


def test_where_the_rule_wants_it_a_copy_waits_for_its_turn() -> None:
    house = House(server_count=6, racks={1: "r1", 2: "r1", 3: "r2", 4: "r1", 5: "r1", 6: "r2"})
    house.limits = replace(house.limits, items=1000)
    house.tables.do(SetRepairBudget(0, 0, 1, 99))
    for _ in range(6):
        house.chunk((1, 2, 3))
    house.dead = {3}
    assert placed_by(house) == {6: 6}, "all other servers are in the rack of the other two"


def test_the_chunk_with_one_copy_left_goes_first_also_when_little_may_be_copied() -> None:
    house = House(server_count=8)
    two, one = house.chunk((1, 2, 5)), house.chunk((5, 6, 7))
    house.dead = {5, 6}
    house.tables.do(SetRepairBudget(1, 1, 1, 1))
    [first] = house.plan(plan_replication).proposals
    assert isinstance(first, PlaceCopy) and first.chunk_id == ChunkId(one) != two


def test_the_planners_of_one_look_share_one_scene_and_those_of_the_next_do_not() -> None:
    house = House()
    seen, cursors = house.seen(), Cursors()
    with house.tables.view() as view:
        first = Scene.of(view, seen, cursors)
        assert Scene.of(view, seen, cursors) is first
        assert Scene.of(view, house.seen(), cursors) is not first
    with house.tables.view() as later:
        again = Scene.of(later, seen, cursors)
        assert again is not first and again is Scene.of(later, seen, cursors)
        assert Scene.of(later, seen, Cursors()) is not again
