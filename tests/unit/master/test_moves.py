"""Moves of jobs: one copy more, then the one that was to leave goes, whatever happens meanwhile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from repair_house import House

from gfs_ha.master.planners.copies import JOB_OVER, plan_copies
from gfs_ha.master.planners.plan import Cursors
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.state.commands import EndCopy, PlaceCopy
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.jobs import get_job
from gfs_ha.protocol.jobs import CANCELLED, DONE, PAUSED, REBALANCE, RUNNING, JobOptions


def begun(house: House) -> int:
    return house.tables.do(StartJob(REBALANCE, JobOptions())).number


def move(house: House, chunk_id: int, number: int, target: int, leaves: int) -> None:
    row = house.row(chunk_id)
    seen = len(row.holders) + len(row.copying)
    with house.tables.view() as view:
        server = view.server(target)
        assert server is not None
    place = (target, server.disks[0].disk_id, seen)
    house.tables.do(PlaceCopy(chunk_id, row.sealed_index, *place, job=number, leaves=leaves))


def moved_bytes(house: House, number: int) -> int:
    with house.tables.view() as view:
        job = get_job(view, number)
    assert job is not None
    return job.moved_bytes


def test_the_holder_that_was_named_goes_and_no_other_one() -> None:
    for leaves in (1, 2, 3):
        house = House(server_count=6)
        chunk_id = house.chunk((1, 2, 3))
        number = begun(house)
        move(house, chunk_id, number, 5, leaves)
        house.rest()
        assert house.good(chunk_id) == {1, 2, 3, 5} - {leaves}
        assert moved_bytes(house, number) == house.row(chunk_id).length
        assert house.row(chunk_id).leaving == ()


def test_nothing_goes_before_the_copy_counts() -> None:
    house = House(server_count=6)
    chunk_id = house.chunk((1, 2, 3))
    move(house, chunk_id, begun(house), 5, 1)
    house.deaf = {5}
    for _ in range(5):
        house.tick()
    assert house.good(chunk_id) == {1, 2, 3} and house.plan(plan_surplus).empty


def test_a_cancelled_job_gives_its_copies_up_and_a_paused_one_ends_them() -> None:
    for phase, holders in ((PAUSED, {2, 3, 5}), (CANCELLED, {1, 2, 3})):
        house = House(server_count=6)
        chunk_id, number = house.chunk((1, 2, 3)), begun(house)
        move(house, chunk_id, number, 5, 1)
        house.tables.do(SetJobPhase(number, RUNNING, phase))
        house.rest()
        assert house.good(chunk_id) == holders
        assert not house.row(chunk_id).copying


def test_a_copy_that_is_lacking_by_now_is_made_although_its_job_has_ended() -> None:
    house = House(server_count=6)
    chunk_id, number = house.chunk((1, 2, 3)), begun(house)
    move(house, chunk_id, number, 5, 1)
    house.tables.do(SetJobPhase(number, RUNNING, CANCELLED))
    house.dead = {2}
    made = house.plan(plan_copies)
    assert made.proposals == [] and [one for one, _ in made.orders] == [5]
    house.rest()
    assert house.good(chunk_id) == {1, 3, 5}


def test_the_end_of_a_job_is_told_as_the_reason() -> None:
    house = House(server_count=6)
    chunk_id, number = house.chunk((1, 2, 3)), begun(house)
    move(house, chunk_id, number, 5, 1)
    house.tables.do(SetJobPhase(number, RUNNING, DONE))
    (ended,) = house.plan(plan_copies).proposals
    assert isinstance(ended, EndCopy) and ended.reason == JOB_OVER


def test_of_a_chunk_that_lost_another_copy_none_goes() -> None:
    house = House(server_count=6)
    chunk_id, number = house.chunk((1, 2, 3)), begun(house)
    move(house, chunk_id, number, 5, 1)
    house.damaged = {(chunk_id, 2)}
    house.deaf = {6, 4, 2}  # No other one is made for now.
    for _ in range(6):
        house.tick()
    assert house.good(chunk_id) == {1, 3, 5}
    house.deaf = set()
    house.rest()
    assert len(house.good(chunk_id)) == 3


EVENTS = st.lists(
    st.sampled_from(
        ("tick", "tick", "elect", "move", "pause", "resume", "cancel", "die", "back", "rot", "deaf")
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_whatever_happens_meanwhile_no_chunk_lacks_a_copy_in_the_end(events, chance) -> None:
    house = House(server_count=8)
    chunks = [house.chunk((1, 2, 3)), house.chunk((1, 2, 5)), house.chunk((3, 4, 7))]
    number = begun(house)
    for event in events:
        happen(house, event, (chunks, number), chance)
        for chunk_id in chunks:
            assert house.good(chunk_id) or house.dead, "the last good copy is gone"
            assert len(house.row(chunk_id).holders) >= 1
    house.dead, house.deaf = set(), set()
    house.resting.clear()
    elect(house)
    house.rest(300)
    for chunk_id in chunks:
        row = house.row(chunk_id)
        assert len(house.good(chunk_id)) == 3
        assert (len(row.replicas), row.leaving, row.copying, row.deleting) == (3, (), (), ())
    assert sum(len(held) for held in house.on_disk.values()) == 9


def happen(house: House, event: str, known, chance) -> None:
    chunks, number = known
    if event == "tick":
        house.tick()
    elif event == "elect":
        elect(house)
    elif event == "move":
        row = house.row(chunk_id := chance.choice(chunks))
        try:
            move(house, chunk_id, number, chance.randint(1, 8), chance.choice(row.holders))
        except AssertionError:
            pass  # It has a place there, or the job does not run.
    elif event in ("pause", "resume", "cancel"):
        seen, to = {
            "pause": (RUNNING, PAUSED),
            "resume": (PAUSED, RUNNING),
            "cancel": (RUNNING, CANCELLED),
        }[event]
        try:
            house.tables.do(SetJobPhase(number, seen, to))
        except AssertionError:
            pass
    elif event == "die":
        house.dead = {chance.randint(1, 8)}
    elif event == "back":
        house.dead = set()
    elif event == "deaf":
        house.deaf = set() if house.deaf else {chance.randint(1, 8)}
    elif event == "rot":
        rot(house, chance.choice(chunks), chance)


def rot(house: House, chunk_id: int, chance) -> None:
    """Damage one of several good copies."""
    good = sorted(house.good(chunk_id))
    if len(good) == 3 and not house.dead:
        house.damaged.add((chunk_id, chance.choice(good)))


def elect(house: House) -> None:
    house.cursors = Cursors()
    house.copied.clear()
    house.failed.clear()
    house.running.clear()
