"""A full tail is ended by its primary: what it tells is what every replica would prove (C3-C5)."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from append_house import APPENDER, appending, order_tail
from chunk_house import BIRTH, House, street

from gfs_ha.errors import Fenced, GfsError, TailFull
from gfs_ha.ids import ChunkId, LogIndex, make_chunk_id
from gfs_ha.limits import KIB
from gfs_ha.protocol.control import FinishedTail

CAPACITY = 64 * KIB
RECORD = 10_000  # Six of them fit.
ORDER = LogIndex(50)
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[House]]:
    directory: Path = tmp_path_factory.mktemp("finished")
    with street(directory) as found:
        yield found


def tail(houses: list[House], number: int, durability: str = "disk") -> ChunkId:
    chunk_id = make_chunk_id(1, number)
    order_tail(houses, CAPACITY, durability, chunk_id)
    return chunk_id


def told(houses: list[House], chunk_id: ChunkId) -> list[FinishedTail]:
    assert not any(house.ended for house in houses[1:]), "only a primary ends a tail"
    return [one for one in houses[0].ended if one.chunk_id == chunk_id]


def fill(houses: list[House], chunk_id: ChunkId) -> tuple[GfsError, set[int]]:
    """Append until it ends; return why, and what was acknowledged."""
    with appending(houses[0], chunk_id=chunk_id) as stream:
        try:
            for sequence in range(1, 9):
                stream.append(sequence, bytes(RECORD), max(1, sequence - 2))
                stream.wait_for(sequence)
        except GfsError as error:
            return error, set(stream.acks)
    raise AssertionError("it never ended")


def check_proven(houses: list[House], end: FinishedTail, order: LogIndex = ORDER) -> None:
    """See that every replica ends there, and has these bytes and records."""
    for house in houses:
        answer = house.store.fence(end.chunk_id, BIRTH, order)
        assert answer.proof and answer.end == end.length
        proof = house.store.prove(end.chunk_id, order, end.length)
        assert (proof.digest, proof.crc) == (end.digest, end.crc)
        places = [(one.appender, one.sequence, one.offset, one.length) for one in proof.records]
        named = [(one.appender, one.sequence, one.offset, one.length) for one in end.records]
        assert named == places
    assert end.holders == tuple(house.store.server_id for house in houses)


@pytest.mark.parametrize("durability", ["disk", "memory"])
def test_its_end_is_told_before_its_appenders_are_and_every_replica_proves_it(
    houses: list[House], durability: str
) -> None:
    chunk_id = tail(houses, 100 + len(durability), durability)
    why, acknowledged = fill(houses, chunk_id)
    assert isinstance(why, TailFull) and why.details["unwritten"] == 1
    (end,) = told(houses, chunk_id)
    assert end.length == 6 * RECORD and acknowledged == set(range(1, 7))
    # Of the sixth record the window begins at 4: what lies below is asked about no more.
    assert [one.sequence for one in end.records] == [4, 5, 6]
    assert {one.appender for one in end.records} == {APPENDER}
    check_proven(houses, end)


def test_it_is_told_once_however_many_come_later(houses: list[House]) -> None:
    chunk_id = tail(houses, 110)
    fill(houses, chunk_id)
    for _ in range(3):
        with appending(houses[0], chunk_id=chunk_id) as stream:
            assert isinstance(stream.failure(), TailFull)
    assert len(told(houses, chunk_id)) == 1


@pytest.mark.parametrize("fenced", [0, 1, 2])
def test_of_a_tail_that_is_sealed_by_the_leader_its_primary_tells_no_end(
    houses: list[House], fenced: int
) -> None:
    chunk_id = tail(houses, 120 + fenced)
    with appending(houses[0], chunk_id=chunk_id) as stream:
        for sequence in range(1, 7):
            stream.append(sequence, bytes(RECORD))
        stream.wait_for(*range(1, 7))
    houses[fenced].store.fence(chunk_id, BIRTH, ORDER)
    with appending(houses[0], chunk_id=chunk_id) as stream:
        stream.append(7, bytes(RECORD))
        why = stream.failure()
    if fenced == 0:
        assert isinstance(why, Fenced) and not told(houses, chunk_id)
    else:
        # Nobody had to push anything to know that it is full: and that all of them have it all.
        assert isinstance(why, TailFull)
        check_proven(houses, told(houses, chunk_id)[0])


def test_of_a_tail_with_a_failed_push_no_end_is_told(houses: list[House]) -> None:
    """The replicas may have what only some of them acknowledged: where it ends, a seal decides."""
    chunk_id = tail(houses, 130)
    with appending(houses[0], chunk_id=chunk_id) as stream:
        stream.append(1, bytes(RECORD))
        stream.wait_for(1)
    houses[2].store.fence(chunk_id, BIRTH, ORDER)
    why, acknowledged = fill(houses, chunk_id)
    assert isinstance(why, Fenced) and acknowledged == {1}
    why, _ = fill(houses, chunk_id)
    assert isinstance(why, Fenced) and not told(houses, chunk_id)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_fence_comes_amid_it_an_end_that_is_told_is_that_of_every_replica(
    houses: list[House], seed: int
) -> None:
    """Else the leader, and whoever restores masters, would find two ends of one chunk."""
    chance = random.Random(seed)
    chunk_id = tail(houses, 200 + seed, chance.choice(("disk", "memory")))
    with appending(houses[0], chunk_id=chunk_id) as first:
        early = chance.randint(0, 5)
        for sequence in range(1, early + 1):
            first.append(sequence, bytes(RECORD))
        if early:
            first.wait_for(early)
        fencing = threading.Thread(
            target=houses[chance.randrange(3)].store.fence, args=(chunk_id, BIRTH, ORDER)
        )
        fencing.start()
        try:
            for sequence in range(early + 1, 9):
                first.append(sequence, bytes(RECORD))
        except GfsError:
            pass  # It was hung up on.
        why = first.failure()
        acknowledged = len(first.acks)
    fencing.join(PATIENCE_S)
    assert isinstance(why, Fenced | TailFull)
    ends = told(houses, chunk_id)
    assert len(ends) <= int(isinstance(why, TailFull))
    for end in ends:
        assert acknowledged * RECORD == end.length
        check_proven(houses, end, LogIndex(60))
    later = [house.store.fence(chunk_id, BIRTH, LogIndex(61)).end for house in houses]
    assert min(later) >= acknowledged * RECORD
