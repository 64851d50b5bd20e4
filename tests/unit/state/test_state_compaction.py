"""Chunks of which little lives: references move to a copy of their bytes, and no file changes."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from state_driver import Driver, empty_file, small_file

from gfs_ha.ids import ChunkId
from gfs_ha.limits import MIB, MOVES_PER_COMMAND_MAX
from gfs_ha.master.state.commands import FitGoals, LoseHolder, PlaceCopy, ReapStep
from gfs_ha.master.state.garbage_commands import BeginCompaction, EndCompaction
from gfs_ha.master.state.records import DEAD, Chunk
from gfs_ha.protocol.extents import MovedRange, MoveReferences, ReferencesMoved, StageCopy
from gfs_ha.protocol.metadata import FinishChunk, Publish, ReleaseChunks, Remove
from gfs_ha.protocol.policy import SetReplication

SIZE = 1000


class House:
    """Files of 1,000 bytes, one behind the other in one chunk; another chunk for the copy."""

    def __init__(self, count: int = 6) -> None:
        self.driver = Driver()
        self.session = self.driver.open_session()
        self.source = self.chunk(SIZE * count)
        for start in range(0, count, 200):
            files = tuple(
                small_file(f"/f{number}", self.source, SIZE * number, SIZE)
                for number in range(start, min(count, start + 200))
            )
            self.driver.ok(Publish(files), self.session)
        self.driver.ok(ReleaseChunks((self.source,)), self.session)
        self.target = self.chunk(SIZE * count)

    def chunk(self, length: int) -> ChunkId:
        chunk_id = self.driver.chunk(self.session).chunk_id
        self.driver.ok(FinishChunk(chunk_id, length, 5, (1, 2, 3)), self.session)
        return chunk_id

    def row(self, chunk_id: ChunkId) -> Chunk:
        with self.driver.view() as view:
            chunk = view.chunk(chunk_id)
        assert chunk is not None
        return chunk

    def begin(self, server: int = 1) -> int:
        sealed = self.row(self.source).sealed_index
        self.driver.ok(BeginCompaction(self.source, sealed, server))
        return self.row(self.source).compact_index

    def move(self, index: int, *ranges: tuple[int, int, int], **changes: object) -> MoveReferences:
        fields: dict[str, object] = {
            "chunk_id": self.source,
            "order_index": index,
            "target": self.target,
            "ranges": tuple(MovedRange(*one) for one in ranges),
        }
        return MoveReferences(**{**fields, **changes})  # type: ignore[arg-type]

    def places(self) -> dict[str, list[tuple[int, int, int, int | None]]]:
        """Return where the bytes of each file lie: (file offset, chunk, offset, CRC)."""
        with self.driver.view() as view:
            return {
                name: [
                    (one.file_offset, one.chunk_id, one.chunk_offset, one.crc)
                    for one in view.extents(view.status("/" + name).content_id)
                ]
                for name, _ in view.entries(1)  # type: ignore[arg-type]
            }


def test_what_lives_moves_and_the_chunk_dies_with_its_last_reference() -> None:
    house = House()
    for number in (0, 2, 3):
        house.driver.ok(Remove(f"/f{number}"), house.session)
    house.driver.ok(ReapStep(200))
    with house.driver.view() as view:
        before = view.status("/f4")
    index = house.begin()
    moved = house.move(index, (SIZE, 0, SIZE), (4 * SIZE, SIZE, 2 * SIZE))
    assert house.driver.ok(moved, house.session) == ReferencesMoved(3, more=False)
    house.driver.check()
    assert house.places() == {
        "f1": [(0, house.target, 0, 7)],
        "f4": [(0, house.target, SIZE, 7)],
        "f5": [(0, house.target, 2 * SIZE, 7)],
    }
    with house.driver.view() as view:
        assert view.status("/f4") == before, "no generation changes (F3)"
        assert view.compacting_chunks(0, 9) == []
    assert house.row(house.source).state == DEAD
    house.driver.ok(ReleaseChunks((house.target,)), house.session)
    assert house.row(house.target).state == "sealed"
    house.driver.check()


def test_the_copy_has_as_many_copies_as_the_files_want_by_then() -> None:
    house = House()
    house.driver.ok(SetReplication("/f1", 5), house.session)
    house.driver.ok(FitGoals(100))
    assert (house.row(house.source).goal, house.row(house.target).goal) == (5, 3)
    index = house.begin()
    house.driver.ok(house.move(index, (2 * SIZE, 0, 4 * SIZE)), house.session)
    assert house.row(house.target).goal == 3
    house.driver.ok(house.move(index, (SIZE, 5 * SIZE, SIZE)), house.session)
    assert house.row(house.target).goal == 5
    house.driver.check()


def test_what_is_referred_to_after_the_ranges_were_chosen_moves_with_them() -> None:
    house = House()
    index = house.begin()
    copy = house.driver.ok(StageCopy("/f1", 100, 50), house.session)
    file = empty_file("/late", size=50, content_id=copy.content_id)
    house.driver.ok(Publish((file,)), house.session)
    staged = house.driver.ok(StageCopy("/f2", 0, SIZE), house.session)
    moved = house.move(index, (0, 0, 6 * SIZE))
    assert house.driver.ok(moved, house.session) == ReferencesMoved(8, more=False)
    late = empty_file("/staged", size=SIZE, content_id=staged.content_id)
    house.driver.ok(Publish((late,)), house.session)
    assert house.places()["late"] == [(0, house.target, SIZE + 100, None)]
    assert house.places()["staged"] == [(0, house.target, 2 * SIZE, 7)]
    house.driver.check()


def test_references_outside_of_the_ranges_stay_and_the_chunk_lives_on() -> None:
    house = House()
    index = house.begin()
    # The middle of /f1 is no place to cut: a reference moves whole or not at all.
    moved = house.move(index, (0, 0, SIZE + 500), (2 * SIZE, SIZE + 500, SIZE))
    assert house.driver.ok(moved, house.session) == ReferencesMoved(2, more=False)
    assert house.places()["f1"] == [(0, house.source, SIZE, 7)]
    house.driver.ok(EndCompaction(house.source, index, "the server stopped"))
    assert house.driver.error(moved, house.session) == "WrongState"
    assert house.row(house.source).state == "sealed"
    again = house.begin(2)
    assert house.driver.error(moved, house.session) == "WrongState"
    rest = house.move(again, (0, 0, 6 * SIZE))
    assert house.driver.ok(rest, house.session) == ReferencesMoved(4, more=False)
    assert house.row(house.source).state == DEAD
    house.driver.check()


def test_many_references_move_in_bounded_steps() -> None:
    count = MOVES_PER_COMMAND_MAX + 30
    house = House(count)
    index = house.begin()
    moved = house.move(index, (0, 0, SIZE * count))
    assert house.driver.ok(moved, house.session) == ReferencesMoved(MOVES_PER_COMMAND_MAX, True)
    house.driver.check()
    assert house.row(house.source).state == "sealed"
    assert house.driver.ok(moved, house.session) == ReferencesMoved(30, more=False)
    assert house.row(house.source).state == DEAD
    house.driver.check()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"order_index": 3}, "WrongState"),
        ({"target": ChunkId(77)}, "UnknownChunk"),
        ({"chunk_id": ChunkId(77)}, "UnknownChunk"),
        ({"ranges": (MovedRange(0, 0, 7 * SIZE),)}, "InvalidArgument"),
        ({"ranges": (MovedRange(0, SIZE, 6 * SIZE),)}, "InvalidArgument"),
        ({"ranges": (MovedRange(0, 0, 0),)}, "InvalidArgument"),
        ({"ranges": (MovedRange(0, 0, 9), MovedRange(8, 9, 9))}, "InvalidArgument"),
        ({"ranges": (MovedRange(9, 0, 9), MovedRange(0, 9, 9))}, "InvalidArgument"),
        ({"ranges": tuple(MovedRange(n, n, 1) for n in range(300))}, "LimitExceeded"),
    ],
)
def test_what_does_not_fit_moves_nothing(changes: dict[str, object], error: str) -> None:
    house = House()
    before = house.places()
    command = house.move(house.begin(), (0, 0, 6 * SIZE), **changes)
    assert house.driver.error(command, house.session) == error
    assert house.places() == before


def test_only_into_a_sealed_chunk_that_the_session_claims() -> None:
    house = House()
    index = house.begin()
    other = house.driver.open_session()
    moved = house.move(index, (0, 0, 6 * SIZE))
    assert house.driver.error(moved, other) == "NotClaimed"
    opened = house.driver.chunk(house.session).chunk_id
    into_open = house.move(index, (0, 0, 1), target=opened)
    assert house.driver.error(into_open, house.session) == "WrongState"
    itself = house.move(index, (0, 0, 1), target=house.source)
    assert house.driver.error(itself, house.session) == "WrongState"
    house.driver.ok(ReleaseChunks((house.target,)), house.session)
    assert house.driver.error(moved, house.session) == "WrongState", "the copy is dead by now"
    house.driver.check()


def test_one_holder_at_a_time_compacts_and_only_when_nothing_else_is_under_way() -> None:
    house = House()
    driver, source = house.driver, house.source
    sealed = house.row(source).sealed_index
    claimed = BeginCompaction(house.target, house.row(house.target).sealed_index, 1)
    assert driver.error(claimed) == "StaleCommand"
    assert driver.error(BeginCompaction(source, sealed - 1, 1)) == "StaleCommand"
    assert driver.error(BeginCompaction(source, sealed, 9)) == "StaleCommand"
    assert driver.error(BeginCompaction(source, sealed, 0)) == "StaleCommand"
    index = house.begin()
    assert driver.error(BeginCompaction(source, sealed, 2)) == "StaleCommand"
    assert driver.error(EndCompaction(source, index - 1, "late")) == "StaleCommand"
    driver.ok(EndCompaction(source, index, "over"))
    assert driver.error(EndCompaction(source, index, "twice")) == "StaleCommand"
    driver.ok(LoseHolder(source, sealed, 3, "rot"))
    driver.ok(PlaceCopy(source, sealed, 3, 103, 2))
    assert driver.error(BeginCompaction(source, sealed, 1)) == "StaleCommand"
    driver.check()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_moves_when_each_file_holds_the_bytes_that_it_held(seed: int) -> None:
    """Files as (chunk, byte) pairs against a model in which a copied byte is the byte it was."""
    dice = random.Random(seed)
    driver = Driver()
    session = driver.open_session()
    meaning: dict[tuple[int, int], int] = {}  # Where a byte lies -> which byte it is.
    model: dict[str, list[int]] = {}
    fresh = 0

    def new_chunk(data: list[int]) -> ChunkId:
        chunk_id = driver.chunk(session).chunk_id
        driver.ok(FinishChunk(chunk_id, len(data), 5, (1, 2, 3)), session)
        meaning.update({(chunk_id, at): byte for at, byte in enumerate(data)})
        return chunk_id

    def held(path: str) -> list[int]:
        with driver.view() as view:
            found = list(view.extents(view.status(path).content_id))
        return [
            meaning[one.chunk_id, one.chunk_offset + n] for one in found for n in range(one.length)
        ]

    for _ in range(120):
        kind = dice.random()
        name = dice.choice(("/a", "/b", "/c"))
        if kind < 0.3 or not model:
            data = [fresh + n for n in range(dice.randint(4, 40))]
            fresh += len(data)
            chunk_id = new_chunk(data)
            start = dice.randrange(len(data) // 2)
            driver.ok(
                Publish((small_file(name, chunk_id, start, len(data) - start),), (chunk_id,)),
                session,
            )
            model[name] = data[start:]
        elif kind < 0.5:
            source, size = dice.choice(list(model.items()))
            start, end = sorted((dice.randrange(len(size)), dice.randrange(len(size))))
            copy = driver.ok(StageCopy(source, start, end - start + 1), session)
            file = empty_file(name, size=copy.copied, content_id=copy.content_id)
            driver.ok(Publish((file,)), session)
            model[name] = size[start : end + 1]
        elif kind < 0.6:
            driver.ok(ReapStep(100))
        else:
            with driver.view() as view:
                sealed = [
                    one
                    for one in view.chunks_after(0, 99)  # type: ignore[arg-type]
                    if one[1].state == "sealed" and not one[1].claimed_by
                ]
            if not sealed:
                continue
            chunk_id, chunk = dice.choice(sealed)
            if not chunk.compactor:
                driver.ok(BeginCompaction(chunk_id, chunk.sealed_index, 1))
            with driver.view() as view:
                row = view.chunk(chunk_id)
            assert row is not None
            cuts = sorted({0, chunk.length, *(dice.randrange(chunk.length) for _ in range(2))})
            ranges, moved = [], []
            for low, high in pairwise(cuts):
                if dice.random() < 0.8:
                    ranges.append(MovedRange(low, len(moved), high - low))
                    moved += [meaning[chunk_id, at] for at in range(low, high)]
            if ranges:
                target = new_chunk(moved)
                driver.ok(
                    MoveReferences(chunk_id, row.compact_index, target, tuple(ranges)), session
                )
                driver.ok(ReleaseChunks((target,)), session)
        driver.check()
        assert {path: held(path) for path in model} == model
    assert fresh < MIB
