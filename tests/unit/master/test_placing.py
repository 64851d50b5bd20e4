"""The rule of placement after racks were lost and came back: one copy where it helps, then rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from repair_house import PLANNERS, House

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.goals import plan_goals
from gfs_ha.master.planners.placing import plan_placing
from gfs_ha.master.planners.placing_walk import ROUND_S, SOON_S, PlacingWalk
from gfs_ha.master.planners.plan import Seen
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.rules import HDFS, SEED, SPREAD, breaks
from gfs_ha.master.state.commands import PlaceCopy, SetRepairBudget
from gfs_ha.protocol.control import OpenReplica
from gfs_ha.protocol.policy import SetReplication

FOUR_RACKS = {number: f"r{(number + 1) // 2}" for number in range(1, 9)}  # r1: 1 2, r2: 3 4…


def racks_of(house: House, chunk_id: int) -> list[str]:
    with house.tables.view() as view:
        racks = {one: server.rack for one, server in view.servers()}
    return sorted(racks[one] for one in house.row(chunk_id).holders)


def test_copies_that_are_all_in_one_rack_get_one_elsewhere_once_there_is_another_one() -> None:
    house = House(6, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2", 5: "r2", 6: "r2"})
    house.dead = {4, 5, 6}
    chunks = [house.chunk((1, 2, 3)) for _ in range(10)]
    house.rest()
    assert house.copies_made == 0
    house.dead = set()
    house.rest(200)
    assert house.copies_made == 10, "one copy of each, and no more"
    for chunk_id in chunks:
        assert Counter(racks_of(house, chunk_id)) == {"r1": 2, "r2": 1}
        row = house.row(chunk_id)
        assert len(row.replicas) == 3 == len(house.good(chunk_id))
    house.cursors.placing = PlacingWalk()
    assert all(house.plan(planner).empty for planner in PLANNERS)


class Unsettled(House):
    """Servers that are back, and beat too shortly to be evidence of anything."""

    settled = False

    def seen(self) -> Seen:
        seen = super().seen()
        if self.settled:
            return seen
        return replace(seen, repair=replace(seen.repair, settled=frozenset()))


def test_a_chunk_whose_servers_came_back_a_moment_ago_is_looked_at_soon_again() -> None:
    house = Unsettled(6, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2", 5: "r2", 6: "r2"})
    chunk_id = house.chunk((1, 2, 3))
    assert house.plan(plan_placing).empty
    house.settled = True
    assert house.plan(plan_placing).empty and house.cursors.placing.rest_until_s
    house.cursors.placing.rest_until_s -= SOON_S
    house.rest()
    assert Counter(racks_of(house, chunk_id)) == {"r1": 2, "r2": 1}


def test_a_chunk_that_could_not_be_copied_where_its_rule_wants_it_is_looked_at_soon_again() -> None:
    house = House(6, racks={5: "r3", 6: "r3"})
    house.rest()
    assert house.cursors.placing.rest_until_s > house.seen().now_s + SOON_S
    chunk_id = house.chunk((1, 3, 5), holders=(1, 3), rule=SPREAD)
    row = house.row(chunk_id)
    short = OpenReplica(ChunkId(chunk_id), row.birth, 105, 1, "fenced", row.sealed_index)
    house.listed = {5: {chunk_id: short}}
    house.resting = {(chunk_id, 6)}
    house.rest()
    assert racks_of(house, chunk_id) in (["r1", "r1", "r2"], ["r1", "r2", "r2"])
    assert house.cursors.placing.rest_until_s <= house.seen().now_s + SOON_S
    house.resting |= {(chunk_id, 5)}
    house.cursors.placing.rest_until_s -= SOON_S
    house.rest()
    assert house.cursors.placing.rest_until_s <= house.seen().now_s + SOON_S
    house.resting = set()
    house.cursors.placing.rest_until_s -= SOON_S
    house.rest()
    assert racks_of(house, chunk_id) == ["r1", "r2", "r3"]


def test_the_new_copy_counts_before_the_old_one_goes() -> None:
    house = House(6, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2"})
    chunk_id = house.chunk((1, 2, 3))
    house.apply(house.plan(plan_placing))
    assert len(house.row(chunk_id).copying) == 1
    for _ in range(10):
        assert house.good(chunk_id) >= {1, 2, 3} or len(house.good(chunk_id)) == 3
        house.tick()
    assert len(house.good(chunk_id)) == 3 and set(racks_of(house, chunk_id)) == {"r1", "r2"}


def test_a_copy_for_the_rule_is_not_taken_for_one_that_is_not_needed() -> None:
    house = House(4, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2"})
    chunk_id = house.chunk((1, 2, 3))
    house.apply(house.plan(plan_placing))
    made = house.plan(plan_copies)
    assert not made.proposals, "the holders are all there, and still it is copied"
    assert [server for server, _ in made.orders] == [4]
    house.dead = {3}  # Now it is needed in earnest: nothing changes.
    assert not house.plan(plan_copies).proposals
    assert house.row(chunk_id).copying


@pytest.mark.parametrize(
    ("servers", "machines"),
    [
        ((1, 3, 5), {}),  # Three racks are no pair, and safer than one: no copy is worth it.
        ((1, 2, 5), {}),
        ((1, 2, 5), dict.fromkeys(range(1, 9), "one")),  # All on one machine.
    ],
)
def test_what_a_rule_merely_prefers_is_worth_no_copy(
    servers: tuple[int, ...], machines: dict[int, str]
) -> None:
    house = House(8, racks=FOUR_RACKS, machines=machines)
    house.chunk(servers)
    house.rest()
    assert house.copies_made == 0


def test_two_copies_on_one_machine_are_parted() -> None:
    house = House(8, racks=FOUR_RACKS, machines={1: "h", 2: "h"})
    chunk_id = house.chunk((1, 2, 5))
    house.rest()
    assert house.copies_made == 1
    assert len(house.good(chunk_id) & {1, 2}) == 1 and len(house.good(chunk_id)) == 3


def test_nothing_is_placed_above_the_mark_and_who_makes_room_is_used_at_once() -> None:
    house = House(4, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2"}, full={4})
    house.chunk((1, 2, 3))
    house.rest()
    assert house.copies_made == 0 and house.cursors.placing.newest == 1
    house.full = set()
    house.rest()
    assert house.copies_made == 1


def test_lost_copies_come_first_and_a_new_leader_waits() -> None:
    house = House(6, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2", 5: "r2", 6: "r2"})
    misplaced = house.chunk((1, 2, 3))
    house.young = True
    assert house.plan(plan_placing).empty
    house.young, house.hold = False, "most servers are away"
    assert house.plan(plan_placing).empty
    house.hold = ""
    lacking = house.chunk((4, 5, 1))
    house.dead = {5}
    house.deaf = {2, 3, 6}  # They copy nothing for now.
    house.tick()
    assert house.row(lacking).copying and not house.row(misplaced).copying
    house.deaf = set()
    house.rest()
    assert len(house.good(lacking)) == 3 and "r2" in racks_of(house, misplaced)


def test_only_a_chunk_with_all_its_copies_sure_and_nothing_under_way_is_helped() -> None:
    house = House(6, racks={1: "r1", 2: "r1", 3: "r1", 4: "r2", 5: "r2", 6: "r2"})
    chunk_id = house.chunk((1, 2, 3))

    def begun() -> int:
        house.cursors.placing = PlacingWalk()
        return len(house.plan(plan_placing).proposals)

    house.suspect = {2}
    assert not begun(), "it may be lost in a moment"
    house.suspect, house.damaged = set(), {(chunk_id, 2)}
    assert not begun(), "it lacks a copy"
    house.damaged = set()
    assert begun() == 1
    house.cursors.placing = PlacingWalk()
    house.apply(house.plan(plan_placing))
    assert house.row(chunk_id).copying and not begun(), "one at a time"


def test_the_budget_bounds_what_is_begun_for_the_rule() -> None:
    house = House(8, racks=FOUR_RACKS)
    with_rule = [house.chunk((1, 2, 3)) for _ in range(3)]
    racks = {1: "r1", 2: "r1", 3: "r1"}
    for number, rack in racks.items():
        house.tables.enroll(number, rack=rack)
    house.tables.do(SetRepairBudget(0, 0, 99, 2))
    made = house.plan(plan_placing)
    assert sum(isinstance(one, PlaceCopy) for one in made.proposals) == 2
    house.tables.do(SetRepairBudget(0, 0, 99, 0))
    house.cursors.placing = PlacingWalk()
    assert house.plan(plan_placing).empty
    assert all(racks_of(house, chunk_id) == ["r1"] * 3 for chunk_id in with_rule)


def test_a_walk_rests_until_the_servers_change_or_ten_minutes_are_over() -> None:
    walk = PlacingWalk()
    fleet = frozenset({(ServerId(1), "r1", "h1", True)})
    assert walk.look(fleet, 10.0)
    walk.end_round(10.0)
    assert not walk.look(fleet, 10.0 + ROUND_S - 1)
    assert walk.look(fleet, 10.0 + ROUND_S)
    walk.found = 1
    walk.end_round(1000.0)
    assert not walk.look(fleet, 1000.0 + SOON_S - 1) and walk.look(fleet, 1000.0 + SOON_S)
    walk.end_round(2000.0)
    assert walk.look(fleet | {(ServerId(2), "r1", "h2", True)}, 2000.1)


@pytest.mark.parametrize("late_s", [-1.0, 0.0, SOON_S / 2])
def test_a_round_that_may_have_missed_a_chunk_placed_against_its_rule_is_not_the_last_for_long(
    late_s: float,
) -> None:
    """As when a server that comes back begins a round while a chunk is copied past it."""
    walk = PlacingWalk()
    fleet = frozenset({(ServerId(1), "r1", "h1", True)})
    walk.soon(100.0)
    assert walk.look(fleet, 100.0 + late_s)
    walk.after = ChunkId(7)
    assert walk.look(fleet, 103.0)
    walk.end_round(103.0)
    assert not walk.look(fleet, 103.0 + SOON_S / 2) and walk.look(fleet, 103.0 + SOON_S)
    walk.end_round(103.0 + SOON_S)
    assert not walk.look(fleet, 103.0 + ROUND_S)


PLACES = st.lists(st.integers(1, 8), min_size=3, max_size=3, unique=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(PLACES, min_size=1, max_size=4),
    st.lists(st.integers(1, 4), min_size=8, max_size=8),
    st.lists(st.integers(1, 6), min_size=8, max_size=8),
    st.sets(st.integers(1, 8), max_size=3),
    st.sampled_from((SEED, SPREAD, HDFS)),
)
# Only server 6 is in another rack, and only 7 and 8 are other machines: all three copies move.
@example([[1, 2, 3]], [1, 1, 1, 1, 1, 2, 1, 1], [1, 1, 1, 1, 1, 1, 2, 3], set(), SEED)
def test_wherever_copies_lie_the_planners_rest_with_the_rule_as_far_as_it_can_be_had(
    places: list[list[int]],
    racks: list[int],
    machines: list[int],
    full: set[int],
    rule: str,
) -> None:
    house = House(
        8,
        racks={number: f"r{rack}" for number, rack in enumerate(racks, 1)},
        machines={number: f"h{one}" for number, one in enumerate(machines, 1)},
        full=full,
    )
    chunks = [house.chunk(tuple(servers), rule=rule) for servers in places]

    def against(chunk_id: int, holders: set[int]) -> int:
        known = {one.server_id: one for one in house.seen().repair.candidates}
        return breaks(rule, 3, [known[ServerId(one)] for one in holders])

    before = {chunk_id: against(chunk_id, house.good(chunk_id)) for chunk_id in chunks}
    for _ in range(4):  # Rounds: each moves one copy of a chunk, and there are three.
        house.cursors.placing = PlacingWalk()
        house.rest(200)
    assert house.copies_made <= 3 * len(chunks), "no copy moves twice"
    house.cursors.placing = PlacingWalk()
    assert all(house.plan(planner).empty for planner in PLANNERS)
    for chunk_id in chunks:
        row, good = house.row(chunk_id), house.good(chunk_id)
        assert len(good) == 3 == len(row.replicas)
        reached = against(chunk_id, good)
        assert reached <= before[chunk_id]
        assert (good == set(places[chunks.index(chunk_id)])) == (reached == before[chunk_id])
        for out in good:
            for new in set(range(1, 9)) - good - full:
                assert against(chunk_id, good - {out} | {new}) >= reached


def test_a_surplus_copy_goes_so_that_machines_differ_too() -> None:
    house = House(8, racks=FOUR_RACKS, machines={3: "h", 5: "h"})
    chunk_id = house.chunk((1, 2, 3, 5), goal=4)
    house.file(chunk_id, "/x")
    house.tables.do(SetReplication("/x", 3), house.session)
    house.apply(house.plan(plan_goals))
    house.apply(house.plan(plan_surplus))
    holders = house.row(chunk_id).holders
    assert len(holders) == 3 and len({3, 5} & set(holders)) == 1


def test_another_goal_is_reached_by_copies_and_drops_in_the_rule() -> None:
    house = House(8, racks=FOUR_RACKS)
    chunk_id = house.chunk((1, 2, 3))
    house.file(chunk_id, "/x")
    assert house.plan(plan_goals).empty
    for goal, copies in ((5, 2), (2, 2), (4, 4)):
        house.tables.do(SetReplication("/x", goal), house.session)
        house.rest(200)
        assert len(house.good(chunk_id)) == goal == len(house.row(chunk_id).replicas)
        assert house.copies_made == copies, "not one more than are wanted"
        assert goal == 2 or len(set(racks_of(house, chunk_id))) >= goal - 1
