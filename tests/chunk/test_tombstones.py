"""A chunk that was fenced before it came here is refused for as long as it may still come (C2)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, House, client_room, push, street, target
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from replica_house import RUNTIME, append, make_replica, noise, open_store

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile, PowerCut
from gfs_ha.chunk.slots import tombstones
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.data_room import DataRoom
from gfs_ha.errors import (
    AlreadyExists,
    DiskFailed,
    Fenced,
    Overloaded,
    ReplicaBusy,
    StaleOrder,
    UnknownReplica,
)
from gfs_ha.ids import ChunkId, LogIndex, make_chunk_id

ORDER = LogIndex(10)
LATER = LogIndex(20)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


@pytest.fixture
def room() -> Iterator[DataRoom]:
    with client_room() as made:
        yield made


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[list[House]]:
    with street(tmp_path) as made:
        yield made


def refuse(store: ChunkStore, chunk_id: ChunkId = CHUNK, order: LogIndex = ORDER) -> None:
    with pytest.raises(UnknownReplica):
        store.fence(chunk_id, BIRTH, order)


def states(store: ChunkStore) -> dict[ChunkId, str]:
    return {one.chunk_id: one.state for one in store.list_open()}


def test_a_fenced_chunk_cannot_come_any_more(disk: MemoryDisk) -> None:
    store = open_store(disk)
    refuse(store)
    with pytest.raises(Fenced, match="before it came"):
        make_replica(store)
    refuse(store)
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    assert store.chunk_count == 0
    assert states(store) == {CHUNK: "tombstone"}


def test_a_chunk_that_is_to_be_proved_and_is_gone_cannot_come_again(disk: MemoryDisk) -> None:
    store = open_store(disk)
    with pytest.raises(UnknownReplica):
        store.get_or_refuse(CHUNK, BIRTH, ORDER)
    with pytest.raises(Fenced):
        make_replica(store)


def test_a_slow_push_is_refused_by_each_server_that_was_fenced_before(
    room: DataRoom, houses: list[House]
) -> None:
    for house in houses[:2]:
        refuse(house.store)
    result = push(room, target(houses), noise(100_000))
    assert [ack.code for ack in result.acks] == ["Fenced", "Fenced", ""]
    assert result.holders == (3,)


@pytest.mark.parametrize("cut", range(7))
@pytest.mark.parametrize("luck", range(6))
def test_what_was_answered_is_kept_through_every_power_cut(
    disk: MemoryDisk, cut: int, luck: int
) -> None:
    store = open_store(disk)
    disk.cut_after = cut
    answered = False
    try:
        refuse(store)
        answered = True
    except PowerCut:
        pass
    assert answered == (cut == 6)
    coins = random.Random(luck)
    disk.power_cycle(lambda write, sector: luck == 1 or (luck > 1 and coins.random() < 0.5))
    store = open_store(disk)
    if answered:
        with pytest.raises(Fenced):
            make_replica(store)
    refuse(store)  # The leader asks again, whatever became of the first time.
    with pytest.raises(Fenced):
        make_replica(open_store(disk))


@pytest.mark.parametrize("copy", [0, 1])
def test_a_refusal_survives_the_loss_of_either_copy(disk: MemoryDisk, copy: int) -> None:
    refuse(open_store(disk))
    [name] = disk.names()
    disk.flip(name, 8192 * copy + 20)
    with pytest.raises(Fenced):
        make_replica(open_store(disk))


def test_a_refusal_that_could_not_be_written_is_not_answered(disk: MemoryDisk) -> None:
    store = open_store(disk)
    disk.failing = DiskFailed("no sector left to remap to")
    with pytest.raises(DiskFailed):
        store.fence(CHUNK, BIRTH, ORDER)
    disk.failing = None
    refuse(store)


def test_a_fence_does_not_slip_in_while_the_replica_is_made(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(disk)
    sync = MemoryFile.sync
    answers: list[str] = []

    def meanwhile(self: MemoryFile) -> None:
        sync(self)
        monkeypatch.undo()
        try:
            store.fence(CHUNK, BIRTH, ORDER)
        except ReplicaBusy as error:
            answers.append(error.code)

    monkeypatch.setattr(MemoryFile, "sync", meanwhile)
    replica = make_replica(store)
    assert answers == ["ReplicaBusy"], "the leader asks again in a second"
    append(replica, b"abc")
    assert store.fence(CHUNK, BIRTH, ORDER).end == 3


def test_a_replica_does_not_slip_in_while_the_refusal_is_written(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(disk)
    sync = MemoryFile.sync
    refused: list[bool] = []

    def meanwhile(self: MemoryFile) -> None:
        sync(self)
        monkeypatch.undo()
        with pytest.raises(AlreadyExists):
            make_replica(store)
        refused.append(True)

    monkeypatch.setattr(MemoryFile, "sync", meanwhile)
    refuse(store)
    assert refused


def test_refusals_are_bounded_and_one_too_many_waits(
    disk: MemoryDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "TOMBSTONES_MAX", 2)
    store = open_store(disk)
    first, second, third = (make_chunk_id(1, number) for number in (1, 2, 3))
    refuse(store, first)
    refuse(store, second)
    with pytest.raises(Overloaded):
        store.fence(third, BIRTH, ORDER)
    refuse(store, second)
    store.forget_tombstone(first, LATER)
    refuse(store, third)


def test_a_refusal_is_forgotten_on_order_and_not_by_an_older_one(disk: MemoryDisk) -> None:
    store = open_store(disk)
    refuse(store, order=LATER)
    with pytest.raises(StaleOrder):
        store.forget_tombstone(CHUNK, ORDER)
    with pytest.raises(StaleOrder):
        store.delete(CHUNK, ORDER)
    assert states(store) == {CHUNK: "tombstone"}
    store.forget_tombstone(CHUNK, LATER)
    store.forget_tombstone(CHUNK, LATER)
    assert states(store) == {} and disk.names() == []
    refuse(store)
    store.delete(CHUNK, LATER)
    assert states(store) == {} and disk.names() == []


def test_to_forget_a_refusal_never_costs_a_replica(disk: MemoryDisk) -> None:
    store = open_store(disk)
    append(make_replica(store), b"abc")
    store.forget_tombstone(CHUNK, LATER)
    assert store.get(CHUNK).header.end == 3


def test_a_forgotten_refusal_that_is_back_after_a_power_cut_harms_no_replica(
    disk: MemoryDisk,
) -> None:
    store = open_store(disk)
    refuse(store)
    store.forget_tombstone(CHUNK, LATER)
    disk.power_cycle()
    store = open_store(disk)
    assert states(store) == {CHUNK: "tombstone"}
    store.forget_tombstone(CHUNK, LATER)
    append(make_replica(store), b"abc")
    assert store.fence(CHUNK, BIRTH, LATER).end == 3


class RefusalsBesideASet(RuleBasedStateMachine):
    """Fences, pushes, restarts and power cuts in any order: told "unknown" stays unknown."""

    chunks = st.sampled_from([make_chunk_id(1, number) for number in range(1, 4)])

    @initialize()
    def start(self) -> None:
        self.disk = MemoryDisk(RUNTIME)
        self.store = open_store(self.disk)
        self.refused: set[ChunkId] = set()
        self.here: set[ChunkId] = set()

    @rule(chunk_id=chunks)
    def fence(self, chunk_id: ChunkId) -> None:
        try:
            self.store.fence(chunk_id, BIRTH, ORDER)
            assert chunk_id in self.here
        except UnknownReplica:
            assert chunk_id not in self.here
            self.refused.add(chunk_id)

    @rule(chunk_id=chunks)
    def push(self, chunk_id: ChunkId) -> None:
        try:
            append(make_replica(self.store, chunk_id=chunk_id), b"abc")
            assert chunk_id not in self.refused
            self.here.add(chunk_id)
        except AlreadyExists:
            assert chunk_id in self.here
        except Fenced:
            assert chunk_id in self.refused

    @rule(chunk_id=chunks, delete=st.booleans())
    def forget(self, chunk_id: ChunkId, delete: bool) -> None:
        if delete:
            self.store.delete(chunk_id, LATER)
            self.here.discard(chunk_id)
        else:
            self.store.forget_tombstone(chunk_id, LATER)
        self.disk.sync_names()
        self.refused.discard(chunk_id)

    @rule(power=st.booleans())
    def restart(self, power: bool) -> None:
        if power:
            self.disk.power_cycle()
        self.store = open_store(self.disk)
        listed = states(self.store)
        assert {one for one, state in listed.items() if state == "tombstone"} == self.refused
        assert listed.keys() - self.refused == self.here


TestRefusalsBesideASet = RefusalsBesideASet.TestCase
TestRefusalsBesideASet.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, database=None, derandomize=True
)
