"""A replica that the masters do not count is told how its chunk ended, and looks at itself (C4)."""

from __future__ import annotations

import pytest
from chunk_house import CHUNK
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.errors import Fenced, ReplicaDamaged, StaleOrder
from gfs_ha.ids import LogIndex

DATA = noise(200_000)
OTHER = noise(200_000, seed=2)
FENCE = LogIndex(10)
SEAL = LogIndex(20)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


@pytest.fixture
def replica(disk: MemoryDisk) -> Replica:
    made = make_replica(open_store(disk))
    append(made, DATA)
    return made


def compare(replica: Replica, data: bytes) -> None:
    replica.compare(SEAL, len(data), digest_of(data))


def test_one_with_other_bytes_is_never_served_again_and_kept(
    disk: MemoryDisk, replica: Replica
) -> None:
    replica.fence(FENCE)
    compare(replica, OTHER[:100_000])
    disk.power_cycle()
    again = open_store(disk)
    for one in (replica, again.get(CHUNK)):
        assert one.condition == "quarantined"
        with pytest.raises(ReplicaDamaged, match="quarantined"):
            one.plan_read(0, 1)
    [listed] = again.list_open()
    assert (listed.state, listed.end, listed.order_index) == ("quarantined", len(DATA), SEAL)
    assert disk.names() == [replica.name]


@pytest.mark.parametrize("end", [DATA, DATA[:150_000], DATA + b"more", DATA + OTHER])
def test_one_with_the_same_bytes_or_fewer_stays_what_it_is(
    disk: MemoryDisk, replica: Replica, end: bytes
) -> None:
    replica.fence(FENCE)
    compare(replica, end)
    disk.power_cycle()
    again = open_store(disk)
    [listed] = again.list_open()
    assert (listed.state, listed.end, listed.order_index) == ("fenced", len(DATA), SEAL)
    assert readable(again.get(CHUNK), disk, len(DATA)) == DATA


def test_one_that_missed_the_fence_takes_no_appends_afterwards(replica: Replica) -> None:
    compare(replica, DATA)
    with pytest.raises(Fenced):
        replica.begin_push(len(DATA), 1)
    with pytest.raises(StaleOrder):
        replica.fence(FENCE)


def test_to_compare_again_writes_nothing(disk: MemoryDisk, replica: Replica) -> None:
    for _ in range(2):
        before = disk.operations
        compare(replica, OTHER)
        written = disk.operations - before
    assert written == 0


def test_a_sealed_one_stays_sealed_unless_its_bytes_are_others(replica: Replica) -> None:
    replica.finish(FENCE, len(DATA), digest_of(DATA))
    compare(replica, DATA)
    assert replica.condition == "sealed"
    compare(replica, OTHER)
    assert replica.condition == "quarantined"


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize("kept", [False, True])
def test_no_power_cut_leaves_one_that_says_it_compared_and_did_not(
    disk: MemoryDisk, replica: Replica, cut: int, kept: bool
) -> None:
    replica.fence(FENCE)
    disk.cut_after = cut
    try:
        compare(replica, OTHER)
    except PowerCut:
        pass
    disk.power_cycle(lambda write, sector: kept)
    again = open_store(disk)
    [listed] = again.list_open()
    assert (listed.order_index == SEAL) == (listed.state == "quarantined")
    compare(again.get(CHUNK), OTHER)
    assert again.get(CHUNK).condition == "quarantined"


@pytest.mark.parametrize(("end", "state"), [(DATA, "fenced"), (OTHER, "quarantined")])
def test_one_that_was_kept_while_it_took_appends_compares_itself_all_the_same(
    replica: Replica, end: bytes, state: str
) -> None:
    """To be kept leaves an order in the header that is newer than the seal, and proves nothing."""
    replica.keep(SEAL)
    kept = replica.header.order_index
    assert kept > SEAL and replica.condition == "open"
    replica.compare(kept, len(end), digest_of(end))
    assert (replica.condition, replica.header.order_index) == (state, kept)
