"""Evening out how full servers are: by bytes, within bounds, to its end or as far as it goes."""

from __future__ import annotations

import dataclasses
import random

import pytest
from fleet_house import ROOM, Fleet
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from repair_house import LENGTH

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import SLOT_HEAD_BYTES
from gfs_ha.master.handlers.jobs import left_of, share_done
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.planners import rebalance
from gfs_ha.master.planners.balance import Balance, Disk, Movable, Spot
from gfs_ha.master.planners.drain import plan_drain
from gfs_ha.master.planners.events import size_text
from gfs_ha.master.planners.fullness import Traffic, balance_of, movable
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.planners.job_progress import plan_progress
from gfs_ha.master.planners.rebalance import PAID_AHEAD_S, plan_rebalance
from gfs_ha.master.planners.rebalance_ahead import Ahead, Step, told
from gfs_ha.master.planners.rebalance_end import in_use
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.commands import EnrolledDisk, EnrollServer, PlaceCopy
from gfs_ha.master.state.job_commands import StartJob
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DONE,
    DRAIN,
    PAUSED,
    REBALANCE,
    RUNNING,
    STUCK,
    JobOptions,
    in_window,
    window_minutes,
)
from gfs_ha.protocol.measures import share_text
from gfs_ha.protocol.rebalance import PlannedMove

RACKS = {1: "r1", 2: "r1", 3: "r2", 4: "r2", 5: "r3", 6: "r3"}


def uneven(total: int = 60, chunks: int = 40) -> Fleet:
    """Return six servers in three racks, of which three are empty."""
    fleet = Fleet(server_count=6, racks=RACKS, totals=dict.fromkeys(range(1, 7), total))
    for _ in range(chunks):
        fleet.chunk((1, 3, 5))
    return fleet


def breaks_of(fleet: Fleet) -> dict[int, int]:
    """Return how much the rule has against each chunk as it lies."""
    with fleet.tables.view() as view:
        scene = Scene(view, fleet.seen())
        return {
            chunk_id: scene.breaks(chunk, list(chunk.holders))
            for chunk_id, chunk in view.chunks_after(0, 10_000)
        }


def foreseen(fleet: Fleet, threshold: float = 0.05) -> tuple[Ahead, list[PlannedMove]]:
    with fleet.tables.view() as view:
        scene = Scene(view, fleet.seen())
        balance = balance_of(view, scene, Traffic(view, scene, 8192), threshold)
        steps: list[Step] = []
        ahead = Ahead(balance, steps.append)
        while ahead.step(view, scene, 7):
            pass
    return ahead, [told(step, balance) for step in steps]


def test_copies_go_from_the_full_to_the_empty_until_all_are_near_the_mean() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.run(number)
    job = fleet.job(number)
    assert job.phase == DONE and not fleet.outside()
    assert job.moved_bytes == job.moves * LENGTH > 0
    assert "within 5.0 % of the mean" in fleet.said(number)[-1]
    assert fleet.plan(plan_rebalance).empty
    number = fleet.begin()
    fleet.run(number)
    assert fleet.job(number).moves == 0  # A plan that was applied makes the next one empty.


def end_of(fleet: Fleet, moves: int, disks: int = 6, used: int = -1) -> str:
    """Return the end of a job of which so much was foreseen, and that began with so much in use."""
    with fleet.tables.view() as view:
        scene = Scene(view, fleet.seen())
        begun = in_use(balance_of(view, scene, Traffic(view, scene, 8192), 0.05))
    command = StartJob(
        REBALANCE,
        JobOptions(),
        planned_bytes=moves * LENGTH,
        planned_moves=moves,
        began_disks=disks,
        began_bytes=begun if used < 0 else used,
    )
    number = fleet.tables.do(command).number
    fleet.run(number)
    return fleet.said(number)[-1]


def test_the_end_says_what_came_beside_what_was_foreseen_and_why() -> None:
    moves = foreseen(uneven())[0].move_count
    fleet = uneven()
    end = end_of(fleet, 1000)
    assert f"foreseen 1,000 ({size_text(1000 * LENGTH)}): what was left was played anew" in end
    assert "foreseen" not in end_of(fleet, 0), "nothing was"
    assert "more is in use than when it began" in end_of(uneven(), moves + 9, used=0)
    assert "less is in use" in end_of(uneven(), moves + 9, used=1 << 40)
    assert "6 disks take part by now, 7 did when it began" in end_of(uneven(), moves + 9, disks=7)


def test_the_outcome_is_what_the_plan_said() -> None:
    fleet = uneven()
    plan, _ = foreseen(fleet)
    number = fleet.begin()
    fleet.run(number)
    job = fleet.job(number)
    assert (job.moves, job.moved_bytes) == (plan.move_count, plan.moved_bytes)
    for row in plan.rows_of_disks():
        server = int(row.name[2:])
        assert row.share_after == round(fleet.share(server), 4)
        assert fleet.most[server] <= row.most_bytes / row.total_bytes + 2 / fleet.totals[server]


def test_shares_count_and_not_chunks_or_bytes() -> None:
    fleet = Fleet(server_count=6, racks=RACKS, totals={1: 100, 2: 50, 3: 100, 4: 50, 5: 100, 6: 50})
    for _ in range(40):
        fleet.chunk((1, 3, 5))
    number = fleet.begin()
    fleet.run(number)
    assert not fleet.outside()
    held = {one: len(fleet.on_disk.get(one, ())) for one in fleet.totals}
    assert held[1] > held[2] + 5


def test_what_else_lies_on_a_disk_counts() -> None:
    fleet = Fleet(
        server_count=6,
        racks=RACKS,
        totals=dict.fromkeys(range(1, 7), 60),
        other_use={2: 40, 4: 40, 6: 40},
    )
    for _ in range(40):
        fleet.chunk((1, 3, 5))
    number = fleet.begin()
    fleet.run(number)
    assert fleet.job(number).moves == 0


def test_a_paused_job_begins_nothing_and_goes_on_where_it_was() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=2)
    fleet.tick()
    fleet.set_phase(number, PAUSED)
    fleet.rest()
    moved = fleet.job(number).moves
    assert fleet.plan(plan_rebalance).empty
    fleet.set_phase(number, RUNNING)
    fleet.run(number)
    assert fleet.job(number).moves > moved and not fleet.outside()


def test_a_cancelled_job_leaves_every_chunk_whole() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.deaf = {2, 4, 6}  # The copies come to nothing.
    fleet.tick()
    fleet.set_phase(number, CANCELLED)
    fleet.deaf = set()
    fleet.rest()
    with fleet.tables.view() as view:
        for chunk_id, chunk in view.chunks_after(0, 1000):
            assert len(chunk.holders) == 3 and not chunk.copying and not chunk.leaving, chunk_id


def test_no_more_moves_are_under_way_than_the_job_may_have() -> None:
    fleet = uneven()
    fleet.begin(moves_max=3)
    made = fleet.plan(plan_rebalance)
    assert len([one for one in made.proposals if isinstance(one, PlaceCopy)]) == 3
    fleet.apply(made)
    assert fleet.plan(plan_rebalance).empty


def test_a_job_takes_the_bandwidth_that_it_may_have() -> None:
    fleet = uneven()
    number = fleet.begin(bytes_per_s=LENGTH // 2)  # One chunk in two seconds.
    for _ in range(20):
        fleet.tick()
    assert 8 <= fleet.job(number).moves <= 11
    assert 400 <= fleet.cursors.jobs.bytes_per_s(number) <= 600


def test_a_job_that_its_limit_holds_back_does_not_wait_for_deletions() -> None:
    fleet = uneven()
    fleet.deaf = {1, 3, 5}  # They make room for nobody's copies.
    number = fleet.begin(bytes_per_s=LENGTH // 10)
    for _ in range(60):
        fleet.tick()
        if fleet.job(number).moves:
            assert fleet.cursors.jobs.of(number).waits == ""
    assert fleet.job(number).moves >= 5


def test_small_chunks_do_not_make_a_rebalance_slower_than_it_may_be() -> None:
    fleet = uneven()
    fleet.begin(bytes_per_s=40 * LENGTH)
    made = fleet.plan(plan_rebalance)  # Four times a second: one move each would be four.
    begun = sum(isinstance(one, PlaceCopy) for one in made.proposals)
    assert 10 <= begun <= 40 * PAID_AHEAD_S + 1


def test_moves_begin_only_within_the_window() -> None:
    fleet = uneven()
    number = fleet.begin(window="22:00-06:00")
    assert fleet.plan(plan_rebalance).empty
    assert "22:00-06:00" in fleet.cursors.jobs.of(number).waits
    fleet.day_minute = 23 * 60
    assert not fleet.plan(plan_rebalance).empty


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("22:00-06:00", (1320, 360)),
        ("00:00-23:59", (0, 1439)),
        ("24:00-06:00", None),
        ("22:60-06:00", None),
        ("9:00-10:00", None),
        ("10:00-10:00", None),
        ("night", None),
    ],
)
def test_a_window_is_two_times_of_the_day(text: str, minutes: tuple[int, int] | None) -> None:
    assert window_minutes(text) == minutes


def test_a_window_may_go_over_midnight() -> None:
    inside = [minute for minute in range(24 * 60) if in_window("22:00-06:00", minute)]
    assert inside == [*range(6 * 60), *range(22 * 60, 24 * 60)]
    assert not in_window("06:00-22:00", 22 * 60) and in_window("06:00-22:00", 6 * 60)


def test_chunks_that_lack_copies_come_first() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.damaged = {(min(fleet.on_disk[1]), 1)}
    repair = fleet.plan(plan_replication)
    fleet.apply(repair)
    assert any(isinstance(one, PlaceCopy) for one in repair.proposals)
    assert fleet.plan(plan_rebalance).empty
    assert "lack copies" in fleet.cursors.jobs.of(number).waits
    fleet.run(number)
    assert fleet.job(number).phase == DONE and not fleet.outside()


def test_a_target_that_fails_is_left_alone_and_named() -> None:
    fleet = uneven()
    fleet.failing = {2: "No space left on device"}
    number = fleet.begin()
    fleet.run(number)
    job = fleet.job(number)
    assert job.phase == DONE
    assert any("cs2 could not copy: No space" in text for text in fleet.said(number))
    assert fleet.share(4) >= 0.28 and fleet.share(6) >= 0.28 and fleet.share(2) == 0.0
    assert job.last_error == STUCK
    (end,) = [text for text in fleet.said(number) if "cs2 at 0.0 %" in text]
    assert end.startswith(f"is done: {STUCK}: "), "it is told once why it ended"


def test_a_server_that_dies_on_the_way_leaves_the_mean() -> None:
    fleet = uneven(total=80)
    number = fleet.begin(moves_max=6)
    for _ in range(3):
        fleet.tick()
    fleet.dead = {2}
    fleet.run(number)
    assert fleet.job(number).phase == DONE and not fleet.outside()
    fleet.dead = set()
    fleet.rest()
    assert all(len(fleet.good(one)) >= 3 for one in fleet.on_disk[1] | fleet.on_disk[4])


def test_a_holder_that_was_to_go_and_died_does_not_hold_the_job_up() -> None:
    fleet = uneven(total=80)
    number = fleet.begin(moves_max=4)
    fleet.apply(fleet.plan(plan_rebalance))
    fleet.dead = {first_leaving(fleet)}
    fleet.run(number)
    assert fleet.job(number).phase == DONE


def first_leaving(fleet: Fleet) -> int:
    with fleet.tables.view() as view:
        for _, chunk in view.busy_chunks(0, 100):
            for order in chunk.copying:
                return order.leaves
    raise AssertionError("nothing leaves")


def test_a_new_server_is_not_filled_at_once() -> None:
    fleet = Fleet(server_count=5, totals=dict.fromkeys(range(1, 6), 100))
    for _ in range(30):
        fleet.chunk((1, 2, 3))
        fleet.chunk((1, 3, 4))
    number = fleet.begin()
    made = fleet.plan(plan_rebalance)
    to_new = [one for one in made.proposals if isinstance(one, PlaceCopy) and one.server_id == 5]
    assert 0 < len(to_new) <= 16  # As many as it copies at once, and some that wait there.
    fleet.run(number)
    assert not fleet.outside()


def test_what_the_rule_forbids_is_not_done_and_named() -> None:
    # A copy of each chunk has to stay in rack r1, and there is no other server.
    fleet = Fleet(server_count=5, totals=dict.fromkeys(range(1, 6), 60))
    fleet.racks = {}
    fleet.tables.enroll(2, rack="r2")
    for _ in range(30):
        fleet.chunk((1, 3, 4))
    number = fleet.begin()
    fleet.run(number)
    assert not any(breaks_of(fleet).values())
    job = fleet.job(number)
    end = fleet.said(number)[-1]
    assert job.phase == DONE and "cs1 at 50.0 %" in end
    assert "the rule of placement" in end and fleet.share(1) == 0.5


def test_a_server_in_maintenance_neither_gives_nor_takes() -> None:
    fleet = uneven()
    from gfs_ha.master.state.server_mode_commands import SetMaintenance

    fleet.tables.do(SetMaintenance(2, 3_600_000))
    fleet.begin()
    made = fleet.plan(plan_rebalance)
    assert {one.server_id for one in made.proposals if isinstance(one, PlaceCopy)} == {4, 6}


def test_a_leader_that_has_not_heard_all_disks_waits() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.young = True
    assert fleet.plan(plan_rebalance).empty
    assert "still hears" in fleet.cursors.jobs.of(number).waits
    fleet.young, fleet.unheard = False, {2}
    assert fleet.plan(plan_rebalance).empty
    assert fleet.cursors.jobs.of(number).waits == "cs2 not heard yet by this leader"
    fleet.unheard = set()
    assert not fleet.plan(plan_rebalance).empty


def test_servers_that_are_emptied_come_first() -> None:
    fleet = uneven()
    number = fleet.begin()
    drain = fleet.tables.do(StartJob(DRAIN, JobOptions(), 1)).number
    fleet.apply(fleet.plan(plan_drain))
    assert fleet.plan(plan_rebalance).empty
    assert "emptied" in fleet.cursors.jobs.of(number).waits
    fleet.set_phase(drain, CANCELLED)
    fleet.run(number)
    assert fleet.outside() == []


def test_no_more_is_moved_while_what_was_moved_is_still_to_be_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebalance, "UNFREED_MAX", 5)
    fleet = uneven()
    fleet.deaf = {1, 3, 5}  # They make room for nobody's copies.
    number = fleet.begin()
    for _ in range(20):
        fleet.tick()
    moved = fleet.job(number).moves
    assert 0 < moved < 40 and fleet.plan(plan_rebalance).empty
    assert "deleted where they were" in fleet.cursors.jobs.of(number).waits
    fleet.deaf = set()
    fleet.run(number)
    assert fleet.outside() == []


def test_what_is_left_is_reckoned_from_what_is_outside() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=1)
    fleet.tick()
    first = fleet.cursors.jobs.of(number)
    for _ in range(5):
        fleet.tick()
    second = fleet.cursors.jobs.of(number)
    assert 0 < second.left_bytes < first.left_bytes
    assert second.left_moves - 1 <= second.left_bytes // LENGTH <= second.left_moves


def shown(fleet: Fleet, number: int) -> tuple[int, int]:
    """Return what was moved and what is left, as reports tell it."""
    job = fleet.job(number)
    left_bytes, _ = fleet.cursors.jobs.of(number).after(job.moved_bytes, job.moves)
    return job.moved_bytes, left_bytes


def test_what_is_left_stays_as_it_was_while_repair_fills_the_disks() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=1)
    for _ in range(4):
        fleet.tick()
    whole = sum(shown(fleet, number))
    fleet.dead, looks = {1}, 0
    fleet.tick()
    while fleet.cursors.jobs.of(number).waits:
        looks += 1
        assert "lack copies" in fleet.cursors.jobs.of(number).waits
        assert sum(shown(fleet, number)) == whole, "some copies are made, some are not"
        fleet.tick()
    assert looks > 2
    assert sum(shown(fleet, number)) != whole, "a server less: now it is known what is left"
    fleet.run(number)


def test_a_new_leader_knows_what_is_left_only_once_it_has_heard_all() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=1)
    book = fleet.cursors.jobs
    assert "looks first" in book.seen(number, running=True).waits
    assert not book.seen(number, running=False).waits
    fleet.unheard = {2, 4}
    fleet.tick()
    assert shown(fleet, number) == (0, -1) and "cs2" in book.seen(number, running=True).waits
    fleet.unheard = set()
    fleet.tick()
    assert shown(fleet, number)[1] > 0


def test_a_new_leader_says_nothing_of_what_is_left_that_it_would_have_to_take_back() -> None:
    fleet = uneven()
    number = fleet.tables.do(
        StartJob(REBALANCE, JobOptions(moves_max=4), planned_bytes=500 * LENGTH, planned_moves=500)
    ).number
    for _ in range(6):
        fleet.tick()
    job = fleet.job(number)
    assert job.moves and left_of(job, JobLeft()) == (-1, -1)
    assert share_done(job, -1) == -1.0 and share_text(-1.0) == "? %"
    left_bytes, _ = left_of(job, fleet.cursors.jobs.of(number))
    assert 0 < share_done(job, left_bytes) < 1
    fleet.run(number)
    assert left_of(fleet.job(number), JobLeft()) == (0, 0)
    fresh = replace(job, moves=0, moved_bytes=0)
    assert left_of(fresh, JobLeft()) == (500 * LENGTH, 500) and share_done(fresh, 1) == 0.0


def test_the_time_that_a_job_waits_is_not_in_its_rate() -> None:
    fleet = uneven(total=360, chunks=240)
    number = fleet.begin(moves_max=4)
    for _ in range(10):
        fleet.tick()
    rate = fleet.cursors.jobs.bytes_per_s(number)
    assert rate > 0
    fleet.unheard = {2}  # Why it waits does not matter.
    for _ in range(3):
        fleet.tick()
    assert fleet.cursors.jobs.bytes_per_s(number) >= 0.7 * rate, "a moment of waiting is no stop"
    for _ in range(5):
        fleet.tick()
    assert fleet.cursors.jobs.bytes_per_s(number) == 0
    for _ in range(20):
        fleet.tick()
    fleet.unheard = set()
    for _ in range(4):
        fleet.tick()
    assert fleet.cursors.jobs.bytes_per_s(number) >= 0.7 * rate, "as if it had never waited"


def test_a_job_that_begins_nothing_has_a_rate_while_its_copies_are_under_way() -> None:
    fleet = uneven(total=360, chunks=240)
    number = fleet.begin(moves_max=4)
    for _ in range(10):
        fleet.tick()
    fleet.apply(fleet.plan(plan_rebalance))
    fleet.cursors.jobs.tell(number, JobLeft(waits="outside its window"))
    for _ in range(8):
        fleet.now_s += 1.0
        fleet.plan(plan_progress)
    assert fleet.cursors.jobs.bytes_per_s(number) > 0


def test_a_server_that_is_silent_for_a_while_does_not_end_the_job() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.suspect = {1, 3, 5}  # Who holds everything.
    for _ in range(25):
        fleet.tick()
    assert fleet.job(number).phase == RUNNING and not fleet.job(number).moves
    fleet.suspect = set()
    fleet.run(number)
    assert fleet.job(number).phase == DONE and not fleet.outside()


def test_servers_that_come_and_go_do_not_keep_a_job_for_ever() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.suspect = {1, 3, 5}
    for _ in range(120):
        fleet.tick()
    assert fleet.job(number).phase == DONE and "nothing more" in fleet.job(number).last_error


def alone(server: int, used: int, **more: int) -> Disk:
    """Return the disk of a server in a rack of its own."""
    place = (f"cs{server}", f"r{server}", f"h{server}")
    return Disk(ServerId(server), DiskId(100 + server), *place, 100 * ROOM, used * ROOM, **more)


def balance(*disks: Disk) -> Balance:
    return Balance(disks, {one.server_id: Spot(one.rack, one.machine) for one in disks}, 0.05)


ONE_CHUNK = Movable(ChunkId(1), LENGTH, 1, "spread", (ServerId(1),))


def nobody(server_id: ServerId) -> bool:
    return False


def test_room_that_is_still_to_be_freed_is_no_room() -> None:
    full, leaving = alone(1, 90), alone(2, 95, going=80 * ROOM)
    known = balance(full, leaving)
    assert known.over(full) and known.under(leaving)  # It will have room...
    assert known.target(full, ONE_CHUNK, nobody) is None  # ...but has none yet.
    promised = alone(2, 10, coming=85 * ROOM)
    assert balance(full, promised).target(full, ONE_CHUNK, nobody) is None
    assert balance(full, alone(2, 10)).target(full, ONE_CHUNK, nobody) is not None


def test_a_copy_that_is_being_deleted_sends_no_other_one_back() -> None:
    # What is being deleted on the first disk is gone from its last heartbeat already, or not.
    freed, other = alone(1, 30, freeing=30 * ROOM), alone(2, 36)
    known = balance(freed, other)
    assert not known.under(freed) and not known.over(other) and not known.sources()
    there, other = alone(1, 60, freeing=30 * ROOM), alone(2, 30)
    known = balance(there, other)
    assert not known.over(there) and not known.under(other) and not known.sources()


def test_a_copy_under_way_counts_where_it_arrives() -> None:
    full, empty = alone(1, 60, going=25 * ROOM), alone(2, 10, lacking=25 * ROOM)
    assert not balance(full, empty).outside()


def test_a_move_is_never_turned_round() -> None:
    big = Movable(ChunkId(1), 8 * ROOM - SLOT_HEAD_BYTES, 1, "spread", (ServerId(1),))
    full, empty = alone(1, 56), alone(2, 44)
    assert balance(full, empty).target(full, ONE_CHUNK, nobody) is empty
    assert balance(full, empty).target(full, big, nobody) is None


def test_a_chunk_is_touched_only_while_all_its_copies_are_sure() -> None:
    fleet = uneven()
    seen = fleet.seen()
    with fleet.tables.view() as view:
        chunk_id, chunk = view.chunks_after(ChunkId(0), 1)[0]
        assert movable(Scene(view, seen), chunk_id, chunk) is not None
        for one in chunk.holders:
            repair = dataclasses.replace(seen.repair, settled=seen.repair.settled - {one})
            scene = Scene(view, dataclasses.replace(seen, repair=repair))
            assert movable(scene, chunk_id, chunk) is None


def test_moves_of_a_plan_name_disks_where_a_server_has_several() -> None:
    fleet = uneven()
    one = foreseen(fleet)[1][0]
    assert (one.source_disk, one.target_disk) == (0, 0)
    disks = (EnrolledDisk(101, 1 << 40), EnrolledDisk(901, 1 << 40))
    fleet.tables.do(EnrollServer("cs1", 0, "127.0.0.1", 7301, "r1", "h1", 2, 1, disks))
    fleet.empty_disks = {1: 901}
    within = [move for move in foreseen(fleet)[1] if move.source == move.target]
    assert within and {(move.source_disk, move.target_disk) for move in within} == {(101, 901)}
    assert all(move.why.endswith("its server keeps it") for move in within)


def test_a_job_that_ends_early_names_disks_where_a_server_has_several() -> None:
    fleet = uneven()
    disks = (EnrolledDisk(101, 1 << 40), EnrolledDisk(901, 1 << 40))
    fleet.tables.do(EnrollServer("cs1", 0, "127.0.0.1", 7301, "r1", "h1", 2, 1, disks))
    fleet.empty_disks = {1: 901}
    fleet.suspect = {1, 3, 5}  # Who holds everything neither gives nor takes.
    number = fleet.begin()
    for _ in range(120):
        fleet.tick()
    end = fleet.said(number)[-1]
    assert "cs1:0x65 at 66.7 %" in end and "cs3 at 66.7 %" in end


def test_several_disks_of_a_server_are_as_full_as_each_other_too() -> None:
    place = ("cs1", "r1", "h1")
    full = Disk(ServerId(1), DiskId(101), *place, 100 * ROOM, 90 * ROOM)
    empty = Disk(ServerId(1), DiskId(201), *place, 100 * ROOM, 0)
    others = [alone(2, 45), alone(3, 45)]
    spots = {ServerId(one): Spot(f"r{one}", f"h{one}") for one in (1, 2, 3)}
    known = Balance([full, empty, *others], spots, 0.05)
    assert [one.key for one in known.outside()] == [full.key, empty.key]
    assert known.target(full, ONE_CHUNK, nobody) is empty, "no byte leaves the machine"
    back = Movable(ChunkId(2), LENGTH, 1, "spread", (ServerId(2),))
    assert known.target(others[0], back, nobody) is empty


@pytest.mark.parametrize("machines", [("h1", "h2", "h2"), ("h1", "h2", "h3")])
def test_no_copy_goes_to_a_machine_that_has_another_one(machines: tuple[str, str, str]) -> None:
    disks = [
        Disk(ServerId(one), DiskId(one), f"cs{one}", "r1", machine, 100 * ROOM, used * ROOM)
        for one, machine, used in zip((1, 2, 3), machines, (90, 40, 10), strict=True)
    ]
    chunk = Movable(ChunkId(1), LENGTH, 2, "spread", (ServerId(1), ServerId(2)))
    free = disks[2] if machines[2] == "h3" else None
    assert balance(*disks).target(disks[0], chunk, nobody) is free


def test_no_copy_goes_to_a_server_that_has_another_one() -> None:
    """Also where machines say nothing, because all servers are on one."""
    disks = [
        Disk(ServerId(one), DiskId(one), f"cs{one}", "r1", "", 100 * ROOM, used * ROOM)
        for one, used in ((1, 90), (2, 10), (3, 20))
    ]
    chunk = Movable(ChunkId(1), LENGTH, 2, "spread", (ServerId(1), ServerId(2)))
    assert balance(*disks).target(disks[0], chunk, nobody) is disks[2]


def test_of_racks_to_which_the_rule_lets_no_copy_go_no_disk_is_looked_at() -> None:
    """There may be thousands, and as many copies that cannot leave the full rack."""
    disks = [
        Disk(ServerId(one), DiskId(one), f"cs{one}", rack, f"h{one}", 100 * ROOM, used * ROOM)
        for first, rack, used in ((1, "r1", 90), (101, "r2", 40), (201, "r3", 40))
        for one in range(first, first + 100)
    ]
    chunk = Movable(ChunkId(1), LENGTH, 3, "spread", (ServerId(1), ServerId(101), ServerId(201)))
    looked_at: list[int] = []

    def looks(server_id: ServerId) -> bool:
        looked_at.append(server_id)
        return False

    assert balance(*disks).target(disks[0], chunk, looks) is None and not looked_at
    known = balance(*disks, alone(401, 41))
    assert known.target(disks[0], chunk, looks) is known.disks[ServerId(401), DiskId(501)]
    assert looked_at == [401]


CLUSTERS = st.tuples(
    st.integers(4, 9),  # Servers.
    st.integers(1, 3),  # Servers of a rack.
    st.integers(0, 60),  # Chunks.
    st.integers(0, 2**32),
    st.sampled_from((0.03, 0.05, 0.1)),
)


@settings(max_examples=40, deadline=None)
@given(CLUSTERS)
def test_any_cluster_is_evened_out_within_all_bounds(cluster: tuple[int, int, int, int, float]):
    servers, per_rack, chunks, seed, threshold = cluster
    chance = random.Random(seed)
    racks = {one: f"r{(one - 1) // per_rack}" for one in range(1, servers + 1)}
    totals = {one: chance.choice((30, 45, 60, 120)) for one in racks}
    fleet = Fleet(server_count=servers, racks=racks, totals=totals)
    favourites = chance.sample(sorted(racks), chance.randint(3, servers))
    for _ in range(chunks):
        there = [one for one in favourites if fleet.share(one) < 0.9]
        if len(there) >= 3:
            fleet.chunk(tuple(chance.sample(there, 3)))
    fleet.rest()  # What lies against its rule is put right before.
    before, start = breaks_of(fleet), {one: fleet.share(one) for one in totals}
    least = least_bytes(fleet, threshold)
    plan, _ = foreseen(fleet, threshold)
    number = fleet.begin(threshold=threshold)
    fleet.run(number, 600)
    job = fleet.job(number)
    for one in totals:
        assert fleet.most[one] <= max(HIGH_WATER, start[one]) + 1e-9
    after = breaks_of(fleet)
    assert all(after[one] <= before[one] for one in after)
    assert all(len(fleet.good(one)) == 3 for one in after)
    # Each move takes from what is too much or gives to what is too little; the last one of a server
    # may be a chunk too large.
    assert job.moved_bytes <= 2 * least + 2 * servers * LENGTH
    assert job.phase == DONE
    assert (job.moves, job.moved_bytes) == (plan.move_count, plan.moved_bytes)
    if fleet.outside(threshold + 1e-9):
        assert job.last_error == STUCK
    again = fleet.begin(threshold=threshold)
    fleet.run(again, 600)
    assert fleet.job(again).moves == 0


def least_bytes(fleet: Fleet, threshold: float) -> float:
    """Return how many bytes have to be moved at least, if any chunk could lie anywhere."""
    off = {one: fleet.share(one) - fleet.mean for one in fleet.totals}
    above = sum(max(0.0, off[one] - threshold) * fleet.totals[one] for one in off)
    below = sum(max(0.0, -off[one] - threshold) * fleet.totals[one] for one in off)
    return max(above, below) * LENGTH


def test_a_job_that_waits_for_nothing_but_deletions_says_so() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.deaf = {1, 3, 5}  # They beat, and do nothing of what they are told.
    for _ in range(60):
        fleet.tick()
    assert fleet.job(number).phase == RUNNING and fleet.job(number).moves
    assert "deleted where they were" in fleet.cursors.jobs.of(number).waits
    fleet.deaf = set()
    fleet.run(number)
    assert fleet.job(number).phase == DONE and not fleet.outside()
