"""Contents made of the bytes of other files, against plain byte arrays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from state_driver import WALL_NS, Driver, apply_one, empty_file, small_file

from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import EXTENTS_PER_COMMAND_MAX
from gfs_ha.master.state.commands import ReapStep
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.records import DEAD
from gfs_ha.master.state.tables import DATABASES
from gfs_ha.protocol.extents import DiscardStaged, ReplaceContent, StageCopy
from gfs_ha.protocol.metadata import (
    CloseSession,
    Extent,
    FinishChunk,
    Publish,
    ReleaseChunks,
    Remove,
    StageExtents,
)

ALL = 1 << 40
NAMES = ("/a", "/b", "/c")


class Files:
    """Does what a client does, and keeps what each file must hold as (chunk, byte) pairs."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.session = driver.open_session()
        self.model: dict[str, list[tuple[int, int]]] = {}

    def fresh(self, length: int, pieces: int) -> tuple[tuple[Extent, ...], list[tuple[int, int]]]:
        """Return extents of a fresh chunk that is sealed but claimed, and their bytes."""
        chunk = self.driver.chunk(self.session)
        holders = tuple(place.server_id for place in chunk.replicas)
        self.driver.ok(FinishChunk(chunk.chunk_id, length, 5, holders), self.session)
        cuts = sorted({0, length, *(length * part // pieces for part in range(pieces))})
        extents = tuple(
            Extent(low, chunk.chunk_id, low, high - low, 7) for low, high in pairwise(cuts)
        )
        return extents, [(chunk.chunk_id, at) for at in range(length)]

    def put(self, path: str, length: int, pieces: int) -> None:
        extents, data = self.fresh(length, pieces) if length else ((), [])
        file = empty_file(path, size=length, extents=extents)
        released = tuple({extent.chunk_id for extent in extents})
        assert not self.driver.ok(Publish((file,), released), self.session).files[0].error
        self.model[path] = data

    def concat(self, sources: list[str], target: str) -> None:
        content_id, end = 0, 0
        for source in sources:
            reply = self.driver.ok(StageCopy(source, 0, ALL, content_id, end), self.session)
            content_id, end = reply.content_id, end + reply.copied
        file = empty_file(target, size=end, content_id=content_id)
        assert not self.driver.ok(Publish((file,)), self.session).files[0].error
        self.model[target] = [one for source in sources for one in self.model[source]]

    def truncate(self, path: str, size: int) -> None:
        reply = self.driver.ok(StageCopy(path, 0, size), self.session)
        self.replace(path, reply.status, reply.content_id, size)
        self.model[path] = self.model[path][:size]

    def pwrite(self, path: str, offset: int, length: int) -> None:
        extents, data = self.fresh(length, 2)
        moved = tuple(
            Extent(one.file_offset + offset, one.chunk_id, one.chunk_offset, one.length, one.crc)
            for one in extents
        )
        staged = self.driver.ok(StageExtents(0, moved), self.session).content_id
        before = self.driver.ok(StageCopy(path, 0, offset, staged, 0), self.session)
        end = offset + length
        self.driver.ok(StageCopy(path, end, ALL, staged, end), self.session)
        size = max(end, before.status.size)
        self.replace(path, before.status, staged, size)
        self.driver.ok(ReleaseChunks((extents[0].chunk_id,)), self.session)
        old = self.model[path]
        self.model[path] = old[:offset] + data + old[end:]

    def replace(self, path: str, status, content_id: int, size: int) -> None:
        command = ReplaceContent(path, content_id, size, 1, status.content_id, status.generation)
        self.driver.ok(command, self.session)

    def read(self, path: str) -> list[tuple[int, int]]:
        with self.driver.view() as view:
            extents = view.open_file(path, 0, 1000).extents
        return [
            (one.chunk_id, one.chunk_offset + at) for one in extents for at in range(one.length)
        ]

    def check(self) -> None:
        self.driver.check()
        for path, data in self.model.items():
            assert self.read(path) == data


steps = st.lists(
    st.tuples(
        st.sampled_from(("put", "cp", "concat", "truncate", "pwrite", "rm", "reap", "drop")),
        st.sampled_from(NAMES),
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
        st.integers(0, 40),
        st.integers(1, 6),
    ),
    max_size=30,
)


def _run(files: Files, step: tuple[str, str, list[str], int, int]) -> None:
    kind, path, others, number, pieces = step
    known = [one for one in others if one in files.model]
    size = len(files.model.get(path, ()))
    if kind == "put":
        files.put(path, number, pieces)
    elif kind == "cp" and known:
        files.concat(known[:1], path)
    elif kind == "concat" and known:
        files.concat(known, path)
    elif kind == "truncate" and size:
        files.truncate(path, number % (size + 1))
    elif kind == "pwrite" and path in files.model:
        files.pwrite(path, number % (size + 1), pieces)
    elif kind == "rm" and path in files.model:
        files.driver.ok(Remove(path), files.session)
        del files.model[path]
    elif kind == "drop" and path in files.model:
        staged = files.driver.ok(StageCopy(path, number, pieces), files.session)
        files.driver.ok(DiscardStaged(staged.content_id), files.session)
    else:
        files.driver.ok(ReapStep(64))


@given(steps)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_files_are_what_plain_arrays_of_bytes_are(steps: list) -> None:
    files = Files(Driver())
    for step in steps:
        _run(files, step)
        files.check()
    _ends_clean(files)


@given(steps)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_both_stores_and_a_replay_come_to_the_same(tmp_path_factory, steps: list) -> None:
    store = LmdbKV(tmp_path_factory.mktemp("kv"), DATABASES, 64 << 20)
    try:
        files = Files(Driver(store))
        for step in steps:
            _run(files, step)
        files.check()
        again, machine = MemoryKV(), Machine()
        for logged in files.driver.log:
            apply_one(machine, again, logged)
        replayed = Driver(again, init=False)
        assert replayed.fingerprint() == files.driver.fingerprint()
    finally:
        store.close()


def _ends_clean(files: Files) -> None:
    """When all files are gone, no chunk is left alive."""
    for path in files.model:
        files.driver.ok(Remove(path), files.session)
    files.model.clear()
    for _ in range(200):
        with files.driver.view() as view:
            if not view.counters().reapable:
                break
        files.driver.ok(ReapStep(500))
    files.driver.check()
    with files.driver.view() as view:
        assert all(chunk.state == DEAD for _, chunk in view.chunks_after(0, 1000))


@pytest.fixture
def files() -> Files:
    return Files(Driver())


def test_a_copy_outlives_its_source(files: Files) -> None:
    files.put("/a", 30, 3)
    files.concat(["/a"], "/b")
    files.driver.ok(Remove("/a"), files.session)
    del files.model["/a"]
    for _ in range(5):
        files.driver.ok(ReapStep(500))
    files.check()
    _ends_clean(files)


def test_a_file_joined_with_itself_refers_twice(files: Files) -> None:
    files.put("/a", 10, 1)
    files.concat(["/a", "/a"], "/a")
    assert len(files.model["/a"]) == 20
    files.check()


def test_a_cut_extent_has_no_crc_and_the_whole_ones_keep_theirs(files: Files) -> None:
    files.put("/a", 10, 2)
    files.truncate("/a", 7)
    with files.driver.view() as view:
        assert [(one.length, one.crc) for one in view.open_file("/a", 0, 9).extents] == [
            (5, 7),
            (2, None),
        ]


def test_of_two_changes_of_one_content_the_second_is_refused(files: Files) -> None:
    files.put("/a", 10, 1)
    first = files.driver.ok(StageCopy("/a", 0, 5), files.session)
    second = files.driver.ok(StageCopy("/a", 0, 3), files.session)
    files.replace("/a", first.status, first.content_id, 5)
    with files.driver.view() as view:
        assert view.status("/a").generation == first.status.generation + 1
    late = ReplaceContent(
        "/a", second.content_id, 3, 1, second.status.content_id, second.status.generation
    )
    assert files.driver.error(late, files.session) == "PreconditionFailed"
    pinned = StageCopy("/a", 0, 3, 0, 0, first.status.content_id, first.status.generation)
    assert files.driver.error(pinned, files.session) == "PreconditionFailed"
    files.driver.check()


def test_a_copy_of_very_many_extents_goes_in_bounded_commands(files: Files) -> None:
    chunk = files.driver.chunk(files.session)
    count = EXTENTS_PER_COMMAND_MAX + 20
    extents = [Extent(at, chunk.chunk_id, at, 1, 7) for at in range(count)]
    staged = files.driver.ok(StageExtents(0, tuple(extents[:400])), files.session).content_id
    files.driver.ok(StageExtents(staged, tuple(extents[400:])), files.session)
    file = empty_file("/a", size=count, content_id=staged)
    files.driver.ok(Publish((file,)), files.session)
    part = files.driver.ok(StageCopy("/a", 0, ALL), files.session)
    assert part.copied == EXTENTS_PER_COMMAND_MAX
    status = part.status
    rest = StageCopy(
        "/a", part.copied, ALL, part.content_id, part.copied, status.content_id, status.generation
    )
    assert files.driver.ok(rest, files.session).copied == 20
    files.driver.check()
    half = StageCopy("/a", 0, 10, part.content_id, 5)
    assert files.driver.error(half, files.session) == "InvalidArgument"
    files.driver.ok(Publish((empty_file("/b", size=count, content_id=part.content_id),)), 1)
    files.driver.check()


def test_what_a_client_that_died_had_staged_is_reaped(files: Files) -> None:
    files.put("/a", 10, 1)
    files.driver.ok(StageCopy("/a", 0, ALL), files.session)
    files.driver.ok(CloseSession(), files.session)
    for _ in range(5):
        files.driver.ok(ReapStep(500))
    files.check()
    with files.driver.view() as view:
        assert not view.counters().reapable


def test_bytes_of_a_chunk_that_is_still_open_can_be_copied(files: Files) -> None:
    chunk = files.driver.chunk(files.session)
    published = Publish((small_file("/a", chunk.chunk_id, 0, 8),))
    files.driver.ok(published, files.session)
    other = files.driver.open_session()
    staged = files.driver.ok(StageCopy("/a", 2, 3), other)
    files.driver.ok(Publish((empty_file("/b", size=3, content_id=staged.content_id),)), other)
    files.driver.check()
    assert staged.status.mtime_ns < WALL_NS
    assert files.read("/b") == [(chunk.chunk_id, at) for at in (2, 3, 4)]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (StageCopy("/no", 0, 1), "NotFound"),
        (StageCopy("/", 0, 1), "IsADirectory"),
        (StageCopy("/a", -1, 1), "InvalidArgument"),
        (StageCopy("/a", 0, -1), "InvalidArgument"),
        (StageCopy("/a", 0, 1, 99), "WrongState"),
        (StageCopy("/a", 0, 9, 0, (1 << 63) - 5), "InvalidArgument"),
        (ReplaceContent("/a", 99, 1, 1, 1, 1), "WrongState"),
        (ReplaceContent("/a", 0, 1, 1, 1, 1), "InvalidArgument"),
    ],
)
def test_what_cannot_be_is_refused(files: Files, command, error: str) -> None:
    files.put("/a", 9, 1)
    assert files.driver.error(command, files.session) == error
    files.driver.check()


def test_a_content_of_another_size_or_with_a_hole_is_not_put_in_place(files: Files) -> None:
    files.put("/a", 10, 1)
    part = files.driver.ok(StageCopy("/a", 0, 5, 0, 2), files.session)
    for size in (5, 7):
        command = ReplaceContent(
            "/a", part.content_id, size, 1, part.status.content_id, part.status.generation
        )
        assert files.driver.error(command, files.session) == "InvalidArgument"
    files.check()
