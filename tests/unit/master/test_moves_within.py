"""A copy changes the disk of its server: it counts all the time, only its place is another (D6)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from drain_house import DrainHouse
from repair_house import DIGEST, LENGTH

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.tally import plan_tally
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndCopy,
    EnrolledDisk,
    EnrollServer,
    LeaderCommand,
    LoseHolder,
    PlaceCopy,
)
from gfs_ha.master.state.job_commands import SetJobPhase
from gfs_ha.master.state.records import Chunk, Replica
from gfs_ha.protocol.control import BucketListing, CopyReplica
from gfs_ha.protocol.jobs import DISK_DRAIN, DONE, RUNNING
from gfs_ha.protocol.tally import bucket_of, replica_hash

OLD, NEW = DiskId(103), DiskId(203)


class TwoDisks(DrainHouse):
    """Server 3 has two disks; a chunk lies on the first one."""

    def __init__(self, goal_servers: tuple[int, ...] = (1, 2, 3)) -> None:
        super().__init__(4)
        told = tuple(EnrolledDisk(one, 1 << 40) for one in (OLD, NEW))
        self.tables.do(EnrollServer("cs3", 0, "127.0.0.1", 7303, "r2", "h", 2, 1, told))
        self.number = self.chunk(goal_servers)

    @property
    def found(self) -> Chunk:
        return self.row(self.number)

    def place(self, disk: int = NEW, server: int = 3, leaves: int = 3, seen: int = 3) -> PlaceCopy:
        return PlaceCopy(self.number, self.found.sealed_index, server, disk, seen, 0, leaves)

    def refuses(self, command: LeaderCommand, code: str) -> None:
        with pytest.raises(AssertionError, match=code):
            self.tables.do(command)

    def confirm(self, disk: int = NEW) -> ConfirmCopy:
        (order,) = self.found.copying
        where = (self.number, self.found.sealed_index, 3, disk)
        return ConfirmCopy(*where, LENGTH, DIGEST, order.order_index)


def test_a_copy_counts_while_it_goes_to_another_disk_and_then_lies_there() -> None:
    house = TwoDisks()
    house.tables.do(house.place())
    assert house.found.holders == (1, 2, 3) and Replica(3, OLD) in house.found.replicas
    house.refuses(house.place(), "StaleCommand")
    before = house.found
    house.tables.do(house.confirm(OLD))
    assert house.found == before, "the old one counts, whatever is said of it"
    house.tables.do(house.confirm())
    assert house.found.holders == (1, 2, 3) and not house.found.copying and not house.found.leaving
    assert [one.disk_id for one in house.found.replicas] == [101, 102, NEW]


def test_one_that_is_given_up_stays_where_it_is() -> None:
    house = TwoDisks()
    house.tables.do(house.place())
    (order,) = house.found.copying
    house.tables.do(EndCopy(house.number, 3, order.order_index, "x"))
    assert house.found.holders == (1, 2, 3) and Replica(3, OLD) in house.found.replicas


def test_only_a_holder_moves_within_and_only_to_another_disk_of_its_own() -> None:
    house = TwoDisks()
    house.refuses(house.place(OLD), "StaleCommand")
    house.refuses(house.place(DiskId(102)), "UnknownServer")
    house.refuses(house.place(DiskId(104), server=4, leaves=4), "StaleCommand")
    house.refuses(house.place(DiskId(104), server=4, leaves=3), "StaleCommand")


def test_nothing_is_dropped_on_a_server_amid_such_a_move() -> None:
    house = TwoDisks()
    fourth = msgspec.structs.replace(house.place(DiskId(104), server=4), leaves=0)
    house.tables.do(fourth)
    (order,) = house.found.copying
    end = (LENGTH, DIGEST, order.order_index)
    house.tables.do(ConfirmCopy(house.number, house.found.sealed_index, 4, DiskId(104), *end))
    house.tables.do(house.place(seen=4))
    row = house.found
    drop = DropReplica(house.number, row.sealed_index, 3, OLD, (1, 2, 4))
    house.refuses(drop, "StaleCommand")


def test_what_counts_no_more_amid_the_move_counts_again_once_the_new_one_is_whole() -> None:
    house = TwoDisks()
    house.tables.do(house.place())
    house.tables.do(LoseHolder(house.number, house.found.sealed_index, 3, "its disk is lost"))
    assert house.found.holders == (1, 2)
    house.tables.do(house.confirm())
    assert house.found.holders == (1, 2, 3) and Replica(3, NEW) in house.found.replicas


def test_the_order_names_the_new_disk_and_the_server_itself_as_the_first_source() -> None:
    house = TwoDisks()
    house.tables.do(house.place())
    ((server, order),) = house.plan(plan_copies).orders
    assert server == 3 and isinstance(order, CopyReplica) and order.disk_id == NEW
    assert order.sources[0].server_id == 3
    house.rest()
    assert Replica(3, NEW) in house.found.replicas and not house.found.copying


@pytest.mark.parametrize("damaged", [False, True])
def test_a_row_that_names_the_wrong_disk_is_put_right(damaged: bool) -> None:
    house = TwoDisks()
    bucket = bucket_of(replica_hash(house.number, LENGTH))
    listing = BucketListing(NEW, bucket, ((house.number, LENGTH, damaged),))
    seen = house.seen()
    seen = replace(seen, repair=replace(seen.repair, listings=((ServerId(3), listing),)))
    with house.tables.view() as view:
        made = plan_tally(view, seen, house.limits, house.cursors)
    assert list(made.proposals) == ([] if damaged else [house.place()])


def test_what_was_moved_since_the_count_is_not_read_again_for_want_of_it_on_the_old_disk() -> None:
    house = TwoDisks()
    bucket = bucket_of(replica_hash(house.number, LENGTH))
    house.cursors.tally.members[ServerId(3), OLD] = {bucket: {house.number}}  # As it was counted.
    seen = house.seen()
    listings = ((ServerId(3), BucketListing(OLD, bucket, ())),)
    seen = replace(seen, repair=replace(seen.repair, listings=listings))

    def doubts() -> list[tuple[ChunkId, ServerId]]:
        with house.tables.view() as view:
            return list(plan_tally(view, seen, house.limits, house.cursors).doubts)

    assert doubts() == [(house.number, 3)]
    house.tables.do(house.place())
    house.tables.do(house.confirm())
    assert not doubts()


def without_new(house: TwoDisks) -> None:
    """The server starts again, without the disk to which the copy goes."""
    told = (EnrolledDisk(OLD, 1 << 40),)
    house.tables.do(EnrollServer("cs3", 0, "127.0.0.1", 7303, "r2", "h", 3, 1, told))


def test_no_copy_comes_to_lie_on_a_disk_that_its_server_came_back_without() -> None:
    house = TwoDisks()
    house.tables.do(house.place())
    confirmed = house.confirm()
    without_new(house)
    house.refuses(confirmed, "UnknownServer")
    assert Replica(3, OLD) in house.found.replicas
    order = house.found.copying[0].order_index
    house.copied = {(house.number, ServerId(3), order)}  # It said so before it started again.
    (ended,) = house.plan(plan_copies).proposals
    assert isinstance(ended, EndCopy)
    house.tables.do(ended)
    assert house.found.holders == (1, 2, 3) and not house.found.copying


def test_a_disk_is_not_called_empty_while_a_copy_is_to_come_to_it() -> None:
    house = TwoDisks()
    house.tables.do(house.place())
    number = house.begin(3, DISK_DRAIN, NEW)
    house.refuses(SetJobPhase(number, RUNNING, DONE), "StaleCommand")
    (order,) = house.found.copying
    house.tables.do(EndCopy(house.number, 3, order.order_index, "x"))
    house.tables.do(SetJobPhase(number, RUNNING, DONE))
    house.refuses(house.place(), "UnknownServer")
