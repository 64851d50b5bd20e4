"""Sparse chunks are compacted a few at a time, after repair, by holders whose copies are good."""

from __future__ import annotations

import pytest
from punch_house import PunchHouse

from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.limits import BLOCK_BYTES, COMPACTION_RANGES_MAX, KIB, MIB
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.planners.compaction import (
    AT_ONCE,
    NO_HOLDER,
    live_ranges,
    plan_compaction,
)
from gfs_ha.master.planners.garbage_seen import GarbageSeen
from gfs_ha.master.planners.garbage_walk import REST_MIN_S
from gfs_ha.master.planners.plan import Plan, PlanLimits, Seen
from gfs_ha.master.planners.seen import Answered, RepairSeen
from gfs_ha.master.state.garbage_commands import BeginCompaction, EndCompaction
from gfs_ha.protocol.control import CompactChunk, OpenReplica
from gfs_ha.protocol.metadata import Extent, FinishChunk, ReleaseChunks

SERVERS = (1, 2, 3, 4)
PIECE = 16 * KIB


class House(PunchHouse):
    """Chunks of which the first 16 KiB of each block live, and servers that beat."""

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.limits = PlanLimits()
        self.dead: set[int] = set()
        self.copies_lacking = 0
        self.copies_unplaced = 0  # Of these.
        self.compacted: dict[Answered, str] = {}
        self.facts: dict[str, object] = {}
        self.sparse = [self.chunk(number) for number in range(count)]
        self.look()

    def chunk(self, number: int, pieces: int = 16) -> ChunkId:
        chunk_id: ChunkId = self.tables.chunk(self.session, (1, 2, 3)).chunk_id
        self.tables.do(FinishChunk(chunk_id, MIB, 5, (1, 2, 3)), self.session)
        for piece in range(pieces):
            extents = (Extent(0, chunk_id, piece * BLOCK_BYTES, PIECE, 7),)
            self.publish(f"/f{number}-{piece}", extents, PIECE)
        self.tables.do(ReleaseChunks((chunk_id,)), self.session)
        return chunk_id

    def look(self) -> None:
        """Have a round over all chunks find the sparse ones."""
        self.apply(self.plan(wanted=True))
        while self.cursors.dead_blocks.walking:
            self.apply(self.plan())

    def compact(self) -> Plan:
        states = {ServerId(one): DEAD if one in self.dead else LIVE for one in SERVERS}
        settled = frozenset(one for one, state in states.items() if state == LIVE)
        facts = {"states": states, "settled": settled, **self.facts}
        repair = RepairSeen(**facts)  # type: ignore[arg-type]
        garbage = GarbageSeen(compacted=dict(self.compacted))
        self.cursors.queue.found.copies = self.copies_lacking
        self.cursors.queue.found.unplaced_copies = self.copies_unplaced
        self.cursors.queue.rounds = 1
        with self.tables.view() as view:
            seen = Seen(self.now_s, 900.0, {}, repair=repair, garbage=garbage)
            return plan_compaction(view, seen, self.limits, self.cursors)

    def index(self, chunk_id: ChunkId) -> LogIndex:
        return self.row(chunk_id).compact_index


def test_a_sparse_chunk_is_compacted_by_a_holder_until_it_says_how_it_ended() -> None:
    house = House()
    (chunk_id,) = house.sparse
    made = house.compact()
    sealed = house.row(chunk_id).sealed_index
    assert made.proposals == [BeginCompaction(chunk_id, sealed, 1)] and not made.orders
    house.apply(made)
    made = house.compact()
    ((server_id, order),) = made.orders
    assert server_id == 1 and isinstance(order, CompactChunk) and not made.proposals
    assert order.order_index == house.index(chunk_id)
    assert order.ranges == tuple((piece * BLOCK_BYTES, PIECE) for piece in range(16))
    house.compacted = {(chunk_id, ServerId(1), order.order_index): "DiskFull: no room"}
    made = house.compact()
    assert made.proposals == [EndCompaction(chunk_id, order.order_index, "DiskFull: no room")]
    house.apply(made)
    assert house.compact().empty, "not again at once"
    for pause_s in (REST_MIN_S, 2 * REST_MIN_S):
        house.now_s += pause_s - 1
        assert house.compact().empty
        house.now_s += 2
        made = house.compact()
        assert made.proposals == [BeginCompaction(chunk_id, sealed, 1)]
        house.apply(made)
        house.compacted = {(chunk_id, ServerId(1), house.index(chunk_id)): "no room again"}
        house.apply(house.compact())


def test_a_new_leader_goes_on_with_the_same_order() -> None:
    house = House()
    house.apply(house.compact())
    (before,) = house.compact().orders
    house.another_leader()
    house.facts = {"young": True, "states": {}}
    assert house.compact().orders == [before]


def test_a_job_whose_server_is_lost_or_holds_the_chunk_no_more_is_ended() -> None:
    house = House()
    (chunk_id,) = house.sparse
    house.apply(house.compact())
    house.dead = {1}
    index = house.index(chunk_id)
    assert house.compact().proposals[0] == EndCompaction(chunk_id, index, NO_HOLDER)
    house.dead = set()
    house.lose(chunk_id, 1)
    made = house.compact()
    assert made.proposals[0] == EndCompaction(chunk_id, index, NO_HOLDER)
    house.apply(made)
    assert house.row(chunk_id).compactor == 0


def test_few_run_at_once_and_one_on_each_server() -> None:
    house = House(count=6)
    made = house.compact()
    servers = [one.server_id for one in made.proposals if isinstance(one, BeginCompaction)]
    assert sorted(servers) == [1, 2, 3] and len(servers) <= AT_ONCE
    house.apply(made)
    assert not house.compact().proposals


@pytest.mark.parametrize("reason", ["young", "hold", "lacking", "listed"])
def test_nothing_begins_while_it_is_not_the_time(reason: str) -> None:
    house = House()
    (chunk_id,) = house.sparse
    if reason == "young":
        house.facts = {"young": True}
    elif reason == "hold":
        house.facts = {"hold": "most servers are dead"}
    elif reason == "lacking":
        house.copies_lacking = 1
    else:
        listed = OpenReplica(chunk_id, house.row(chunk_id).birth, 1, MIB, "damaged")
        house.facts = {"listed": {one: {chunk_id: listed} for one in SERVERS}}
    assert house.compact().empty


def test_copies_that_no_server_can_take_hold_up_no_compaction() -> None:
    house = House()
    house.copies_lacking, house.copies_unplaced = 9, 8
    assert house.compact().empty, "one copy is to be made"
    house.copies_unplaced = 9
    assert not house.compact().empty


def test_what_is_half_alive_or_would_win_little_or_lies_in_many_parts_stays_as_it_is() -> None:
    house = House(count=0)
    house.put("/dense", MIB)
    house.cut("/dense", 0, 3 * MIB // 4)
    house.chunk(0, pieces=5)  # 240 KiB would be won; all other blocks go in place.
    house.put("/many", MIB)
    step = MIB // (COMPACTION_RANGES_MAX + 2)
    for number in range(COMPACTION_RANGES_MAX + 1):
        house.copy("/many", number * step, number * step + 9, f"/m{number}")
    house.remove("/many")
    house.reap()
    house.look()
    assert house.cursors.dead_blocks.found.sparse_count == 2
    assert house.compact().empty


def test_ranges_are_joined_where_they_touch() -> None:
    assert live_ranges([]) == ()
    assert live_ranges([(0, 10), (10, 5), (12, 2), (20, 5), (20, 9)]) == ((0, 15), (20, 9))
    assert live_ranges((n * 2, 1) for n in range(COMPACTION_RANGES_MAX + 1)) is None
