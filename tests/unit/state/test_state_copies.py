"""The copies of sealed chunks: placed, confirmed, given up, lost, dropped; never the last good."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from state_driver import Driver

from gfs_ha.ids import ChunkId
from gfs_ha.limits import SPARE_PLACES_MAX
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndCopy,
    LoseHolder,
    PlaceCopy,
    ReplicasDeleted,
    SetRepairBudget,
)
from gfs_ha.master.state.copies import USUAL_BUDGET, budget_report
from gfs_ha.master.state.records import Chunk, PlaceOrder, RepairBudget, Replica
from gfs_ha.protocol.metadata import FinishChunk, ReleaseChunks

L, D = 1000, 77


class House:
    """One chunk sealed on servers 1, 2, 3 (or the given holders), in a cluster of many servers."""

    def __init__(self, holders: tuple[int, ...] = (1, 2, 3), server_count: int = 6) -> None:
        self.driver = Driver(server_count=server_count)
        self.session = self.driver.open_session()
        self.id: ChunkId = self.driver.chunk(self.session).chunk_id
        self.driver.ok(FinishChunk(self.id, L, D, holders), self.session)
        self.sealed = self.row.sealed_index

    @property
    def row(self) -> Chunk:
        with self.driver.view() as view:
            chunk = view.chunk(self.id)
        assert chunk is not None
        return chunk

    @property
    def index(self) -> int:
        return self.driver.index

    def place(self, server: int, **changes: int) -> int:
        self.driver.ok(PlaceCopy(self.id, self.sealed, server, 100 + server, self.seen))
        return self.index

    @property
    def seen(self) -> int:
        return len(self.row.holders) + len(self.row.copying)

    def confirm(self, server: int, order: int = 0) -> ConfirmCopy:
        return ConfirmCopy(self.id, self.sealed, server, 100 + server, L, D, order)

    def lose(self, server: int) -> LoseHolder:
        return LoseHolder(self.id, self.sealed, server, "damaged")

    def drop(self, server: int, *evidence: int) -> DropReplica:
        return DropReplica(self.id, self.sealed, server, 100 + server, evidence)


def indexed(house: House) -> tuple[bool, bool, bool]:
    """Return whether the chunk is listed as below its goal, busy, surplus."""
    with house.driver.view() as view:
        lists = (view.under_goal(0, 9), view.busy_chunks(0, 9), view.surplus_chunks(0, 9))
    under, busy, surplus = (bool(found) for found in lists)
    return under, busy, surplus


def test_a_copy_is_placed_under_its_index_and_counts_once_it_is_confirmed() -> None:
    house = House(holders=(1, 2))
    assert indexed(house) == (True, False, True)  # Server 3 has a place that does not count.
    index = house.place(4)
    assert house.row.copying == (PlaceOrder(4, index, fresh=True),)
    assert house.row.holders == (1, 2) and Replica(4, 104) in house.row.replicas
    assert indexed(house) == (True, True, True)
    house.driver.ok(house.confirm(4, index))
    assert house.row.holders == (1, 2, 4) and not house.row.copying
    assert indexed(house) == (False, False, True)
    house.driver.ok(house.confirm(4, index))  # Twice does no harm.
    house.driver.check()


def test_a_copy_onto_a_place_that_does_not_count_heals_it() -> None:
    house = House(holders=(1, 2))
    index = house.place(3)
    assert house.row.copying == (PlaceOrder(3, index, fresh=False),)
    assert len(house.row.replicas) == 3
    house.driver.ok(EndCopy(house.id, 3, index, "its disk is full"))
    assert len(house.row.replicas) == 3, "what lay there before stays"
    house.driver.ok(house.confirm(3, house.place(3)))
    assert house.row.holders == (1, 2, 3) and indexed(house) == (False, False, False)
    house.driver.check()


def test_a_copy_that_was_given_up_leaves_no_place_and_cannot_be_confirmed() -> None:
    house = House(holders=(1, 2))
    first = house.place(4)
    house.driver.ok(EndCopy(house.id, 4, first, "no answer"))
    assert len(house.row.replicas) == 3 and not house.row.copying
    assert house.driver.error(house.confirm(4, first)) == "StaleCommand"
    second = house.place(4)
    assert house.driver.error(house.confirm(4, first)) == "StaleCommand"
    assert house.driver.error(EndCopy(house.id, 4, first, "late")) == "StaleCommand"
    house.driver.ok(house.confirm(4, second))
    house.driver.check()


@pytest.mark.parametrize("server", [1, 4])
def test_a_server_that_has_a_copy_or_an_order_gets_no_other(server: int) -> None:
    house = House(holders=(1, 2))
    house.place(4)
    command = PlaceCopy(house.id, house.sealed, server, 100 + server, house.seen)
    assert house.driver.error(command) == "StaleCommand"
    house.driver.check()


def test_a_copy_that_does_not_fit_is_refused() -> None:
    house = House(server_count=3 + SPARE_PLACES_MAX + 1)
    assert house.driver.error(PlaceCopy(house.id, house.sealed, 4, 105, 3)) == "UnknownServer"
    assert house.driver.error(PlaceCopy(house.id, house.sealed, 99, 199, 3)) == "UnknownServer"
    assert house.driver.error(PlaceCopy(house.id, house.sealed + 1, 4, 104, 3)) == "StaleCommand"
    assert house.driver.error(PlaceCopy(999, house.sealed, 4, 104, 3)) == "UnknownChunk"
    for seen in (2, 4):
        late = PlaceCopy(house.id, house.sealed, 4, 104, seen)
        assert house.driver.error(late) == "StaleCommand", "placed on news that are over"
    still_open = house.driver.chunk(house.session).chunk_id
    assert house.driver.error(PlaceCopy(still_open, 0, 4, 104, 0)) == "StaleCommand"
    for server in range(4, 4 + SPARE_PLACES_MAX):
        house.place(server)
    last = 4 + SPARE_PLACES_MAX
    assert house.driver.error(PlaceCopy(house.id, house.sealed, last, 100 + last, house.seen)) == (
        "LimitExceeded"
    )
    house.driver.check()


def test_only_the_bytes_of_the_seal_are_confirmed() -> None:
    house = House(holders=(1, 2))
    index = house.place(4)
    for length, digest, disk in ((L - 1, D, 104), (L, D + 1, 104), (L, D, 105)):
        wrong = ConfirmCopy(house.id, house.sealed, 4, disk, length, digest, index)
        assert house.driver.error(wrong) == "StaleCommand"
    assert house.driver.error(house.confirm(4)) == "StaleCommand"  # It has an order.
    house.driver.ok(house.confirm(3))  # Adopted: it was there all the time.
    assert house.row.holders == (1, 2, 3)
    house.driver.check()


def test_the_last_holder_is_never_lost() -> None:
    house = House()
    house.driver.ok(house.lose(1))
    house.driver.ok(house.lose(2))
    assert house.driver.error(house.lose(3)) == "StaleCommand"
    assert house.driver.error(house.lose(1)) == "StaleCommand"
    assert house.row.holders == (3,) and len(house.row.replicas) == 3
    assert indexed(house) == (True, False, True)
    house.driver.check()


def test_a_copy_is_dropped_only_with_as_many_others_as_the_goal() -> None:
    house = House()
    house.driver.ok(house.confirm(4, house.place(4)))
    for evidence in ((), (1, 2), (1, 2, 2), (1, 2, 5), (2, 3, 4, 4), (4, 2, 1, 9)):
        assert house.driver.error(house.drop(3, *evidence)) == "StaleCommand", evidence
    assert house.driver.error(house.drop(1, 1, 2, 3)) == "StaleCommand", "itself is no evidence"
    house.driver.ok(house.drop(1, 2, 3, 4))
    assert house.row.holders == (2, 3, 4)
    assert house.row.deleting == (PlaceOrder(1, house.index),)
    assert house.driver.error(house.drop(2, 1, 3, 4)) == "StaleCommand", "1 is being deleted"
    assert (
        house.driver.error(PlaceCopy(house.id, house.sealed, 1, 101, house.seen)) == "StaleCommand"
    )
    house.driver.check()


def test_a_dropped_place_is_forgotten_when_it_was_deleted_under_the_order_that_stands() -> None:
    house = House()
    house.driver.ok(house.confirm(4, house.place(4)))
    house.driver.ok(house.drop(1, 2, 3, 4))
    first = house.index
    house.driver.ok(house.confirm(1, first))  # Kept: it counts again.
    assert house.row.holders == (1, 2, 3, 4)
    house.driver.ok(ReplicasDeleted((), ((house.id, 1, first),)))
    assert house.row.holders == (1, 2, 3, 4), "late news of an order that was taken back"
    house.driver.ok(house.drop(1, 2, 3, 4))
    second = house.index
    house.driver.ok(house.drop(1, 2, 3, 4))  # Renewed: a newer order than any `keep`.
    house.driver.ok(ReplicasDeleted((), ((house.id, 1, second),)))
    assert house.row.deleting
    house.driver.ok(ReplicasDeleted((), ((house.id, 1, house.row.deleting[0].order_index),)))
    assert [one.server_id for one in house.row.replicas] == [2, 3, 4]
    assert indexed(house) == (False, False, False)
    house.driver.check()


def test_a_copy_that_the_tables_do_not_know_is_dropped_with_a_place_of_its_own() -> None:
    house = House()
    house.driver.ok(house.drop(5, 1, 2, 3))
    assert Replica(5, 105) in house.row.replicas and house.row.holders == (1, 2, 3)
    house.driver.ok(ReplicasDeleted((), ((house.id, 5, house.index),)))
    assert len(house.row.replicas) == 3
    house.driver.check()


def test_a_place_that_did_not_count_does_not_count_by_being_kept() -> None:
    house = House(holders=(1, 2))  # Server 3 came late: nobody knows how much it has.
    house.driver.ok(house.confirm(4, house.place(4)))
    house.driver.ok(house.drop(3, 1, 2, 4))
    assert house.row.deleting == (PlaceOrder(3, house.index, fresh=True),)
    house.driver.ok(house.drop(3, 1, 2, 4))
    order = house.index
    assert house.row.deleting == (PlaceOrder(3, order, fresh=True),), "renewed it is as late"
    assert house.driver.error(house.confirm(3, order)) == "StaleCommand"
    assert house.driver.error(EndCopy(house.id, 3, order - 1, "old news")) == "StaleCommand"
    house.driver.ok(EndCopy(house.id, 3, order, "kept"))
    assert house.row.holders == (1, 2, 4) and not house.row.deleting
    assert Replica(3, 103) in house.row.late
    house.driver.check()


def test_a_copy_that_counted_counts_again_when_it_is_kept() -> None:
    house = House()
    house.driver.ok(house.confirm(4, house.place(4)))
    house.driver.ok(house.drop(1, 2, 3, 4))
    order = house.index
    assert house.driver.error(EndCopy(house.id, 1, order, "kept")) == "StaleCommand"
    house.driver.ok(house.confirm(1, order))
    assert house.row.holders == (1, 2, 3, 4)
    house.driver.check()


def test_a_chunk_that_dies_takes_its_copies_orders_with_it() -> None:
    house = House()
    index = house.place(4)
    house.driver.ok(ReleaseChunks((house.id,)), house.session)
    assert house.row.state == "dead" and not house.row.copying and len(house.row.replicas) == 4
    assert house.driver.error(house.confirm(4, index)) == "StaleCommand"
    assert indexed(house) == (False, False, False)
    house.driver.check()


def test_the_budget_of_repair_is_written_down_within_bounds() -> None:
    house = House()
    house.driver.ok(SetRepairBudget(0, 50 << 20, 2, 100))
    with house.driver.view() as view:
        assert view.repair_budget() == RepairBudget(0, 50 << 20, 2, 100)
    assert house.driver.error(SetRepairBudget(-2, 1, 1, 1)) == "InvalidArgument"
    assert house.driver.error(SetRepairBudget(1, 1, 1, 1 << 20)) == "InvalidArgument"


def test_two_changes_of_the_budget_in_a_row_both_stand_whoever_looked_when() -> None:
    house = House()
    first = house.driver.ok(SetRepairBudget(copies=7))
    assert (first.copies, first.cluster_bytes_per_s) == (7, USUAL_BUDGET.cluster_bytes_per_s)
    second = house.driver.ok(SetRepairBudget(server_bytes_per_s=1 << 20))
    assert (second.copies, second.server_bytes_per_s) == (7, 1 << 20)
    with house.driver.view() as view:
        row = view.repair_budget()
        assert row is not None and budget_report(row) == second


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(0, 63)), max_size=40))
def test_whatever_is_proposed_a_copy_that_counts_is_left_and_the_tables_agree(
    steps: list[tuple[int, int, int]],
) -> None:
    house = House()
    for kind, server, bits in steps:
        row = house.row
        orders = {one.server_id: one.order_index for one in row.copying + row.deleting}
        index = orders.get(server, 0)
        evidence = tuple(one for one in range(1, 7) if bits >> (one - 1) & 1)
        before = set(row.holders)
        command = (
            PlaceCopy(house.id, house.sealed, server, 100 + server, house.seen),
            house.confirm(server, index),
            EndCopy(house.id, server, index, ""),
            house.lose(server),
            house.drop(server, *evidence),
            ReplicasDeleted((), ((house.id, server, index),)),
        )[kind]
        house.driver.do(command)
        after = house.row
        assert after.holders
        if kind == 4 and after.deleting != row.deleting:
            assert len(before - {server}) >= row.goal and len(after.holders) >= row.goal
    house.driver.check()
