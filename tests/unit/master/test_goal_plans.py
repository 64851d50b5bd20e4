"""Goals of chunks that are to fit what files want: those that wait do not keep others waiting."""

from __future__ import annotations

import pytest
from repair_house import DIGEST, LENGTH, House

from gfs_ha.ids import ChunkId
from gfs_ha.master.planners import goals as planned
from gfs_ha.master.planners.goals import plan_goals
from gfs_ha.master.state.commands import FitGoals
from gfs_ha.protocol.metadata import FinishChunk
from gfs_ha.protocol.policy import SetReplication

FEW = 4


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have steps and looks filled by a few chunks."""
    monkeypatch.setattr(planned, "CHUNKS_PER_STEP", FEW)
    monkeypatch.setattr(planned, "CHUNKS_PER_LOOK", 2 * FEW)


def wants_one(house: House, chunk_id: int) -> ChunkId:
    """Return a chunk whose only file wants one copy from now on."""
    house.file(chunk_id, f"/f{chunk_id}")
    house.tables.do(SetReplication(f"/f{chunk_id}", 1), house.session)
    return ChunkId(chunk_id)


def waiting(house: House, count: int) -> list[ChunkId]:
    opened = [house.tables.chunk(house.session, (1, 2, 3)).chunk_id for _ in range(count)]
    return [wants_one(house, one) for one in opened]


def rest(house: House) -> int:
    """Go on until nothing is proposed in as many looks as there can be; return how many steps."""
    steps = quiet = 0
    while quiet < 10:
        made = house.plan(plan_goals)
        house.apply(made)
        steps, quiet = steps + (not made.empty), 0 if not made.empty else quiet + 1
        assert steps < 100, "it comes to no end"
    return steps


@pytest.mark.parametrize("before", [1, FEW, 2 * FEW, 5 * FEW])
def test_chunks_that_are_not_sealed_yet_keep_no_later_one_waiting(before: int) -> None:
    house = House()
    open_ones = waiting(house, before)
    sealed = [wants_one(house, house.chunk((1, 2, 3))) for _ in range(2)]
    last_ones = waiting(house, before)
    rest(house)
    assert [house.row(one).goal for one in sealed] == [1, 1]
    assert {house.row(one).goal for one in open_ones + last_ones} == {3}
    for one in reversed(open_ones + last_ones):
        house.tables.do(FinishChunk(one, LENGTH, DIGEST, (1, 2, 3)), house.session)
    rest(house)
    assert {house.row(one).goal for one in open_ones + last_ones} == {1}


def test_while_all_wait_nothing_is_proposed() -> None:
    house = House()
    waiting(house, 3 * FEW)
    rest(house)
    assert all(house.plan(plan_goals).empty for _ in range(10))


def test_a_step_of_an_older_release_begins_with_the_first_chunk() -> None:
    assert FitGoals(100).start == 0
