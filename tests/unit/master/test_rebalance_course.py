"""A rebalance carries out the very play that its plan was, and plays anew when the disks change."""

from __future__ import annotations

import pytest
from fleet_house import ROOM, Fleet
from repair_house import LENGTH
from test_rebalance import RACKS, foreseen, uneven

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import SLOT_HEAD_BYTES
from gfs_ha.master.planners import rebalance_ahead, rebalance_course
from gfs_ha.master.planners.balance import Balance, Disk, Movable, Spot
from gfs_ha.master.planners.fullness import Traffic, balance_of
from gfs_ha.master.planners.plan import Cursors, PlanLimits
from gfs_ha.master.planners.rebalance import UNFREED, plan_rebalance
from gfs_ha.master.planners.rebalance_ahead import HELD, NO_TARGET, RULE, Ahead, Step
from gfs_ha.master.planners.rebalance_course import ASTRAY_S, STUCK_S, Course
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    PlaceCopy,
    ReplicasDeleted,
)
from gfs_ha.master.state.records import Chunk
from gfs_ha.protocol.jobs import CANCELLED, DONE, PAUSED, RUNNING, STUCK


def played(fleet: Fleet, rows: int, threshold: float = 0.05) -> list[Step]:
    """Return a play in parts of so many rows."""
    steps: list[Step] = []
    with fleet.tables.view() as view:
        scene = Scene(view, fleet.seen())
        balance = balance_of(view, scene, Traffic(view, scene, 8192), threshold)
        ahead = Ahead(balance, steps.append)
        while ahead.step(view, scene, rows):
            pass
    return steps


def course_of(fleet: Fleet) -> Course:
    course = fleet.cursors.rebalance.course
    assert course is not None
    return course


def test_the_parts_of_a_play_make_no_difference() -> None:
    fleet = uneven()
    whole = played(fleet, 10_000)
    assert whole and all(played(fleet, rows) == whole for rows in (1, 2, 7, 64))


@pytest.mark.parametrize("rows", [1, 5, 40, 500])
def test_what_is_carried_out_is_what_was_played_however_slowly_it_goes(rows: int) -> None:
    fleet = uneven(chunks=60)
    plan, _ = foreseen(fleet)
    fleet.limits = PlanLimits(rows=2 * rows)
    number = fleet.begin(moves_max=3)
    fleet.run(number, 1500)
    job = fleet.job(number)
    assert (job.moves, job.moved_bytes) == (plan.move_count, plan.moved_bytes)


def test_what_could_not_go_at_first_is_looked_at_again_in_the_same_play() -> None:
    # A walk may come by before the moves of others make it help: nothing is left for a second job.
    racks = {one: f"r{(one - 1) // 3}" for one in range(1, 10)}
    totals = dict(zip(racks, (60, 30, 120, 60, 30, 45, 45, 120, 60), strict=True))
    fleet = Fleet(server_count=9, racks=racks, totals=totals)
    for _ in range(9):
        fleet.chunk((5, 6, 8))
    assert played(fleet, 10_000, 0.03)
    once, again = fleet.begin(threshold=0.03), 0
    fleet.run(once)
    again = fleet.begin(threshold=0.03)
    fleet.run(again)
    assert fleet.job(once).moves and not fleet.job(again).moves


def test_moves_that_clients_made_pointless_are_played_anew() -> None:
    fleet = uneven(total=200, chunks=100)
    number = fleet.begin(moves_max=1)
    fleet.tick()
    course = course_of(fleet)
    left = len(course)
    fleet.other_use = {2: 60, 4: 60, 6: 60}  # Clients fill the emptier ones.
    for _ in range(int(ASTRAY_S) + 2):
        fleet.tick()
    assert fleet.cursors.rebalance.course is not course and fleet.job(number).moves < left
    fleet.run(number)
    assert fleet.job(number).moves < left and not fleet.outside()


def test_a_disk_that_goes_ends_the_course_at_once() -> None:
    fleet = uneven(total=80)
    number = fleet.begin(moves_max=1)
    fleet.tick()
    course = course_of(fleet)
    fleet.dead = {2}
    fleet.tick()
    assert fleet.cursors.rebalance.course is not course
    fleet.run(number)
    assert fleet.job(number).phase == DONE and not fleet.outside()


def moved_by_hand(fleet: Fleet, chunk_id: ChunkId, out: ServerId, to: ServerId) -> None:
    """Have a copy lie elsewhere at once."""
    row, disk_id = fleet.row(chunk_id), DiskId(100 + to)
    sealed, known = row.sealed_index, len(row.holders)
    fleet.tables.do(PlaceCopy(chunk_id, sealed, to, disk_id, known))
    (order,) = fleet.row(chunk_id).copying
    end = (row.length, row.digest, order.order_index)
    fleet.tables.do(ConfirmCopy(chunk_id, sealed, to, disk_id, *end))
    others = tuple(one for one in fleet.row(chunk_id).holders if one != out)
    fleet.tables.do(DropReplica(chunk_id, sealed, out, DiskId(100 + out), others))
    (dropped,) = fleet.row(chunk_id).deleting
    fleet.tables.do(ReplicasDeleted((), ((chunk_id, out, dropped.order_index),)))
    fleet.on_disk.setdefault(to, set()).add(chunk_id)
    fleet.on_disk[out].discard(chunk_id)


@pytest.mark.parametrize("own", [True, False])
def test_a_step_is_looked_at_by_where_the_copies_lie_when_it_begins(own: bool) -> None:
    """Somebody else has moved this very copy, or another one to where it would go."""
    fleet = uneven()
    number = fleet.begin(moves_max=1)
    fleet.tick()
    course = course_of(fleet)
    step = course.steps()[-1]
    source, target = step.source[0], step.target[0]
    other = next(one for one in fleet.row(step.chunk_id).holders if one != source)
    moved_by_hand(fleet, step.chunk_id, source if own else other, target)
    while step in course and fleet.cursors.rebalance.course is course:
        fleet.tick()  # The tables refuse what cannot be.
    fleet.run(number)


def test_a_step_that_cannot_be_made_falls_out_with_those_of_its_chunk() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=1)
    fleet.tick()
    course = course_of(fleet)
    steps = course.steps()
    twice = next(one for one in steps if sum(one.chunk_id == it.chunk_id for it in steps) > 1)
    bytes_before, moves_before = course.left()
    course.give_up(next(one for one in steps if one.chunk_id == twice.chunk_id))
    assert twice not in course
    left = [one for one in course.steps() if one.chunk_id == twice.chunk_id]
    gone = [one for one in steps if one.chunk_id == twice.chunk_id]
    assert not left and len(gone) > 1
    assert course.left() == (bytes_before - len(gone) * LENGTH, moves_before - len(gone))
    fleet.run(number)  # What fell out is looked for anew.
    assert fleet.job(number).phase == DONE and not fleet.outside()


def test_steps_that_all_wait_for_nothing_are_given_up_after_a_while() -> None:
    fleet = uneven()
    number = fleet.begin()
    fleet.suspect = {1, 3, 5}
    for _ in range(int(STUCK_S) + 5):
        fleet.tick()
    assert fleet.job(number).phase == RUNNING and not fleet.job(number).moves
    fleet.suspect = set()
    fleet.run(number)
    assert not fleet.outside()


def test_the_steps_that_are_played_ahead_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance_course, "STEPS_MAX", 5)
    fleet = uneven()
    plan, _ = foreseen(fleet)
    number = fleet.begin(moves_max=2)
    most = 0
    for _ in range(300):
        fleet.tick()
        course = fleet.cursors.rebalance.course
        most = max(most, len(course) if course is not None else 0)
        if fleet.job(number).phase != RUNNING:
            break
    assert 3 <= most <= 5 and fleet.job(number).moves == plan.move_count


def test_a_play_that_remembers_no_more_arrivals_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance_ahead, "_ARRIVED_MAX", 3)
    fleet = uneven()
    number = fleet.begin()
    fleet.run(number)
    assert fleet.job(number).phase == DONE and not fleet.outside()


def test_a_copy_takes_more_on_its_disk_than_its_bytes() -> None:
    assert Movable(ChunkId(1), LENGTH, 3, "spread", ()).room == LENGTH + SLOT_HEAD_BYTES == ROOM
    fleet = uneven()
    fleet.begin()
    fleet.apply(fleet.plan(plan_rebalance))
    with fleet.tables.view() as view:
        traffic = Traffic(view, Scene(view, fleet.seen()), 8192)
    assert set(traffic.lacking.values()) <= {ROOM * count for count in range(1, 60)}
    assert sum(traffic.going.values()) == sum(traffic.lacking.values())


def test_a_deletion_that_was_answered_is_no_room_that_is_still_to_come() -> None:
    fleet = uneven()
    fleet.deaf = {1, 3, 5}
    fleet.begin(moves_max=1)
    found: list[tuple[ChunkId, Chunk]] = []
    while not found:
        fleet.tick()
        with fleet.tables.view() as view:
            found = [one for one in view.busy_chunks(ChunkId(0), 100) if one[1].deleting]
    [(chunk_id, chunk), *others] = found
    assert not others
    with fleet.tables.view() as view:
        before = Traffic(view, Scene(view, fleet.seen()), 8192)
        order = chunk.deleting[0]
        fleet.deleted = {(chunk_id, order.server_id, order.order_index)}
        after = Traffic(view, Scene(view, fleet.seen()), 8192)
    assert sum(before.freeing.values()) == ROOM and before.unfreed == 1
    assert not sum(after.freeing.values()) and not after.unfreed


def test_why_a_disk_stays_too_empty_is_said_of_that_disk() -> None:
    large = Fleet(server_count=3, racks=RACKS, totals={1: 600, 2: 60, 3: 60, 4: 60})
    large.dead = {4}
    for _ in range(30):
        large.chunk((1, 2, 3))
    [row] = [row for row in foreseen(large)[0].rows_of_disks() if row.name == "cs1"]
    assert row.outside == HELD
    # One copy of each chunk has to stay in rack r1, where cs1 is alone.
    fleet = Fleet(server_count=4, totals=dict.fromkeys(range(1, 5), 60))
    fleet.tables.enroll(2, rack="r2")
    for _ in range(30):
        fleet.chunk((1, 3, 4))
    rows = {row.name: row.outside for row in foreseen(fleet, 0.03)[0].rows_of_disks()}
    assert rows["cs2"] == f"{HELD}, or {RULE}"
    assert rows["cs1"] == NO_TARGET


def test_a_wait_for_deletions_is_told_only_if_it_lasts() -> None:
    fleet = uneven()
    number = fleet.begin()
    waits = []
    while fleet.job(number).phase == RUNNING:
        fleet.tick()
        waits.append(fleet.cursors.jobs.of(number).waits)
    assert UNFREED not in waits
    assert STUCK not in fleet.said(number)[-1]


def test_how_much_there_is_to_move_does_not_change_on_the_way() -> None:
    fleet = uneven()
    plan, _ = foreseen(fleet)
    number = fleet.begin(moves_max=4)
    while True:
        fleet.tick()
        job = fleet.job(number)
        if job.phase != RUNNING:
            break
        left_bytes, left_moves = fleet.cursors.jobs.of(number).after(job.moved_bytes, job.moves)
        assert job.moved_bytes + left_bytes == plan.moved_bytes
        assert job.moves + left_moves == plan.move_count


def test_while_a_server_is_silent_a_new_leader_says_that_it_waits_to_know_who_stays() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=4)
    fleet.tick()
    fleet.cursors, fleet.suspect = Cursors(), {2}
    fleet.tick()
    assert "fell silent a moment ago" in fleet.cursors.jobs.of(number).waits


def test_a_new_leader_says_what_is_left_once_it_has_looked_and_nothing_before() -> None:
    fleet = uneven()
    fleet.deaf = {1, 3, 5}
    number = fleet.begin(moves_max=4)
    for _ in range(6):
        fleet.tick()
    moved = fleet.job(number).moves
    assert moved
    fleet.cursors = Cursors()
    fleet.tick()  # Deletions are still under way: it does not know yet what lies where.
    assert fleet.cursors.rebalance.course is None
    assert fleet.cursors.jobs.of(number).left_bytes == -1
    fleet.deaf = set()
    for _ in range(3):
        fleet.tick()
    left = fleet.cursors.jobs.of(number).left_moves
    assert 0 < left < 60 and fleet.cursors.rebalance.course is not None
    fleet.run(number)


def test_the_rate_under_a_new_leader_is_that_from_its_first_move_on() -> None:
    fleet = uneven(total=360, chunks=240)
    number = fleet.begin(moves_max=4)
    fleet.unheard = {2}
    for _ in range(4):  # Not yet so long that the rate begins anew whatever it was.
        fleet.tick()
    fleet.unheard = set()
    for _ in range(3):
        fleet.tick()
    job = fleet.job(number)
    assert fleet.cursors.jobs.bytes_per_s(number) >= 0.6 * job.moved_bytes / 3


def test_a_play_that_finds_no_step_for_long_goes_on_to_its_end() -> None:
    fleet = Fleet(server_count=6, racks=RACKS, totals=dict.fromkeys(range(1, 7), 160))
    refused = [fleet.chunk((1, 3, 5)) for _ in range(60)]
    for _ in range(60):
        fleet.chunk((1, 3, 5))
    fleet.resting = {(chunk_id, server) for chunk_id in refused for server in (2, 4, 6)}
    plan, _ = foreseen(fleet)
    fleet.limits = PlanLimits(rows=4)
    number = fleet.begin()
    fleet.run(number, 1500)
    assert fleet.job(number).moves == plan.move_count > 0


@pytest.mark.parametrize("wait", ["paused", "outside its window", "held"])
def test_a_time_in_which_the_job_waits_is_none_of_looks_in_vain(wait: str) -> None:
    fleet = uneven()
    fleet.suspect = {1, 3, 5}  # Nothing can be taken from them now.
    number = fleet.begin(window="12:00-13:00")
    for _ in range(15):
        fleet.tick()
    if wait == "paused":
        fleet.set_phase(number, PAUSED)
    fleet.day_minute = 0 if wait == "outside its window" else fleet.day_minute
    fleet.hold = "most servers are dead" if wait == "held" else ""
    fleet.tick()
    fleet.now_s += 3600.0
    fleet.tick()
    if wait == "paused":
        fleet.set_phase(number, RUNNING)
    fleet.day_minute, fleet.hold = 12 * 60, ""
    for _ in range(8):
        fleet.tick()
    assert fleet.job(number).phase == RUNNING
    fleet.suspect = set()
    fleet.run(number)
    assert fleet.job(number).moves and not fleet.outside()


def test_after_a_pause_nothing_goes_that_what_came_meanwhile_made_pointless() -> None:
    fleet = uneven(total=200, chunks=100)
    number = fleet.begin(moves_max=1)
    for _ in range(4):
        fleet.tick()
    course = course_of(fleet)
    fleet.set_phase(number, PAUSED)
    fleet.rest()
    fleet.other_use = {2: 60, 4: 60, 6: 60}
    fleet.now_s += 600.0
    fleet.set_phase(number, RUNNING)
    begun = course.begun
    fleet.tick()
    assert fleet.cursors.rebalance.course is not course and course.begun == begun


def test_a_pause_in_which_nothing_came_changes_nothing() -> None:
    fleet = uneven()
    plan, _ = foreseen(fleet)
    number = fleet.begin(moves_max=2)
    for _ in range(4):
        fleet.tick()
    course = course_of(fleet)
    fleet.set_phase(number, PAUSED)
    fleet.tick()
    fleet.now_s += 600.0
    fleet.set_phase(number, RUNNING)
    fleet.tick()
    assert fleet.cursors.rebalance.course is course
    fleet.run(number)
    assert fleet.job(number).moves == plan.move_count


def test_a_course_is_let_go_with_its_job() -> None:
    fleet = uneven()
    number = fleet.begin(moves_max=1)
    fleet.tick()
    assert len(course_of(fleet))
    fleet.set_phase(number, CANCELLED)
    fleet.tick()
    assert fleet.cursors.rebalance.course is None


class _Counted(Balance):
    """A balance that counts how often it is looked at a disk."""

    looks = 0

    def over(self, disk: Disk) -> bool:
        self.looks += 1
        return super().over(disk)


def many_disks() -> _Counted:
    """Return 600 disks of which one is too full, and no other lies outside."""
    disks, spots = [], {}
    for number in range(1, 51):
        name, server_id = f"cs{number}", ServerId(number)
        spots[server_id] = Spot(f"r{number % 10}", f"m{number}")
        for disk in range(12):
            used = 800_000 if number == 1 and not disk else 500_000 + disk
            where = (f"r{number % 10}", f"m{number}")
            disks.append(Disk(server_id, DiskId(disk + 1), name, *where, 1_000_000, used))
    return _Counted(disks, spots, 0.05)


def test_in_what_words_a_trouble_is_told_ends_no_course() -> None:
    balance = many_disks()
    disk = next(iter(balance.disks.values()))
    disk.trouble = "is suspect (no heartbeat for 4 s)"
    course = Course(balance)
    for silent in range(5, 30):
        disk.trouble = f"is suspect (no heartbeat for {silent} s)"
        assert not course.astray(balance, float(silent))
    disk.trouble = ""
    assert not course.astray(balance, 30.0)
    assert course.astray(balance, 30.0 + ASTRAY_S)


def test_a_look_for_the_full_disks_does_not_look_at_all_others() -> None:
    balance = many_disks()
    assert [one.used for one in balance.sources()] == [800_000]
    assert balance.looks < 10
    assert not balance.sources({(ServerId(1), DiskId(1))})
