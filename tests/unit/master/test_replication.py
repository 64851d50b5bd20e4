"""Repair as planned: exact plans, no copy too many, never the last good one dropped, and rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from repair_house import DIGEST, LENGTH, House

from gfs_ha.ids import ChunkId, Epoch
from gfs_ha.limits import DEAD_S
from gfs_ha.master.planners import replication
from gfs_ha.master.planners.copies import NOT_NEEDED, TARGET_DEAD, plan_copies
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.reign import Reign
from gfs_ha.master.repairing import carry_out
from gfs_ha.master.repairs import WAITS_S
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndCopy,
    LoseHolder,
    PlaceCopy,
    ReplicasDeleted,
    SetRepairBudget,
)
from gfs_ha.protocol.control import (
    CompareReplica,
    CopyReplica,
    CopySource,
    DeleteReplica,
    KeepReplica,
    OpenReplica,
)
from gfs_ha.protocol.metadata import CloseSession


def placed(made: Plan) -> list[tuple[int, int]]:
    """Return (chunk, target) of the copies that a plan begins."""
    return [(one.chunk_id, one.server_id) for one in made.proposals if isinstance(one, PlaceCopy)]


def test_a_chunk_on_a_dead_server_gets_one_copy_where_the_rule_wants_it() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3))
    assert house.plan(plan_replication).empty
    house.suspect = {3}
    assert house.plan(plan_replication).empty, "a short silence begins no copy"
    house.suspect, house.dead = set(), {3}
    made = house.plan(plan_replication)
    sealed = house.row(chunk_id).sealed_index
    assert made.proposals == [PlaceCopy(chunk_id, sealed, 4, 104, 3)]
    house.apply(made)
    assert house.plan(plan_replication).empty, "it is under way"
    index = house.tables.index
    [(target, order)] = house.plan(plan_copies).orders
    assert target == 4 and isinstance(order, CopyReplica)
    assert (order.length, order.digest, order.order_index) == (LENGTH, DIGEST, index)
    assert (order.kind, order.durability, order.disk_id) == ("put", "disk", 104)
    assert [one.server_id for one in order.sources] == [1, 2]
    assert isinstance(order.sources[0], CopySource) and order.sources[0].port == 7301
    house.copied = {(chunk_id, 4, index)}
    made = house.plan(plan_copies)
    assert made.proposals == [ConfirmCopy(chunk_id, sealed, 4, 104, LENGTH, DIGEST, index)]
    house.apply(made)
    assert set(house.row(chunk_id).holders) == {1, 2, 3, 4}
    assert all(house.plan(planner).empty for planner in (plan_copies, plan_replication))


def test_whom_others_do_not_reach_gets_no_copy_and_is_the_last_to_be_copied_from() -> None:
    house = House(server_count=6, dead={3})
    chunk_id = house.chunk((1, 2, 3))
    house.unreached = {1, 4}
    made = house.plan(plan_replication)
    [(_, target)] = placed(made)
    assert target not in (1, 2, 3, 4)
    house.apply(made)
    [(_, order)] = house.plan(plan_copies).orders
    assert isinstance(order, CopyReplica) and order.chunk_id == chunk_id
    assert [one.server_id for one in order.sources] == [2, 1]
    # The only copy that is left is tried all the same.
    house = House(server_count=6, dead={2, 3}, unreached={1})
    house.chunk((1, 2, 3))
    assert placed(house.plan(plan_replication))


def test_those_with_the_fewest_copies_go_first_then_the_oldest() -> None:
    house = House(server_count=8)
    two, one = house.chunk((1, 2, 5)), house.chunk((5, 6, 7))
    later = house.chunk((3, 4, 5))
    house.dead = {5, 6}
    house.tables.do(SetRepairBudget(0, 0, 99, 99))
    made = house.plan(plan_replication)
    assert [chunk for chunk, _ in placed(made)] == [one, one, two, later]


def test_the_budget_bounds_what_is_begun() -> None:
    house = House(server_count=8)
    for _ in range(6):
        house.chunk((1, 2, 5))
    house.dead = {5}
    house.tables.do(SetRepairBudget(0, 0, 1, 3))
    made = house.plan(plan_replication)
    assert len(placed(made)) == 3 and replication.BUSY not in made.waits.values()
    house.tables.do(SetRepairBudget(0, 0, 0, 3))
    house.cursors.queue = type(house.cursors.queue)()
    made = house.plan(plan_replication)
    assert not placed(made) and set(made.waits.values()) == {replication.BUSY}


def test_a_small_budget_begins_no_more_copies_than_it_can_carry_soon() -> None:
    house = House(server_count=8)
    for _ in range(6):
        house.chunk((1, 2, 5))
    house.dead = {5}
    house.tables.do(SetRepairBudget(LENGTH // 2, 0, 2, 9))
    assert len(placed(house.plan(plan_replication))) == 2, "of one chunk two seconds each"


def test_a_leader_that_is_new_or_waits_for_most_servers_begins_no_copy() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3))
    house.dead, house.hold = {3}, "most servers are dead"
    made = house.plan(plan_replication)
    assert made.empty and made.waits == {chunk_id: "most servers are dead"}


@pytest.mark.parametrize("kind", ["damaged", "gone"])
def test_a_bad_copy_counts_no_more_and_another_one_is_made(kind: str) -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3))
    getattr(house, kind).add((chunk_id, 2))
    made = house.plan(plan_replication)
    lose, place = made.proposals
    assert isinstance(lose, LoseHolder) and lose.server_id == 2
    assert isinstance(place, PlaceCopy) and place.server_id == 4
    house.apply(made)
    house.rest()
    assert house.good(chunk_id) == {1, 3, 4}
    assert {one.server_id for one in house.row(chunk_id).replicas} == {1, 3, 4}


def test_without_a_better_place_a_copy_is_healed_where_it_lies() -> None:
    house = House()
    house.dead = {4}
    chunk_id = house.chunk((1, 2, 3))
    house.damaged = {(chunk_id, 2)}
    house.rest()
    assert house.good(chunk_id) == {1, 2, 3} and not house.damaged
    assert len(house.row(chunk_id).replicas) == 3


def test_a_lost_disk_is_repaired_at_once_and_the_new_one_takes_chunks() -> None:
    house = House()
    chunks = [house.chunk((1, 2, 3)) for _ in range(3)]
    house.tables.enroll(1, disk=991)
    house.on_disk[1] = set()
    house.rest()
    for chunk_id in chunks:
        assert len(house.good(chunk_id)) == 3
        assert not house.row(chunk_id).late


def test_a_server_that_comes_with_a_new_disk_gets_the_copy_that_the_rule_wants_there() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 2, 3))  # In racks r1, r1 and r2.
    house.tables.enroll(2, disk=900)
    [lose, place] = house.plan(plan_replication).proposals
    assert isinstance(lose, LoseHolder) and isinstance(place, PlaceCopy)
    assert place.server_id == 2, "in any other rack it would have to be moved again"
    house.on_disk[2].clear()
    house.rest()
    assert house.good(chunk_id) == {1, 2, 3} and house.copies_made == 1


def test_the_last_copy_is_kept_however_bad_and_said_to_be_lost() -> None:
    house = House()
    chunk_id = house.chunk((1, 2), (1, 2))
    house.damaged = {(chunk_id, 1)}
    house.dead = {2}
    made = house.plan(plan_replication)
    assert made.empty and made.waits == {chunk_id: replication.LOST}
    assert house.cursors.queue.newest.without_copy == 1
    assert house.row(chunk_id).holders == (1, 2)


def rotten(house: House, chunk_id: int, *servers: int) -> None:
    """Let servers list their copies as damaged."""
    row = house.row(chunk_id)
    for server in servers:
        replica = OpenReplica(chunk_id, row.birth, 100 + server, LENGTH, "damaged")
        house.listed.setdefault(server, {})[chunk_id] = replica
        house.damaged.add((chunk_id, server))


def test_a_copy_is_put_together_from_damaged_ones_when_no_other_is_left() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 2, 3))
    rotten(house, chunk_id, 1, 2, 3)
    house.salvageable.add(chunk_id)
    made = house.plan(plan_replication)
    [place] = made.proposals
    assert isinstance(place, PlaceCopy) and place.server_id > 3, "one, to a server without any"
    assert made.waits == {chunk_id: replication.SALVAGED}
    house.apply(made)
    assert house.plan(plan_replication).proposals == []
    [(_, order)] = house.plan(plan_copies).orders
    assert isinstance(order, CopyReplica)
    assert {one.server_id for one in order.sources} == {1, 2, 3}
    house.rest()
    assert len(house.good(chunk_id)) == 3 and house.copies_made == 3
    assert {one.server_id for one in house.row(chunk_id).replicas} == house.good(chunk_id)


def test_one_damaged_copy_or_a_dead_one_is_nothing_to_put_together() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 2, 3))
    rotten(house, chunk_id, 1, 2, 3)
    house.dead = {1, 2}
    made = house.plan(plan_replication)
    assert made.empty and made.waits == {chunk_id: replication.LOST}
    house.dead = set()
    house.listed[1][chunk_id] = OpenReplica(chunk_id, (9, 9), 101, LENGTH, "damaged")
    house.listed[2][chunk_id] = OpenReplica(
        chunk_id, house.row(chunk_id).birth, 102, LENGTH, "quarantined"
    )
    assert house.plan(plan_replication).empty


def test_what_cannot_be_put_together_is_not_tried_again_at_once() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 2, 3))
    rotten(house, chunk_id, 1, 2, 3)
    house.resting = {(chunk_id, 5)}
    made = house.plan(plan_replication)
    assert made.empty and made.waits == {chunk_id: replication.LOST}
    assert house.row(chunk_id).holders == (1, 2, 3), "and nothing is given up"


def test_an_equal_copy_that_came_late_is_adopted_and_nothing_is_copied() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3), holders=(1, 2))
    row = house.row(chunk_id)
    late = OpenReplica(chunk_id, row.birth, 103, LENGTH, "fenced", row.sealed_index - 1)
    house.listed = {3: {chunk_id: late}}
    made = house.plan(plan_replication)
    assert made.empty and made.waits == {chunk_id: replication.TO_COMPARE}
    compared = OpenReplica(chunk_id, row.birth, 103, LENGTH, "fenced", row.sealed_index)
    house.listed = {3: {chunk_id: compared}}
    house.cursors.queue.end_round()
    made = house.plan(plan_replication)
    assert made.proposals == [ConfirmCopy(chunk_id, row.sealed_index, 3, 103, LENGTH, DIGEST)]
    house.apply(made)
    assert house.row(chunk_id).holders == (1, 2, 3)


def test_an_equal_copy_that_came_late_is_adopted_also_when_no_other_is_left() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3), holders=(1, 2))
    row = house.row(chunk_id)
    house.damaged, house.dead = {(chunk_id, 1)}, {2}
    late = OpenReplica(chunk_id, row.birth, 103, LENGTH, "fenced", row.sealed_index - 1)
    house.listed = {3: {chunk_id: late}}
    made = house.plan(plan_replication)
    assert made.empty and made.waits == {chunk_id: replication.TO_COMPARE}
    compared = OpenReplica(chunk_id, row.birth, 103, LENGTH, "fenced", row.sealed_index)
    house.listed = {3: {chunk_id: compared}}
    house.on_disk.setdefault(3, set()).add(chunk_id)
    house.cursors.queue.end_round()
    house.rest()
    assert 3 in house.row(chunk_id).holders and house.good(chunk_id) >= {3, 4}


def test_a_short_copy_that_came_late_is_replaced_elsewhere_and_dropped() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3), holders=(1, 2))
    row = house.row(chunk_id)
    short = OpenReplica(chunk_id, row.birth, 103, LENGTH - 1, "fenced", row.sealed_index)
    house.listed = {3: {chunk_id: short}}
    house.rest()
    assert house.good(chunk_id) == {1, 2, 4}
    assert len(house.row(chunk_id).replicas) == 3


def test_a_copy_that_fails_is_tried_elsewhere_with_its_reason() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 2, 3))
    house.dead = {3}
    made = house.plan(plan_replication)
    [(_, target)] = placed(made)
    house.failing = {target: "the disk is full"}
    house.apply(made)
    house.obey(house.plan(plan_copies))
    made = house.plan(plan_copies)
    index = house.tables.index
    assert made.proposals == [EndCopy(chunk_id, target, index, "the disk is full")]
    house.apply(made)
    house.rest()
    assert len(house.good(chunk_id)) == 3 and target not in house.row(chunk_id).holders


def test_a_copy_to_a_server_that_died_is_given_up() -> None:
    house = House(server_count=5)
    chunk_id = house.chunk((1, 2, 3))
    house.dead = {3}
    made = house.plan(plan_replication)
    [(_, target)] = placed(made)
    house.apply(made)
    house.dead.add(target)
    [ended] = house.plan(plan_copies).proposals
    assert isinstance(ended, EndCopy) and ended.reason == TARGET_DEAD
    house.rest()
    assert len(house.good(chunk_id)) == 3


def test_a_server_that_returns_cancels_what_was_not_begun() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3))
    house.dead = {3}
    house.apply(house.plan(plan_replication))
    house.dead = set()
    [ended] = house.plan(plan_copies).proposals
    assert isinstance(ended, EndCopy) and ended.reason == NOT_NEEDED
    house.rest()
    assert house.row(chunk_id).holders == (1, 2, 3) and len(house.row(chunk_id).replicas) == 3


def test_the_surplus_after_a_return_is_dropped_so_that_the_racks_fit_the_rule() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 3, 4))
    house.dead = {1}
    house.rest()
    assert len(house.good(chunk_id)) == 3
    house.dead = set()
    house.rest()
    holders = house.row(chunk_id).holders
    assert len(holders) == 3 and len(house.row(chunk_id).replicas) == 3
    assert house.good(chunk_id) == set(holders)
    with house.tables.view() as view:
        racks = [server.rack for one, server in view.servers() if one in holders]
    assert sorted(racks) in (["r1", "r2", "r2"], ["r1", "r1", "r2"])


def drop_one(house: House) -> tuple[int, int, int]:
    """Return (chunk, server, index) of a copy that is marked as being deleted."""
    chunk_id = house.chunk((1, 2, 3))
    house.tables.do(PlaceCopy(chunk_id, house.row(chunk_id).sealed_index, 4, 104, 3))
    end = (104, LENGTH, DIGEST, house.tables.index)
    house.tables.do(ConfirmCopy(chunk_id, house.row(chunk_id).sealed_index, 4, *end))
    house.on_disk.setdefault(4, set()).add(chunk_id)
    made = house.plan(plan_surplus)
    [command] = made.proposals
    assert isinstance(command, DropReplica) and len(command.evidence) == 3
    house.apply(made)
    return chunk_id, command.server_id, house.tables.index


def test_a_drop_is_ordered_only_while_as_many_others_as_the_goal_beat() -> None:
    house = House()
    chunk_id, server, index = drop_one(house)
    [(target, order)] = house.plan(plan_copies).orders
    assert target == server and isinstance(order, DeleteReplica) and order.order_index == index
    other = next(one for one in house.row(chunk_id).holders)
    house.suspect = {other}
    [(target, order)] = house.plan(plan_copies).orders
    assert (target, order) == (server, KeepReplica(ChunkId(chunk_id), index))
    house.young = True
    assert house.plan(plan_copies).empty, "a new leader hears them first"
    house.young = False
    house.kept = {(chunk_id, server, index)}
    house.apply(house.plan(plan_copies))
    assert server in house.row(chunk_id).holders and not house.row(chunk_id).deleting


def test_a_short_replica_that_was_dropped_and_kept_is_no_copy_by_that() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3), holders=(1, 2))  # Server 3 has less of it, or nothing.
    house.tables.do(PlaceCopy(chunk_id, house.row(chunk_id).sealed_index, 4, 104, 2))
    end = (104, LENGTH, DIGEST, house.tables.index)
    house.tables.do(ConfirmCopy(chunk_id, house.row(chunk_id).sealed_index, 4, *end))
    house.on_disk.setdefault(4, set()).add(chunk_id)
    [command] = house.plan(plan_surplus).proposals
    assert isinstance(command, DropReplica) and command.server_id == 3
    house.tables.do(command)
    index = house.tables.index
    house.suspect = {1}
    assert house.plan(plan_copies).orders == [(3, KeepReplica(ChunkId(chunk_id), index))]
    house.kept = {(chunk_id, 3, index)}
    house.apply(house.plan(plan_copies))
    assert house.row(chunk_id).holders == (1, 2, 4), "it is evidence for the next drop otherwise"
    house.kept, house.suspect = set(), set()
    house.rest()
    assert set(house.row(chunk_id).holders) == {1, 2, 4} == house.good(chunk_id)


def test_a_drop_that_was_obeyed_is_recorded() -> None:
    house = House()
    chunk_id, server, index = drop_one(house)
    house.deleted = {(chunk_id, server, index)}
    made = house.plan(plan_copies)
    assert made.proposals == [ReplicasDeleted((), ((chunk_id, server, index),))]
    house.apply(made)
    assert len(house.row(chunk_id).replicas) == 3


def test_a_copy_that_somebody_could_not_read_is_to_compare_itself() -> None:
    house = House()
    chunk_id = house.chunk((1, 2, 3))
    house.doubted = {(chunk_id, 1)}
    [(server, order)] = house.plan(plan_replication).orders
    assert server == 1 and isinstance(order, CompareReplica)
    house.on_disk[1].clear()
    house.rest()
    assert house.good(chunk_id) == {2, 3, 4} and not house.doubted


def test_a_rack_that_is_lost_and_comes_back_costs_one_copy_of_each_and_leaves_the_rule() -> None:
    house = House(server_count=6)
    chunks = [house.chunk((1, 2, 3)) for _ in range(10)]
    house.dead = {3, 4, 5, 6}  # All but r1.
    house.rest()
    assert house.copies_made == 0, "two servers are left, and both have a copy"
    house.dead = {1, 2}
    house.rest(200)
    assert house.copies_made == 20
    for chunk_id in chunks:
        assert len(house.good(chunk_id)) == 3
    house.dead = set()
    house.rest(200)
    assert house.copies_made == 20
    with house.tables.view() as view:
        racks = {one: server.rack for one, server in view.servers()}
    for chunk_id in chunks:
        holders = house.row(chunk_id).holders
        assert len(holders) == len(house.row(chunk_id).replicas) == 3
        assert len({racks[one] for one in holders}) == 2


EVENTS = st.tuples(
    st.sampled_from(("die", "back", "rot", "wipe", "tick", "lose")), st.integers(1, 6)
)


@settings(max_examples=120, deadline=None)
@given(st.lists(EVENTS, max_size=25))
# A place of a lost disk is being deleted when the chunk needs one more copy.
@example([("wipe", 3), ("tick", 1), ("tick", 1), ("tick", 1), ("rot", 1)])
def test_whatever_fails_repair_rests_with_goal_copies_and_never_drops_a_last_good_one(
    events: list[tuple[str, int]],
) -> None:
    house = House(server_count=6)
    chunks = [house.chunk((1, 2, 3)), house.chunk((4, 5, 6)), house.chunk((2, 3, 5), (2, 3))]
    disks = 1000
    for what, server in events:
        before = {chunk_id: house.good(chunk_id) for chunk_id in chunks}
        if what == "die":
            if len(house.dead) < 5:
                house.dead.add(server)
        elif what == "back":
            house.dead.discard(server)
        elif what in ("rot", "wipe", "lose"):
            hit = {one for one in chunks if server in before[one]}
            if any(len(before[one]) < 2 for one in hit):
                continue  # A disk takes no last copy here: nothing could bring that back.
            if what == "rot":
                house.damaged |= {(one, server) for one in hit}
            elif what == "lose":
                house.on_disk[server] -= hit
                house.doubted |= {(one, server) for one in hit}
            elif server not in house.dead:
                disks += 1
                house.tables.enroll(server, disk=disks)
                house.on_disk[server] = set()
        else:
            house.tick()
            for chunk_id in chunks:
                # No tick takes a good copy away unless as many as the goal are left.
                lost = before[chunk_id] - house.good(chunk_id)
                assert not lost or len(house.good(chunk_id)) >= 3
                assert len(house.row(chunk_id).copying) <= 3
    house.dead.clear()
    house.resting.clear()
    house.rest(200)
    for chunk_id in chunks:
        row = house.row(chunk_id)
        assert len(house.good(chunk_id)) == 3 == len(row.replicas), row
        assert not row.copying and not row.deleting
    assert all(house.plan(one).empty for one in (plan_copies, plan_replication, plan_surplus))


def test_a_plan_never_asks_for_more_copies_than_the_goal() -> None:
    house = House(server_count=8)
    house.limits = replace(house.limits, items=1000)
    house.tables.do(SetRepairBudget(0, 0, 99, 999))
    chunks = [house.chunk((1, 2, 3)) for _ in range(20)]
    house.dead = {1, 2}
    made = house.plan(plan_replication)
    for chunk_id in chunks:
        assert sum(one == chunk_id for one, _ in placed(made)) == 2


def dying(count: int, **how: object) -> tuple[House, list[int]]:
    """Return many chunks for which nothing can be done now, and then some that lack one copy."""
    house = House(6)
    for number in range(count):
        if not number % 200:
            house.session = house.tables.session()
        chunk_id = house.chunk((1, 2), goal=2, **how)
        house.resting |= {(chunk_id, one) for one in (3, 4, 5, 6)}
    return house, [house.chunk((1, 3, 4)) for _ in range(5)]


def test_chunks_of_which_no_copy_is_left_keep_none_that_can_be_saved_from_its_turn() -> None:
    house, few = dying(250)
    house.dead = {1, 2}
    for _ in range(8):
        house.tick()
    assert [len(house.good(chunk_id)) for chunk_id in few] == [3] * 5


def test_chunks_that_cannot_be_copied_now_keep_none_that_is_as_urgent_from_its_turn() -> None:
    house, _ = dying(250)
    late = [house.chunk((1, 3), goal=2) for _ in range(5)]
    house.dead = {1}
    for _ in range(8):
        house.tick()
    assert [len(house.good(chunk_id)) for chunk_id in late] == [2] * 5


def test_of_many_that_wait_all_are_known_although_a_plan_looks_at_some() -> None:
    house, _ = dying(250)
    house.dead = {1}
    reign = Reign(Epoch(1, 1), 900.0, DEAD_S, None)

    def look(now_s: float) -> Plan:
        made = house.plan(plan_replication)
        reign.queue = house.cursors.queue
        carry_out(reign, [made], now_s)
        return made

    looks = [look(1000.0 + at) for at in range(3)]
    assert max(len(made.waits) for made in looks) < 250 == len(reign.repairs.waits)
    house.resting = set()
    house.tables.do(SetRepairBudget(0, 0, 99, 99))
    begun = placed(look(1003.0))
    assert begun and not {one for one, _ in begun} & reign.repairs.waits.keys()
    house.dead = set()
    for at in range(3):
        look(1003.0 + WAITS_S + at)
    assert not reign.repairs.waits


def test_chunks_that_went_meanwhile_have_a_plan_look_at_no_more() -> None:
    house = House(6)
    ending, lasting = house.tables.session(), [house.tables.session() for _ in range(2)]
    for number in range(300):
        house.session = lasting[number // 150] if number % 20 else ending
        chunk_id = house.chunk((1, 2), goal=2)
        house.resting |= {(chunk_id, one) for one in (3, 4, 5, 6)}
    house.dead = {1}
    most = max(len(house.plan(plan_replication).waits) for _ in range(2))
    house.tables.do(CloseSession(), ending)  # Nobody has what it did not publish.
    assert house.row(chunk_id - 19).state == "dead"
    looks = [len(house.plan(plan_replication).waits) for _ in range(2)]
    assert max(looks) <= most < 250
