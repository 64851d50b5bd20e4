"""Chunks in trouble: which kind each is, found by indexes, page by page."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from master_tables import Tables

from gfs_ha.ids import Birth, ChunkId, DiskId, LogIndex, ServerId
from gfs_ha.master import troubles
from gfs_ha.master.census import Presence, lost_disks
from gfs_ha.master.troubles import (
    Heard,
    Strays,
    chunks_in_trouble,
    listed_by_chunk,
    strays_by_chunk,
    troubles_of,
)
from gfs_ha.protocol.control import OpenReplica
from gfs_ha.protocol.damage import BLOCKED, CORRUPT, MISSING, ORPHAN, SHORT, TROUBLES, UNDER
from gfs_ha.protocol.metadata import FinishChunk, ReleaseChunks

FIRST = ChunkId(0)


class House:
    """Tables and what was heard."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.session = self.tables.session()
        self.dead: set[int] = set()
        self.damaged: set[tuple[ChunkId, ServerId]] = set()
        self.listed: dict[ServerId, dict[ChunkId, OpenReplica]] = {}
        self.blocked: dict[ChunkId, str] = {}
        self.strays: set[tuple[ChunkId, ServerId]] = set()
        self.strays_looked_for = 0

    def sealed(self, servers: tuple[int, ...] = (1, 2, 3)) -> ChunkId:
        chunk_id = self.tables.chunk(self.session, servers).chunk_id
        self.tables.do(FinishChunk(chunk_id, 1000, 5, servers), self.session)
        return chunk_id

    def list_one(self, server: int, chunk_id: int, state: str, end: int) -> None:
        with self.tables.view() as view:
            row = view.chunk(ChunkId(chunk_id))
        birth: Birth = row.birth if row is not None else Birth(1, 1)
        disk = DiskId(100 + server)
        replica = OpenReplica(ChunkId(chunk_id), birth, disk, end, state, LogIndex(0))
        self.listed.setdefault(ServerId(server), {})[ChunkId(chunk_id)] = replica

    def known(self) -> tuple[Presence, Heard]:
        with self.tables.view() as view:
            lost = lost_disks(view)
        there = Presence(lambda one: one not in self.dead, lost, frozenset(self.damaged))
        return there, Heard(listed_by_chunk(self.listed), self.blocked, self.find_strays)

    def find_strays(self) -> Strays:
        self.strays_looked_for += 1
        return strays_by_chunk(self.strays)

    def kinds(self, chunk_id: ChunkId) -> tuple[str, ...]:
        with self.tables.view() as view:
            return troubles_of(chunk_id, view.chunk(chunk_id), *self.known())

    def found(self, *wanted: str, after: ChunkId = FIRST, limit: int = 100) -> list[ChunkId]:
        with self.tables.view() as view:
            rows, _, _ = chunks_in_trouble(view, wanted, self.known(), (after, limit))
        return [chunk_id for chunk_id, _ in rows]

    def pages(self, wanted: Collection[str], limit: int) -> list[ChunkId]:
        """Return what a caller gets that follows the pages to their end."""
        found: list[ChunkId] = []
        after = FIRST
        while True:
            with self.tables.view() as view:
                rows, after, more = chunks_in_trouble(view, wanted, self.known(), (after, limit))
            found += [chunk_id for chunk_id, _ in rows]
            if not more:
                return found


@pytest.fixture
def house() -> House:
    return House()


def test_a_whole_chunk_is_in_no_trouble(house: House) -> None:
    chunk = house.sealed()
    assert house.kinds(chunk) == () and house.found(*TROUBLES) == []


def test_missing_is_a_living_chunk_without_any_valid_copy_on_a_live_server(house: House) -> None:
    whole, lost = house.sealed((2, 3, 4)), house.sealed((1, 2))
    house.dead = {1}
    assert house.found(MISSING) == [] and house.found(UNDER) == [lost]
    house.damaged = {(lost, ServerId(2))}
    assert house.kinds(lost) == (MISSING, UNDER, CORRUPT)
    assert house.found(MISSING) == [lost] and house.kinds(whole) == ()


def test_short_is_a_replica_of_a_sealed_chunk_with_fewer_bytes(house: House) -> None:
    chunk, still_open = house.sealed(), house.tables.chunk(house.session).chunk_id
    house.list_one(2, chunk, "fenced", 999)
    house.list_one(2, still_open, "open", 3)
    assert house.found(SHORT) == [chunk]
    house.list_one(2, chunk, "fenced", 1000)
    assert house.found(SHORT) == []


def test_what_a_holder_listed_before_it_heard_of_the_seal_is_not_short(house: House) -> None:
    chunk = house.sealed()
    house.list_one(2, chunk, "open", 999)
    assert house.found(SHORT) == []


def test_another_birth_says_nothing_about_the_chunk(house: House) -> None:
    chunk = house.sealed()
    other = OpenReplica(chunk, Birth(9, 9), DiskId(102), 3, "fenced")
    house.listed[ServerId(2)] = {chunk: other}
    assert house.kinds(chunk) == ()


def test_corrupt_is_damage_on_a_place_of_the_chunk(house: House) -> None:
    chunk = house.sealed()
    house.damaged = {(chunk, ServerId(4))}
    assert house.kinds(chunk) == (), "no place of it is there"
    house.damaged = {(chunk, ServerId(3))}
    assert house.kinds(chunk) == (UNDER, CORRUPT)


def test_blocked_is_what_cannot_be_sealed(house: House) -> None:
    chunk = house.tables.chunk(house.session).chunk_id
    house.blocked = {chunk: "cs1 does not answer"}
    assert house.found(BLOCKED) == [chunk]


def test_orphans_are_held_of_dead_and_of_unknown_chunks(house: House) -> None:
    dead = house.tables.chunk(house.session).chunk_id
    house.tables.do(ReleaseChunks((dead,)), house.session)
    listed, stray, refused = ChunkId(dead + 10), ChunkId(dead + 20), ChunkId(dead + 30)
    house.list_one(1, listed, "open", 7)
    house.list_one(1, refused, "tombstone", 0)
    house.strays = {(stray, ServerId(4))}
    assert house.found(ORPHAN) == [dead, listed, stray]
    assert house.found(MISSING, UNDER) == [], "what is dead is missed by nobody"
    with house.tables.view() as view:
        rows, _, _ = chunks_in_trouble(view, [ORPHAN], house.known(), (FIRST, 9))
    assert [row is None for _, row in rows] == [False, True, True]


def test_living_chunks_are_described_without_looking_for_strays(house: House) -> None:
    """There may be ten thousand, and a look at a file or a page of fsck holds the door."""
    chunk = house.sealed((1, 2))
    house.strays = {(ChunkId(chunk + 9), ServerId(1))}
    assert house.kinds(chunk) == (UNDER,) and house.found(UNDER) == [chunk]
    assert house.strays_looked_for == 0
    assert house.kinds(ChunkId(chunk + 9)) == (ORPHAN,) and house.strays_looked_for == 1


def test_several_kinds_are_those_in_any_of_them_each_once(house: House) -> None:
    under, hurt = house.sealed((1, 2)), house.sealed()
    house.damaged = {(hurt, ServerId(1))}
    assert house.found(CORRUPT, UNDER) == [under, hurt]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_show_each_chunk_once_also_when_a_page_ends_early(
    house: House, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [house.sealed((1, 2) if number % 2 else (1, 2, 3)) for number in range(12)]
    house.dead = {4}
    wanted = [one for at, one in enumerate(made) if at % 2]
    assert house.pages([UNDER], limit) == wanted
    # Very few of those that are looked at are worth showing: pages come back empty.
    house.dead = {3}
    house.damaged = set()
    monkeypatch.setattr(troubles, "EXAMINED_MAX", 2)
    assert house.pages([UNDER, MISSING], limit) == made
    assert house.pages([MISSING], limit) == []
