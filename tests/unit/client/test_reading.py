"""Bytes are verified whichever replica they come from, and a replaced content is noticed."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from little_cluster import LittleCluster

from gfs_ha.client import contents, piece_stream, reader
from gfs_ha.client.locations import Locations
from gfs_ha.errors import (
    ChunkUnavailable,
    CorruptData,
    FileChanged,
    GfsError,
    IsADirectory,
    NotFound,
    TicketRefused,
    Unreachable,
    UsageError,
)
from gfs_ha.ids import ChunkId
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.metadata import Locate, ReadExtents, ReportReplica

DATA = os.urandom(5 * MIB + 333)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a quarter of a chunk, so that parts of extents are read."""
    monkeypatch.setattr(reader, "PIECE_BYTES", MIB // 4)


def test_each_replica_is_tried_and_the_bad_one_reported(little: LittleCluster) -> None:
    told = threading.Event()
    answer = little.masters._serve

    def hear(asked: object) -> object:
        if isinstance(asked.request, ReportReplica):
            told.set()
        return answer(asked)

    little.masters._serve = hear
    little.client.put(io.BytesIO(DATA), "/a")
    servers = [place.server_id for place in little.masters.locations()]
    for server_id in servers:
        little.plane.dead = {server_id}
        assert little.client.read_bytes("/a") == DATA
    little.plane.dead = set(servers[:2])  # Some chunks have only one replica left.
    assert little.client.read_bytes("/a") == DATA
    assert told.wait(20.0), "a report is sent in the background, but it is sent"
    little.client.close()
    assert {report.server_id for report in little.masters.reports} <= set(servers)


@pytest.mark.parametrize("trouble", [TicketRefused("of an old key"), Unreachable("away")])
def test_whose_tickets_nobody_takes_has_the_leader_asked_where_the_chunk_is(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, trouble: GfsError
) -> None:
    little.client.put(io.BytesIO(b"a little"), "/a")
    refresh, read = Locations.refresh, little.plane.read
    refusing = [trouble] * len(little.masters.locations())
    refused_at: list[bool] = []

    def noted(locations: Locations, chunk_id: ChunkId, refused: bool = False) -> object:
        refused_at.append(refused)
        return refresh(locations, chunk_id, refused)

    def refuse(*about: object) -> object:
        if refusing:
            raise refusing.pop()
        return read(*about)

    monkeypatch.setattr(Locations, "refresh", noted)
    monkeypatch.setattr(little.plane, "read", refuse)
    assert little.client.read_bytes("/a") == b"a little"
    assert refused_at == [isinstance(trouble, TicketRefused)]


@pytest.mark.parametrize("pieces", ["whole", "parts"])
def test_a_flipped_bit_with_fitting_block_crcs_is_never_returned(
    little: LittleCluster, pieces: str, request: pytest.FixtureRequest
) -> None:
    if pieces == "parts":
        request.getfixturevalue("small_pieces")
    little.client.put(io.BytesIO(DATA), "/a")
    servers = [place.server_id for place in little.masters.locations()]
    for server_id in servers:
        little.plane.flipping = {server_id}
        assert little.client.read_bytes("/a") == DATA
    little.plane.flipping = set(servers)
    with pytest.raises(CorruptData, match="damaged on every replica"):
        little.client.read_bytes("/a")


def test_a_block_array_that_does_not_fit_the_leaders_digest_proves_nothing(
    little: LittleCluster, small_pieces: None
) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    servers = [place.server_id for place in little.masters.locations()]
    for server_id in servers:
        little.plane.lying = {server_id}
        assert little.client.read_bytes("/a") == DATA
    little.plane.lying = set(servers)
    with pytest.raises(CorruptData, match="damaged on every replica"):
        little.client.read_bytes("/a")


def test_reading_finds_replicas_again_when_all_had_failed(little: LittleCluster) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    file = little.client.open("/a")
    servers = {place.server_id for place in little.masters.locations()}
    little.plane.dead = set(servers)
    answer = little.masters._serve

    def revive(asked: object) -> object:
        if isinstance(asked.request, Locate):
            little.plane.dead = set()
        return answer(asked)

    little.masters._serve = revive
    assert file.read() == DATA


def test_when_no_replica_answers_the_read_ends_in_time() -> None:
    little = LittleCluster(timeout_s=0.4)
    little.client.put(io.BytesIO(DATA), "/a")
    little.plane.dead = {place.server_id for place in little.masters.locations()}
    with pytest.raises(ChunkUnavailable, match="cannot be read now"):
        little.client.read_bytes("/a")
    little.close()


def test_a_near_replica_is_read_first(little: LittleCluster) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    racks = {place.server_id: place.rack for place in little.masters.locations()}
    assert little.client.read_bytes("/a") == DATA
    assert {racks[server_id] for server_id in little.plane.read_from} == {"r1"}


@pytest.mark.usefixtures("small_pieces")
def test_seeks_return_what_lies_there(little: LittleCluster) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    with little.client.open("/a") as file:
        assert file.seekable()
        assert file.size == len(DATA)
        places = [0, 1, BLOCK_BYTES, MIB - 1, MIB, 3 * MIB + 7, len(DATA) - 1, len(DATA), 5]
        for offset in places + list(range(0, len(DATA), 777_777)):
            for size in (0, 1, 100, BLOCK_BYTES + 1, MIB):
                file.seek(offset)
                assert file.read(size) == DATA[offset : offset + size], (offset, size)
        assert file.seek(-10, os.SEEK_END) == len(DATA) - 10
        assert file.read() == DATA[-10:]
        file.seek(2 * MIB)
        buffer = bytearray(100)
        assert file.readinto(buffer) == 100
        assert bytes(buffer) == DATA[2 * MIB : 2 * MIB + 100]
        file.seek(len(DATA) + 100)
        assert file.read(5) == b""
        with pytest.raises(ValueError, match="no such position"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_extents_come_in_pages(little: LittleCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    monkeypatch.setattr(contents, "EXTENTS_PER_CALL", 1)
    monkeypatch.setattr(contents, "EXTENTS_PER_FILE_MIN", 1)
    assert little.client.read_bytes("/a") == DATA
    assert little.masters.requests(ReadExtents)
    with little.client.open("/a") as file:
        file.seek(5 * MIB)
        assert file.read() == DATA[5 * MIB :]
    late = little.client.open("/a")
    little.client.write_bytes("/a", b"new")
    late.seek(5 * MIB)
    with pytest.raises(FileChanged):
        late.read()


def test_buffered_readers_work_on_top(little: LittleCluster) -> None:
    lines = [b"line %d\n" % number for number in range(200_000)]
    little.client.write_bytes("/a", b"".join(lines))
    with io.BufferedReader(little.client.open("/a")) as file:
        assert list(file) == lines


def test_a_late_reader_of_bytes_that_were_given_back_hears_that_the_file_changed(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One replica that gave them back is enough; nobody is blamed for it (G8)."""
    monkeypatch.setattr(piece_stream, "PIECES_DEFAULT", 1)
    monkeypatch.setattr(piece_stream, "PIECES_PER_WORKER", 1)
    little.client.put(io.BytesIO(DATA), "/a")
    servers = [place.server_id for place in little.masters.locations()]
    late = little.client.open("/a")
    little.client.write_bytes("/a", b"new")
    little.plane.gone = {servers[0]}
    assert late.read(10) == DATA[:10], "others may still have them"
    late.close()
    late = little.client.open("/a")
    little.client.write_bytes("/a", b"newer")
    little.plane.gone = {servers[0]}
    little.plane.dead = set(servers[1:])
    with pytest.raises(FileChanged):
        late.read()
    late.close()
    little.plane.dead = set()
    little.plane.gone = set(servers)
    with pytest.raises(ChunkUnavailable, match="gave it back"):
        little.client.read_bytes("/a")
    little.plane.gone = set()
    assert little.client.read_bytes("/a") == b"newer"
    assert not [one for one in little.masters.reports if one.server_id == servers[0]]


def test_an_open_file_goes_on_while_its_content_lives_and_fails_when_it_is_gone(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    monkeypatch.setattr(piece_stream, "PIECES_DEFAULT", 1)
    monkeypatch.setattr(piece_stream, "PIECES_PER_WORKER", 1)
    file = little.client.open("/a")
    first = file.read(10)
    little.client.rename("/a", "/b")
    assert first + file.read(MIB) == DATA[: MIB + 10]
    little.client.put(io.BytesIO(b"new" * MIB), "/b")
    little.plane.chunks.clear()  # Collected: nothing refers to the old chunks any more.
    little.connection.locations._chunks.clear()
    with pytest.raises((FileChanged, ChunkUnavailable)):
        file.read()


def test_get_starts_over_when_the_file_is_replaced(little: LittleCluster, tmp_path: Path) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    new = os.urandom(3 * MIB)
    opened = little.connection.open_content
    states: list[str] = []

    def replace_once(path: str) -> object:
        content = opened(path)
        if not states:
            states.append("replaced")
            little.client.put(io.BytesIO(new), "/a")
            _reap(little)
            little.plane.chunks = {
                key: data
                for key, data in little.plane.chunks.items()
                if _state(little, key[1]) not in ("dead", None)
            }
            little.connection.locations._chunks.clear()
        return content

    little.connection.open_content = replace_once
    little.client.get("/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == new


def test_an_interrupted_get_leaves_the_old_file(little: LittleCluster, tmp_path: Path) -> None:
    little.client.put(io.BytesIO(DATA), "/a")
    target = tmp_path / "a"
    target.write_bytes(b"old")

    class Stop:
        def expect(self, files: int, size: int) -> None: ...
        def finished(self, path: str) -> None: ...
        def moved(self, size: int) -> None:
            if size > 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        little.client.get("/a", target, progress=Stop())
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_wrong_kinds_are_told(little: LittleCluster, tmp_path: Path) -> None:
    little.client.mkdir("/d")
    with pytest.raises(IsADirectory):
        little.client.open("/d")
    with pytest.raises(NotFound):
        little.client.open("/no")
    with pytest.raises(UsageError):
        little.client.open("/d", "w+b")
    with pytest.raises(IsADirectory):
        little.client.get("/d", tmp_path / "x")
    little.client.write_bytes("/f", b"1")
    with pytest.raises(NotFound):
        little.client.get("/f", tmp_path / "no" / "x")
    with pytest.raises(NotFound):
        little.client.get("/f", f"{tmp_path}/new/")
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectory):
        little.client.get("/f", tmp_path)


def _reap(little: LittleCluster) -> None:
    from gfs_ha.master.state.commands import Entry, ReapStep

    for _ in range(20):
        little.masters._apply(Entry(0, 1, ReapStep(1000)))


def _state(little: LittleCluster, chunk_id: int) -> str | None:
    chunk = little.masters.view().chunk(chunk_id)
    return None if chunk is None else chunk.state
