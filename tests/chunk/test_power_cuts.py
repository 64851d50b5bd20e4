"""The power goes at every single operation of the disk, with every kind of luck afterwards.

What was acknowledged stays; what was not is never served as anything else than what was sent; and
two looks at the same replica never tell two different ends.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from replica_house import append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut, Survives
from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import Fenced, UnknownReplica
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.data import Durability
from gfs_ha.runtime import ThreadedRuntime

ORDER = LogIndex(50)
LATER = LogIndex(60)
DELETION = LogIndex(70)
ENDS = [0, 100, BLOCK_BYTES + 5, BLOCK_BYTES + 1000, 2 * BLOCK_BYTES]
DATA = noise(ENDS[-1])
LUCK = range(6)


@dataclass
class Told:
    """What the outside world was told before the lights went out."""

    durability: Durability = Durability.DISK
    created: bool = False
    acknowledged: int = 0
    fenced: FenceAnswer | None = None
    sealing: bool = False
    sealed: int | None = None
    deleting: bool = False
    deleted: bool = False
    pushing: set[int] = field(default_factory=set)


Step = Callable[[ChunkStore, Told], None]


def pushes(store: ChunkStore, told: Told) -> None:
    replica = make_replica(store, told.durability)
    told.created = True
    for start, end in itertools.pairwise(ENDS):
        told.pushing = {start, end}
        told.acknowledged = append(replica, DATA[start:end], packet_bytes=20_000)


def fence(store: ChunkStore, told: Told) -> None:
    told.fenced = store.fence(CHUNK, BIRTH, ORDER)


def finish(store: ChunkStore, told: Told) -> None:
    length = ENDS[3]
    told.sealing = True
    store.finish_seal(CHUNK, LATER, length, digest_of(DATA[:length]))
    told.sealed = length


def delete(store: ChunkStore, told: Told) -> None:
    told.deleting = True
    store.delete(CHUNK, DELETION)
    told.deleted = True


STORIES: dict[str, tuple[Step, ...]] = {
    "push, fence": (pushes, fence),
    "push, finish": (pushes, finish),
    "push, fence, finish, delete": (pushes, fence, finish, delete),
    "push, delete": (pushes, delete),
}


def survival(luck: int, cut: int) -> Survives:
    """Nothing survives, everything does, or each sector as a coin falls."""
    if luck == 0:
        return lambda write, sector: False
    if luck == 1:
        return lambda write, sector: True
    coins = random.Random(luck * 10_007 + cut)
    return lambda write, sector: coins.random() < 0.5


def cut_everywhere(steps: tuple[Step, ...], durability: Durability) -> Iterator[tuple]:
    """Run a story up to each of its operations, and hand over what is left of it."""
    cut = 0
    complete = False
    while not complete:
        for luck in LUCK:
            disk = MemoryDisk(ThreadedRuntime())
            told = Told(durability)
            store = open_store(disk)
            disk.cut_after = cut
            try:
                for step in steps:
                    step(store, told)
                complete = True
            except PowerCut:
                pass
            disk.power_cycle(survival(luck, cut))
            yield disk, told, f"cut after {cut}, luck {luck}"
        cut += 1
    assert cut >= 20, "the story was too short to mean anything"


def check_kept(disk: MemoryDisk, told: Told, where: str) -> None:
    store = open_store(disk, BOOT_ID + 1)
    try:
        replica = store.get(CHUNK)
    except UnknownReplica:
        # Only what was never told to exist, or was ordered to go, may be unknown.
        assert not told.created or told.deleting, where
        return
    assert not told.deleted, where
    sealed = replica.header.state is State.SEALED
    assert told.sealed is None or sealed, where
    assert not sealed or told.sealing, where
    kept = min(told.acknowledged, ENDS[3]) if sealed else told.acknowledged
    if replica.header.state is not State.FREE:
        assert readable(replica, disk, kept) == DATA[:kept], where
    with pytest.raises(Fenced):
        replica.begin_push(replica.header.end, 1)


def check_answers(disk: MemoryDisk, told: Told, where: str) -> None:
    answers = []
    for _ in range(2):
        store = open_store(disk, BOOT_ID + 1)
        try:
            replica = store.get(CHUNK)
        except UnknownReplica:
            return
        if replica.header.state is State.FREE:
            return
        answers.append(store.fence(CHUNK, BIRTH, DELETION))
    first, second = answers
    assert (first.end, first.proof) == (second.end, second.proof), where
    assert readable(replica, disk, first.end) == DATA[: first.end], where
    if replica.header.state is State.SEALED:
        assert first.end == ENDS[3], where
    elif told.fenced is not None:
        assert first.end == told.fenced.end, where
    else:
        assert first.end in {told.acknowledged, *told.pushing}, where
        assert first.end >= told.acknowledged, where


@pytest.mark.parametrize("story", STORIES)
def test_what_was_acknowledged_survives_every_power_cut(story: str) -> None:
    for disk, told, where in cut_everywhere(STORIES[story], Durability.DISK):
        check_kept(disk, told, f"{story}: {where}")
        check_answers(disk, told, f"{story}: {where}")


def test_an_acknowledged_end_is_never_forgotten_even_without_proof() -> None:
    for disk, told, where in cut_everywhere((pushes,), Durability.DISK):
        store = open_store(disk, BOOT_ID + 1)
        if not told.created:
            continue
        answer = store.fence(CHUNK, BIRTH, ORDER)
        assert answer.end >= told.acknowledged, where
        assert answer.end in {told.acknowledged, *told.pushing}, where
        assert answer.promised_end >= answer.end, where
        if answer.proof:
            assert answer.end == answer.promised_end, where


def test_memory_that_lost_power_is_never_proof() -> None:
    for disk, told, where in cut_everywhere((pushes,), Durability.MEMORY):
        store = open_store(disk, BOOT_ID + 1)
        if told.created:
            answer = store.fence(CHUNK, BIRTH, ORDER)
            assert not answer.proof, where
            assert readable(store.get(CHUNK), disk, answer.end) == DATA[: answer.end], where


def test_a_killed_process_keeps_what_it_acknowledged_from_memory() -> None:
    for disk, told, where in cut_everywhere((pushes,), Durability.MEMORY):
        if "luck 1" in where and told.created:  # The machine lives on: every write is there.
            answer = open_store(disk).fence(CHUNK, BIRTH, ORDER)
            assert answer.proof and answer.end >= told.acknowledged, where


def test_a_power_cut_amid_a_fence_after_a_power_cut_changes_no_answer() -> None:
    whole = MemoryDisk(ThreadedRuntime())
    store = open_store(whole)
    replica = make_replica(store)
    append(replica, DATA[:1000])
    append(replica, DATA[1000:3000])
    for cut in range(6):
        for luck in LUCK:
            disk = MemoryDisk(ThreadedRuntime())
            replica = make_replica(open_store(disk))
            append(replica, DATA[:1000])
            append(replica, DATA[1000:3000])
            disk.power_cycle()
            disk.cut_after = cut
            try:
                open_store(disk).fence(CHUNK, BIRTH, ORDER)
            except PowerCut:
                pass
            disk.power_cycle(survival(luck, cut))
            answer = open_store(disk).fence(CHUNK, BIRTH, ORDER)
            assert answer.end == 3000, (cut, luck)
            assert answer.proof or "header" in answer.why_not, (cut, luck)


def test_a_chunk_of_memory_is_never_stamped_as_sealed_before_its_bytes_are_safe() -> None:
    for disk, told, where in cut_everywhere((pushes, finish), Durability.MEMORY):
        store = open_store(disk, BOOT_ID + 1)
        for chunk_id, length in store.list_sealed():
            assert told.sealing, where
            assert readable(store.get(chunk_id), disk, length) == DATA[:length], where
