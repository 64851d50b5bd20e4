"""Tallies compared: nothing is asked while they agree, and a difference only leads to proposals."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from repair_house import LENGTH, House

from gfs_ha.ids import ChunkId, DiskId, ServerId, StartId
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.plan import Plan, Seen
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.tally import RECHECK_S, plan_tally
from gfs_ha.master.planners.walk import NUMBERS, STREAK_S
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndCopy,
    EnrolledDisk,
    EnrollServer,
    LoseHolder,
    PlaceCopy,
)
from gfs_ha.master.state.records import Replica
from gfs_ha.master.state.server_mode_commands import SetServerMode
from gfs_ha.protocol.control import (
    BucketListing,
    CompareReplica,
    DeleteReplica,
    DiskFacts,
    OpenReplica,
)
from gfs_ha.protocol.fsck import AGREES, CHANGING, DIFFERS, NOT_COUNTED
from gfs_ha.protocol.metadata import ReleaseChunks
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE
from gfs_ha.protocol.tally import bucket_of, replica_hash


class Compared(House):
    """Servers that say what is sealed on their disks, and list buckets when they are asked."""

    def __post_init__(self) -> None:
        House.__post_init__(self)
        self.now_s = 1000.0
        self.asked: list[tuple[ServerId, DiskId, int]] = []
        self.starts: dict[ServerId, StartId] = {}
        self.disk_facts: dict[tuple[ServerId, DiskId], DiskFacts] = {}

    def tallies(self) -> dict[tuple[ServerId, DiskId], bytes]:
        found = {}
        for server in range(1, self.server_count + 1):
            numbers = [0] * 256
            for chunk_id in self.on_disk.get(server, ()):
                hashed = replica_hash(ChunkId(chunk_id), LENGTH)
                numbers[bucket_of(hashed)] ^= hashed
            found[(ServerId(server), DiskId(100 + server))] = NUMBERS.pack(*numbers)
        return found

    def listing(self, server: int, bucket: int) -> BucketListing:
        chunks = sorted(self.on_disk.get(server, ()))
        inside = [one for one in chunks if bucket_of(replica_hash(ChunkId(one), LENGTH)) == bucket]
        replicas = tuple((ChunkId(one), LENGTH, False) for one in inside)
        return BucketListing(DiskId(100 + server), bucket, replicas)

    def compared_seen(self) -> Seen:
        seen = self.seen()
        listings = tuple((server, self.listing(server, bucket)) for server, _, bucket in self.asked)
        self.asked = []
        repair = replace(seen.repair, tallies=self.tallies(), listings=listings)
        repair = replace(repair, starts=dict(self.starts), disks=self.disk_facts)
        return replace(seen, now_s=self.now_s, repair=repair)

    def compare(self) -> Plan:
        """Run the planner once, and answer what it asks with the next run."""
        self.now_s += 0.25
        with self.tables.view() as view:
            made = plan_tally(view, self.compared_seen(), self.limits, self.cursors)
        self.asked = made.listings
        return made

    def until_found(self, ticks: int = 40) -> Plan:
        for _ in range(ticks):
            made = self.compare()
            if made.proposals or made.orders or made.strays:
                return made
        raise AssertionError("the comparison finds nothing")


def quiet(house: Compared, ticks: int = 40) -> bool:
    return all(house.compare().empty for _ in range(ticks))


def test_nothing_is_asked_while_the_tallies_agree() -> None:
    house = Compared()
    for _ in range(30):
        house.chunk((1, 2, 3))
    assert quiet(house)
    walked = dict(house.cursors.tally.checked_s)
    assert len(walked) == 4 and quiet(house, 10)
    assert house.cursors.tally.checked_s == walked, "a disk of which nothing is new is not counted"
    house.now_s += RECHECK_S
    house.compare()
    assert house.cursors.tally.checked_s != walked


def test_a_missing_copy_is_asked_to_compare_itself_before_it_counts_no_more() -> None:
    house = Compared()
    chunks = [house.chunk((1, 2, 3)) for _ in range(5)]
    house.on_disk[2].discard(chunks[3])
    made = house.until_found()
    assert not made.proposals and made.doubts == [(chunks[3], 2)]
    [(server, order)] = made.orders
    assert server == 2 and isinstance(order, CompareReplica) and order.chunk_id == chunks[3]
    house.doubted = set(made.doubts)
    house.rest()
    assert house.good(chunks[3]) == {1, 3, 4}
    assert not any(isinstance(one, LoseHolder) for one in made.proposals)
    assert quiet(house)


def test_a_server_that_comes_back_with_an_old_tally_is_counted_anew_at_once() -> None:
    house = Compared()
    house.starts[ServerId(2)] = StartId(1)
    for _ in range(10):
        house.compare()  # It says that it has nothing, and nothing is right.
    house.chunk((1, 2, 3))
    house.on_disk[2].clear()  # Sealed, and lost before it said anything else.
    house.starts[ServerId(2)] = StartId(2)
    assert house.until_found().doubts


def test_many_missing_copies_are_all_found_some_buckets_at_a_time() -> None:
    house = Compared()
    chunks = [house.chunk((1, 2, 3)) for _ in range(40)]
    house.on_disk[2].clear()
    for _ in range(100):
        made = house.compare()
        house.doubted |= set(made.doubts)
        house.tick()
    assert all(house.good(chunk_id) == {1, 3, 4} for chunk_id in chunks)


def test_a_copy_that_nobody_knows_of_is_adopted_when_one_is_missing() -> None:
    house = Compared()
    chunk_id = house.chunk((1, 2))
    house.on_disk[4] = {chunk_id}
    made = house.until_found()
    [command] = made.proposals
    assert isinstance(command, PlaceCopy) and command.server_id == 4
    house.apply(made)
    house.rest()
    assert house.good(chunk_id) == {1, 2, 4} and quiet(house)


def test_a_copy_that_nobody_needs_is_dropped_with_evidence_and_then_deleted() -> None:
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    house.on_disk[4] = {chunk_id}
    made = house.until_found()
    [command] = made.proposals
    assert isinstance(command, DropReplica) and set(command.evidence) == {1, 2, 3}
    house.apply(made)
    house.rest()
    assert not house.on_disk[4] and len(house.row(chunk_id).replicas) == 3 and quiet(house)


def test_a_replica_that_a_slow_push_made_after_its_place_was_given_up_is_dropped() -> None:
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    row = house.row(chunk_id)
    open_still = OpenReplica(ChunkId(chunk_id), row.birth, DiskId(104), LENGTH, "fenced")
    house.listed = {4: {chunk_id: open_still}}
    assert quiet(house), "it has not compared itself yet"
    house.listed = {4: {chunk_id: replace_index(open_still, row.sealed_index)}}
    [command] = house.until_found().proposals
    assert isinstance(command, DropReplica) and set(command.evidence) == {1, 2, 3}
    house.suspect = {2}
    assert quiet(house), "the last good copy may be among those that are not heard"
    house.suspect, house.dead = set(), {2}
    [place] = house.until_found().proposals
    assert isinstance(place, PlaceCopy) and place.server_id == 4, "what is whole is done at once"
    house.dead = set()
    house.tables.do(command)
    house.rest()
    assert len(house.row(chunk_id).replicas) == 3 and not house.listed[4] and quiet(house)


def test_a_short_stray_is_no_target_for_a_copy_where_none_may_be_made() -> None:
    house = Compared(4)
    chunk_id = house.chunk((1, 2, 3))
    row = house.row(chunk_id)
    short = OpenReplica(ChunkId(chunk_id), row.birth, DiskId(104), 10, "fenced", row.sealed_index)
    house.listed = {4: {chunk_id: short}}
    house.dead = {2}
    fourth = (ServerId(4), DiskId(104))
    house.disk_facts[fourth] = DiskFacts(DiskId(104), 100 * LENGTH, 5 * LENGTH, 0)
    assert quiet(house), "what is short would be copied whole"
    house.disk_facts[fourth] = DiskFacts(DiskId(104), 100 * LENGTH, 50 * LENGTH, 0)
    house.tables.do(SetServerMode(4, IN_SERVICE, DRAINING))
    assert quiet(house), "it would go from there at once"
    house.tables.do(SetServerMode(4, DRAINING, IN_SERVICE))
    [place] = house.until_found().proposals
    assert isinstance(place, PlaceCopy) and place.server_id == 4


def replace_index(replica: OpenReplica, index: int) -> OpenReplica:
    return msgspec.structs.replace(replica, order_index=index)


def test_what_is_dead_or_gone_is_deleted_by_the_rule_for_that() -> None:
    house = Compared()
    dead = house.chunk((1, 2, 3))
    house.tables.do(ReleaseChunks((ChunkId(dead),)), house.session)
    house.on_disk = {4: {dead, 77}}
    found = []
    for _ in range(40):
        made = house.compare()
        found += [order for _, order in made.orders]
        if made.strays:
            break
    assert made.strays == [(4, 104, 77)]
    assert all(isinstance(order, DeleteReplica) and order.chunk_id == dead for order in found)


def test_a_difference_that_is_over_by_the_next_count_is_not_asked_about() -> None:
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    house.on_disk[1].discard(chunk_id)
    for _ in range(2):
        assert house.compare().empty
    house.on_disk[1].add(chunk_id)
    assert quiet(house)


def test_a_report_calls_different_only_what_stays_so_count_after_count() -> None:
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    disk = (ServerId(1), DiskId(101))

    def shown() -> str:
        state, buckets, since_s = house.cursors.tally.compared(disk, house.now_s)
        assert (buckets > 0) == (state in (CHANGING, DIFFERS)) == (since_s is not None)
        return state

    assert shown() == NOT_COUNTED
    assert quiet(house) and shown() == AGREES
    house.on_disk[1].discard(chunk_id)
    shown_while_asked = []
    began_s = house.now_s
    while house.now_s - began_s < STREAK_S + 5:
        house.compare()  # It asks, and nobody answers.
        shown_while_asked.append(shown())
    assert shown_while_asked[-1] == DIFFERS
    first = shown_while_asked.index(DIFFERS)
    assert set(shown_while_asked[:first]) <= {AGREES, CHANGING}
    house.on_disk[1].add(chunk_id)
    assert quiet(house) and shown() == AGREES
    house.starts[ServerId(1)] = StartId(7)
    house.compare()
    assert shown() in (NOT_COUNTED, AGREES), "what another run said is forgotten"


def test_a_difference_that_moves_on_is_never_called_lasting() -> None:
    house = Compared()
    chunks = [house.chunk((1, 2, 3)) for _ in range(40)]
    disk = (ServerId(1), DiskId(101))
    states = set()
    for turn in range(200):
        house.on_disk[1] = set(chunks) - {chunks[turn % len(chunks)]}
        house.compare()
        states.add(house.cursors.tally.compared(disk, house.now_s)[0])
    assert CHANGING in states and DIFFERS not in states


def test_what_lies_on_a_server_that_was_emptied_is_told_and_adopted_once_that_is_taken_back() -> (
    None
):
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    house.on_disk.setdefault(4, set()).add(chunk_id)  # It was dead when it was given up.
    house.tables.do(SetServerMode(4, IN_SERVICE, DRAINED))
    house.dead = {2, 3}
    told = set()
    for _ in range(40):
        made = house.compare()
        assert not made.proposals, "no command places anything there"
        told |= set(made.waits.values())
    (why,) = told
    assert "cs4" in why and "undrain cs4" in why
    house.tables.do(SetServerMode(4, DRAINED, IN_SERVICE))
    (adopted,) = house.until_found().proposals
    assert isinstance(adopted, PlaceCopy) and adopted.server_id == 4


def test_no_copy_is_dropped_on_the_word_of_servers_that_turn_out_not_to_have_theirs() -> None:
    # The masters go on from an older copy of theirs: all of the chunk has been moved since.
    house = Compared()
    chunk_id = house.chunk((2, 3, 4))
    for server in (2, 3, 4):
        house.on_disk[server].discard(chunk_id)
    house.on_disk[1] = {chunk_id}
    doubted = set()
    for _ in range(60):
        made = house.compare()
        assert not any(isinstance(one, DropReplica) for one in made.proposals)
        doubted |= {server for _, server in made.doubts}
    assert doubted == {2, 3, 4}


def test_a_copy_too_many_is_dropped_once_the_others_have_been_found_where_they_should_be() -> None:
    house = Compared()
    chunk_id = house.chunk((2, 3, 4))
    house.on_disk[1] = {chunk_id}
    (dropped,) = house.until_found().proposals
    assert isinstance(dropped, DropReplica) and dropped.server_id == 1
    assert set(house.cursors.tally.matched) >= {(2, 102), (3, 103), (4, 104)}


def test_what_nobody_knows_of_in_a_bucket_does_not_make_the_others_in_it_doubtful() -> None:
    # As in quarantine: what is noted stays there for days, and its bucket differs as long.
    house = Compared()
    chunk_id = house.chunk((2, 3, 4))
    bucket = bucket_of(replica_hash(chunk_id, LENGTH))
    unknown = next(
        one for one in range(1, 5000) if bucket_of(replica_hash(ChunkId(one), LENGTH)) == bucket
    )
    for server in (2, 3, 4):
        house.on_disk[server].add(unknown)
    house.on_disk[1] = {chunk_id}
    for _ in range(400):
        made = house.compare()
        if made.proposals:
            break
    (dropped,) = made.proposals
    assert isinstance(dropped, DropReplica) and dropped.server_id == 1


@pytest.mark.parametrize("others", [(1, 3), ()])
def test_what_came_back_with_a_disk_that_was_lost_counts_again(others: tuple[int, ...]) -> None:
    """It is sealed, and so nobody lists it; those that held it meanwhile may be gone by now."""
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    index = house.row(chunk_id).sealed_index
    house.tables.do(LoseHolder(chunk_id, index, ServerId(2), "its disk is lost"))
    for server in {1, 3} - set(others):
        house.dead.add(server)
    made = house.until_found()
    place = (ServerId(2), DiskId(102))
    end = (LENGTH, house.row(chunk_id).digest)
    assert made.proposals == [ConfirmCopy(chunk_id, index, *place, *end)]
    house.tables.do(made.proposals[0])
    assert house.row(chunk_id).holders == (1, 2, 3)


def come_with(house: Compared, start: int, *disks: int) -> None:
    """Have server 2 start again with these disks."""
    told = tuple(EnrolledDisk(DiskId(one), 1 << 40) for one in disks)
    house.tables.do(EnrollServer("cs2", 0, "127.0.0.1", 7302, "r1", "h", start, 1, told))


@pytest.mark.parametrize("others", [(1, 3), ()])
def test_what_came_back_counts_again_although_a_copy_was_to_come_to_another_disk(
    others: tuple[int, ...],
) -> None:
    """Nothing came there, and those that held it meanwhile may be gone by now."""
    house = Compared()
    chunk_id = house.chunk((1, 2, 3))
    index = house.row(chunk_id).sealed_index
    come_with(house, 2, 202)
    house.tables.do(LoseHolder(chunk_id, index, ServerId(2), "its disk is lost"))
    house.tables.do(PlaceCopy(chunk_id, index, ServerId(2), DiskId(202), 2))
    (order,) = house.row(chunk_id).copying
    house.tables.do(EndCopy(chunk_id, ServerId(2), order.order_index, "its sources are gone"))
    house.dead |= {1, 3} - set(others)
    come_with(house, 3, 102, 202)
    for _ in range(60):
        house.now_s += RECHECK_S / 20  # What is under way is explained for so long.
        for made in (house.compare(), house.plan(plan_copies)):
            house.apply(made)
            house.obey(made)
    assert Replica(ServerId(2), DiskId(102)) in house.row(chunk_id).replicas
    assert house.row(chunk_id).holders == (1, 3, 2)


@pytest.mark.parametrize("others", [(1, 3), ()])
@pytest.mark.parametrize("there", [True, False], ids=["also there", "gone since"])
def test_one_that_was_never_sealed_counts_where_it_lies_although_its_place_is_on_another_disk(
    others: tuple[int, ...], there: bool
) -> None:
    """A copy was to come to another disk of its server, and none did; it compared itself since."""
    house = Compared()
    chunk_id = house.chunk((1, 2, 3), holders=(1, 3))
    row = house.row(chunk_id)
    come_with(house, 2, 102, 202)
    house.tables.do(PlaceCopy(chunk_id, row.sealed_index, ServerId(2), DiskId(202), 2))
    (order,) = house.row(chunk_id).copying
    house.tables.do(EndCopy(chunk_id, ServerId(2), order.order_index, "its sources are gone"))
    assert Replica(ServerId(2), DiskId(202)) in house.row(chunk_id).late
    if not there:
        come_with(house, 3, 102)
    house.dead |= {1, 3, 4} - set(others)
    lies = OpenReplica(
        ChunkId(chunk_id), row.birth, DiskId(102), LENGTH, "fenced", row.sealed_index
    )
    house.listed = {2: {chunk_id: lies}}
    for _ in range(60):
        house.now_s += RECHECK_S / 20  # What is under way is explained for so long.
        for plan in (plan_tally, plan_replication, plan_copies):
            made = house.compare() if plan is plan_tally else house.plan(plan)
            house.apply(made)
            house.obey(made)
    assert Replica(ServerId(2), DiskId(102)) in house.row(chunk_id).replicas
    assert house.row(chunk_id).holders == (1, 3, 2)
