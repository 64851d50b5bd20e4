"""The pages of fsck: every name once, tables compared in both directions, and where a page ends."""

from __future__ import annotations

import pytest
from master_tables import Tables

from gfs_ha.ids import ChunkId, ContentId
from gfs_ha.master.census import Presence
from gfs_ha.master.chunk_scan import ChunkScan
from gfs_ha.master.file_scan import FileScan
from gfs_ha.master.place_scan import PlaceScan
from gfs_ha.master.state import tables as tables_of
from gfs_ha.master.state.records import Chunk, ExtentRow, Mark, Reference
from gfs_ha.master.troubles import Heard, troubles_of
from gfs_ha.protocol.fsck import (
    ChunksScanned,
    FilesScanned,
    FsckFinding,
    ScanChunks,
    ScanFiles,
    ScanPlaces,
)
from gfs_ha.protocol.metadata import Extent, FinishChunk, Mkdir, Publish, PublishFile, Remove
from gfs_ha.protocol.reports import ChunkRow


class House:
    """Files over chunks on four servers, some of which may be dead."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.session = self.tables.session()
        self.dead: set[int] = set()

    def chunk(self, length: int = 1000) -> ChunkId:
        chunk_id = self.tables.chunk(self.session).chunk_id
        self.tables.do(FinishChunk(chunk_id, length, 5, (1, 2, 3)), self.session)
        return chunk_id

    def file(self, path: str, *pieces: tuple[ChunkId, int, int]) -> None:
        """Publish a file of (chunk, offset, length)."""
        end, extents = 0, []
        for chunk_id, offset, length in pieces:
            extents.append(Extent(end, chunk_id, offset, length, 7))
            end += length
        file = PublishFile(path, end, 0o644, 1, extents=tuple(extents))
        reply = self.tables.do(Publish((file,)), self.session)
        assert not reply.files[0].error, reply

    def describe(self, chunk_id: ChunkId, chunk: Chunk) -> ChunkRow:
        there = Presence(lambda one: one not in self.dead, frozenset())
        copies = there.copies(chunk_id, chunk)
        facts = (chunk_id, chunk.state, chunk.length, chunk.goal, copies)
        troubles = troubles_of(chunk_id, chunk, there, Heard())
        return ChunkRow(*facts, "disk", "put", 0, (), troubles=troubles, rule="seed")

    def page(self, request: ScanFiles) -> FilesScanned:
        with self.tables.view() as view:
            return FileScan(view, self.describe, request).page()

    def files(self, path: str = "/", rows: int = 3) -> tuple[list[FsckFinding], int, int]:
        """Follow the pages to their end; return (findings, files, bytes)."""
        request, found, files, length = ScanFiles(path, rows=rows), [], 0, 0
        while True:
            page = self.page(request)
            found += page.findings
            files, length = files + page.files, length + page.length
            if not page.more:
                return found, files, length
            request = ScanFiles(path, page.after, page.offset, rows)

    def chunks(self, rows: int = 2) -> list[FsckFinding]:
        request, found = ScanChunks(rows=rows), []
        while True:
            with self.tables.view() as view:
                page: ChunksScanned = ChunkScan(view, self.describe, request).page()
            found += page.findings
            if not page.more:
                return found
            request = ScanChunks(page.after, page.inside, rows)

    def places(self, rows: int = 2) -> tuple[list[FsckFinding], int]:
        """Follow the pages of servers' tables to their end; return (findings, places)."""
        request, found, places = ScanPlaces(rows=rows), [], 0
        while True:
            with self.tables.view() as view:
                page = PlaceScan(view, request).page()
            assert page.places <= rows
            found, places = [*found, *page.findings], places + page.places
            if not page.more:
                return found, places
            request = ScanPlaces(page.after, rows)

    def put_row(self, table: tables_of.RowTable, key: bytes, row: object) -> None:  # type: ignore[type-arg]
        """Write a row past the machine, as only a mistake or a broken disk does."""
        transaction = self.tables.kv.begin()
        if row is None:
            transaction.delete(table.table, key)
        else:
            transaction.put(table.table, key, table.encode(row))
        transaction.commit()

    def content(self, path: str) -> ContentId:
        with self.tables.view() as view:
            return view.status(path).content_id


@pytest.fixture
def house() -> House:
    return House()


def kinds(found: list[FsckFinding]) -> list[tuple[str, str]]:
    return [(one.kind, one.path) for one in found]


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 1000])
def test_every_file_is_seen_once_whatever_a_page_holds(house: House, rows: int) -> None:
    chunk = house.chunk()
    paths = ["/a", "/b/c/d", "/b/c/e", "/b/f", "/b.x", "/z"]
    house.tables.do(Mkdir("/b/c/empty", parents=True), house.session)
    for at, path in enumerate(paths):
        house.file(path, *((chunk, 10 * piece, 10) for piece in range(at + 1)))
    assert house.files(rows=rows) == ([], 6, 10 * 21)
    assert house.files("/b", rows) == ([], 3, 10 * (2 + 3 + 4))
    assert house.files("/b/c/d", rows) == ([], 1, 20)
    assert house.chunks(rows) == []


def test_a_walk_goes_on_behind_names_that_went_away(house: House) -> None:
    chunk = house.chunk()
    for path in ("/a/b/c", "/a/d", "/e"):
        house.tables.do(Mkdir("/a/b", parents=True), house.session)
        house.file(path, (chunk, 0, 10))
    house.tables.do(Remove("/a/b", recursive=True), house.session)
    page = house.page(ScanFiles("/", "/a/b/c"))
    assert (page.files, page.directories, page.more) == (2, 0, False)
    page = house.page(ScanFiles("/", "/a/b/c", offset=5))
    assert page.files == 2 and not page.findings


def test_lost_copies_are_named_by_the_files_that_need_them(house: House) -> None:
    chunk = house.chunk()
    house.tables.do(Mkdir("/d", parents=True), house.session)
    house.file("/d/f", (chunk, 0, 400))
    house.file("/d/g", (chunk, 400, 600))
    house.dead = {1}
    found, _, _ = house.files()
    assert kinds(found) == [("under", "/d/f"), ("under", "/d/g")]
    assert found[1].why == "2 of 3 copies" and found[1].chunk_id == chunk
    house.dead = {1, 2, 3}
    found, _, _ = house.files()
    assert kinds(found) == [("missing", "/d/f"), ("missing", "/d/g")]
    assert {one.severity for one in found} == {"loss"}


def test_tables_that_disagree_are_found_from_either_side(house: House) -> None:
    chunk = house.chunk()
    house.file("/f", (chunk, 0, 10), (chunk, 10, 20))
    content = house.content("/f")
    second = tables_of.extent_key(content, 10)
    reference = tables_of.reference_key(chunk, 10, content, 10)

    house.put_row(tables_of.REFERENCES, reference, None)
    assert kinds(house.files()[0]) == [("broken", "/f")] and house.chunks() == []
    house.put_row(tables_of.REFERENCES, reference, Reference(19))
    assert kinds(house.files()[0]) == [("broken", "/f")]
    assert [one.chunk_id for one in house.chunks()] == [chunk]
    house.put_row(tables_of.REFERENCES, reference, Reference(20))
    assert house.files()[0] == [] and house.chunks() == []

    house.put_row(tables_of.EXTENTS, second, None)
    found = house.files(rows=100)[0]
    assert [one.why for one in found] == [
        "its extents end at 10, its size is 30",
        "it has 1 extents, and counts 2",
    ]
    assert "refers to it" in house.chunks()[0].why
    house.put_row(tables_of.EXTENTS, second, ExtentRow(chunk, 990, 20, 1, 7))
    assert any("needs bytes up to 1010 of 1000" in one.why for one in house.files()[0])
    house.put_row(tables_of.EXTENTS, second, ExtentRow(ChunkId(99), 10, 20, 1, 7))
    assert any("not there" in one.why for one in house.files()[0])


def test_a_place_that_its_server_does_not_list_is_found(house: House) -> None:
    chunk = house.chunk()
    house.file("/f", (chunk, 0, 10))
    key = tables_of.replica_key(2, 102, chunk)
    house.put_row(tables_of.REPLICAS_BY_SERVER, key, None)
    assert "server 2 does not list" in house.chunks()[0].why


@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_every_place_of_a_server_is_seen_once_whatever_a_page_holds(
    house: House, rows: int
) -> None:
    for _ in range(4):
        house.chunk()
    assert house.places(rows) == ([], 12)


def test_a_place_that_its_chunk_does_not_know_is_found_from_the_server(house: House) -> None:
    chunk = house.chunk()
    gone, elsewhere = ChunkId(chunk + 1000), tables_of.replica_key(4, 104, chunk)
    house.put_row(tables_of.REPLICAS_BY_SERVER, tables_of.replica_key(2, 102, gone), Mark())
    house.put_row(tables_of.REPLICAS_BY_SERVER, elsewhere, Mark())
    found, places = house.places()
    assert places == 5
    assert [(one.kind, one.chunk_id, one.server_id) for one in found] == [
        ("broken", gone, 2),
        ("broken", chunk, 4),
    ]
    assert "there is no such chunk" in found[0].why and "no place on that disk" in found[1].why
    # The second look at one of them alone says the same, and nothing of others.
    with house.tables.view() as view:
        request = ScanPlaces((found[1].server_id, found[1].disk_id, ChunkId(chunk - 1)), rows=1)
        assert PlaceScan(view, request).page().findings == (found[1],)
    house.put_row(tables_of.REPLICAS_BY_SERVER, elsewhere, None)
    assert len(house.places()[0]) == 1
