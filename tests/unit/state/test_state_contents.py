"""Extents are staged unseen, then a file flips from its old content to its new one, whole."""

from __future__ import annotations

import msgspec
import pytest
from state_driver import Driver, empty_file, small_file

from gfs_ha.limits import EXTENTS_PER_COMMAND_MAX, FILES_PER_COMMAND_MAX, MIB
from gfs_ha.master.state import tables
from gfs_ha.master.state.commands import EndClaims, ReapStep
from gfs_ha.protocol.metadata import (
    Extent,
    FinishChunk,
    Mkdir,
    Publish,
    PublishedFile,
    PublishFile,
    ReleaseChunks,
    Remove,
    Rename,
    StageExtents,
)


def extent(chunk_id: int, file_offset: int, length: int, **changes: object) -> Extent:
    fields = {
        "file_offset": file_offset,
        "chunk_id": chunk_id,
        "chunk_offset": file_offset,
        "length": length,
        "crc": 9,
    }
    return Extent(**{**fields, **changes})


def publish(driver: Driver, session: int, *files: PublishFile, **changes) -> list[PublishedFile]:
    return list(driver.ok(Publish(files, **changes), session).files)


def test_an_empty_file_is_one_publish() -> None:
    driver = Driver()
    session = driver.open_session()
    (done,) = publish(driver, session, empty_file("/a", mode=0o600, owner="me", group="us"))
    assert (done.error, done.generation) == ("", 1)
    with driver.view() as view:
        opened = view.open_file("/a", 0, 10)
        assert (opened.status.size, opened.extents, opened.more) == (0, (), False)
        assert (opened.status.mode, opened.status.owner, opened.status.group) == (0o600, "me", "us")
        assert opened.status.content_id == done.content_id != 0
        assert opened.status.goal == 3
    driver.check()


def test_extents_staged_in_any_order_are_published_as_one_content() -> None:
    driver = Driver()
    session = driver.open_session()
    first, second = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    staged = driver.ok(StageExtents(0, (extent(first, 0, 100),)), session)
    content_id = staged.content_id
    later = extent(second, 200, 50, chunk_offset=0)
    assert driver.ok(StageExtents(content_id, (later,)), session).end == 250
    between = (extent(first, 100, 60), extent(first, 160, 40))
    assert driver.ok(StageExtents(content_id, between), session).end == 250
    with driver.view() as view:
        assert view.counters().files == 0, "nobody sees it yet"
        assert (view.chunk(first).published_end, view.chunk(second).published_end) == (200, 50)
    driver.check()
    (done,) = publish(driver, session, empty_file("/a", size=250, content_id=content_id))
    assert (done.error, done.content_id) == ("", content_id)
    with driver.view() as view:
        opened = view.open_file("/a", 0, 10)
        assert [(one.file_offset, one.length) for one in opened.extents] == [
            (0, 100),
            (100, 60),
            (160, 40),
            (200, 50),
        ]
        assert opened.extents[0].crc == 9
        assert [chunk.chunk_id for chunk in opened.chunks] == [first, second]
    driver.check()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"length": 0}, "InvalidArgument"),
        ({"length": -5}, "InvalidArgument"),
        ({"file_offset": -1}, "InvalidArgument"),
        ({"file_offset": (1 << 63) - 5}, "InvalidArgument"),
        ({"chunk_offset": -1}, "InvalidArgument"),
        ({"chunk_offset": MIB - 9}, "InvalidArgument"),
        ({"crc": None}, "InvalidArgument"),
        ({"crc": 1 << 32}, "InvalidArgument"),
        ({"chunk_id": 4242}, "UnknownChunk"),
        ({"chunk_id": -1}, "InvalidArgument"),
    ],
)
def test_an_extent_that_cannot_be_is_refused_with_its_whole_command(
    changes: dict[str, object], expected: str
) -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    bad = msgspec.structs.replace(extent(chunk_id, 100, 10), **changes)
    assert driver.error(StageExtents(0, (extent(chunk_id, 0, 10), bad)), session) == expected
    with driver.view() as view:
        assert not view.referenced(chunk_id)
        assert view.chunk(chunk_id).published_end == 0
    driver.check()


def test_extents_end_within_the_seal_and_a_staged_one_holds_the_seal_up() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(StageExtents(0, (extent(chunk_id, 0, 100),)), session)
    assert driver.error(FinishChunk(chunk_id, 99, 1, (1, 2)), session) == "WrongState"
    driver.ok(FinishChunk(chunk_id, 150, 1, (1, 2)), session)
    driver.ok(StageExtents(0, (extent(chunk_id, 0, 150),)), session)
    assert driver.error(StageExtents(0, (extent(chunk_id, 0, 151),)), session) == "InvalidArgument"
    driver.check()


def test_only_into_a_chunk_that_the_session_claims_and_that_lives() -> None:
    driver = Driver()
    session, other = driver.open_session(), driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    command = StageExtents(0, (extent(chunk_id, 0, 10),))
    assert driver.error(command, other) == "NotClaimed"
    driver.ok(EndClaims(((session, chunk_id),)))
    assert driver.error(command, session) == "WrongState", "finished, collected, then published"
    driver.check()


@pytest.mark.parametrize(
    ("offset", "length"), [(100, 50), (99, 1), (149, 1), (50, 51), (0, 400), (120, 10)]
)
def test_staged_extents_never_overlap(offset: int, length: int) -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    content_id = driver.ok(StageExtents(0, (extent(chunk_id, 100, 50),)), session).content_id
    more = (extent(chunk_id, 200, 50), extent(chunk_id, 90, 10))
    driver.ok(StageExtents(content_id, more), session)
    clash = extent(chunk_id, offset, length, chunk_offset=0)
    assert driver.error(StageExtents(content_id, (clash,)), session) == "InvalidArgument"
    driver.check()


def test_a_content_belongs_to_the_session_that_stages_it() -> None:
    driver = Driver()
    session, other = driver.open_session(), driver.open_session()
    chunk_id, others = driver.chunk(session).chunk_id, driver.chunk(other).chunk_id
    content_id = driver.ok(StageExtents(0, (extent(chunk_id, 0, 10),)), session).content_id
    more = StageExtents(content_id, (extent(others, 10, 10),))
    assert driver.error(more, other) == "WrongState"
    assert driver.error(StageExtents(content_id + 1, ()), session) == "WrongState"
    (stolen,) = publish(driver, other, empty_file("/a", size=10, content_id=content_id))
    assert stolen.error == "WrongState"
    (done,) = publish(driver, session, empty_file("/a", size=10, content_id=content_id))
    assert done.error == ""
    (twice,) = publish(driver, session, empty_file("/b", size=10, content_id=content_id))
    assert twice.error == "WrongState"
    driver.check()


def test_a_content_with_a_hole_or_another_size_is_not_published() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    for extents, size in (
        ((extent(chunk_id, 0, 10), extent(chunk_id, 20, 10)), 30),
        ((extent(chunk_id, 0, 10), extent(chunk_id, 20, 10)), 20),
        ((extent(chunk_id, 10, 10),), 20),
        ((extent(chunk_id, 0, 10),), 11),
        ((extent(chunk_id, 0, 10),), 9),
    ):
        content_id = driver.ok(StageExtents(0, extents), session).content_id
        file = empty_file("/a", size=size, content_id=content_id)
        inline = empty_file("/b", size=size, extents=extents)
        assert [one.error for one in publish(driver, session, file, inline)] == [
            "InvalidArgument",
            "InvalidArgument",
        ]
        driver.check()
    with driver.view() as view:
        assert view.counters().files == 0


def test_a_file_is_refused_alone_and_the_others_of_its_command_go_on() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(Mkdir("/d"), session)
    publish(driver, session, empty_file("/there"))
    content_id = driver.ok(StageExtents(0, (extent(chunk_id, 0, 10),)), session).content_id
    done = publish(
        driver,
        session,
        small_file("/one", chunk_id, 0, 10),
        empty_file("/d"),
        empty_file("/"),
        empty_file("relative"),
        empty_file("/no/parent"),
        empty_file("/there/below"),
        empty_file("/there", if_absent=True),
        empty_file("/x", mode=1 << 20),
        empty_file("/x", mtime_ns=1 << 63),
        empty_file("/x", goal=99),
        empty_file("/x", size=-1),
        small_file("/y", chunk_id, 0, 10, content_id=content_id),
        small_file("/z", 4242, 0, 10),
        empty_file("/last"),
        release=(chunk_id,),
    )
    assert [one.error for one in done] == [
        "",
        "IsADirectory",
        "IsADirectory",
        "InvalidPath",
        "NotFound",
        "NotADirectory",
        "AlreadyExists",
        "InvalidArgument",
        "InvalidArgument",
        "InvalidArgument",
        "InvalidArgument",
        "InvalidArgument",
        "UnknownChunk",
        "",
    ]
    with driver.view() as view:
        names = [entry.name for entry in view.list_page("/", "", 10).entries]
        assert names == ["d", "last", "one", "there"]
        assert view.chunk(chunk_id).claimed_by == 0
    driver.check()


def test_a_replaced_file_keeps_its_inode_and_its_old_content_is_reaped() -> None:
    driver = Driver()
    session = driver.open_session()
    old, new = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    (first,) = publish(driver, session, small_file("/a", old, 0, 10), release=(old,))
    with driver.view() as view:
        pinned = view.open_file("/a", 0, 10).status
    (second,) = publish(driver, session, small_file("/a", new, 0, 20, mode=0o600, goal=2))
    assert (second.inode_id, second.generation) == (first.inode_id, 2)
    with driver.view() as view:
        status = view.status("/a")
        assert (status.size, status.mode, status.goal, status.generation) == (20, 0o600, 2, 2)
        assert view.chunk(old).state == "open", "not yet reaped"
        with pytest.raises(Exception, match="start over"):
            view.read_extents(pinned.inode_id, (pinned.content_id, pinned.generation), 0, 10)
    driver.check()
    publish(driver, session, empty_file("/owned", owner="me", group="us"))
    publish(driver, session, empty_file("/owned"))
    publish(driver, session, empty_file("/owned", owner="you", group="them"))
    with driver.view() as view:
        assert (view.status("/owned").owner, view.status("/owned").group) == ("me", "us")
    driver.ok(ReapStep(100))
    with driver.view() as view:
        assert view.chunk(old).state == "dead"
        assert view.chunk(new).state == "open"
    driver.check()


def test_of_two_puts_if_absent_exactly_one_wins_and_the_losers_content_is_reaped() -> None:
    driver = Driver()
    sessions = [driver.open_session() for _ in range(3)]
    contents = []
    for session in sessions:
        chunk_id = driver.chunk(session).chunk_id
        command = StageExtents(0, (extent(chunk_id, 0, 10),))
        contents.append((chunk_id, driver.ok(command, session).content_id))
    errors = []
    for session, (chunk_id, content_id) in zip(sessions, contents, strict=True):
        file = empty_file("/a", size=10, content_id=content_id, if_absent=True)
        errors += [one.error for one in publish(driver, session, file, release=(chunk_id,))]
    assert errors == ["", "AlreadyExists", "AlreadyExists"]
    driver.check()
    driver.ok(ReapStep(100))
    with driver.view() as view:
        assert [view.chunk(chunk_id).state for chunk_id, _ in contents] == ["open", "dead", "dead"]
        assert view.open_file("/a", 0, 1).extents[0].chunk_id == contents[0][0]
    driver.check()


def test_parents_are_made_on_the_way_only_when_wanted() -> None:
    driver = Driver()
    session = driver.open_session()
    deep = empty_file("/a/b/c", owner="me")
    assert publish(driver, session, deep)[0].error == "NotFound"
    done = publish(
        driver, session, deep, empty_file("/a/b/d"), empty_file("/a/b/c/e"), make_parents=True
    )
    assert [one.error for one in done] == ["", "", "NotADirectory"]
    with driver.view() as view:
        assert view.status("/a/b").entry_count == 2
        assert view.status("/a").owner == "me"
        assert view.counters().directories == 3
    driver.check()


def test_a_file_that_is_refused_makes_no_parents() -> None:
    driver = Driver()
    session = driver.open_session()
    bad = small_file("/a/b/c", 4242, 0, 10)
    assert publish(driver, session, bad, make_parents=True)[0].error == "UnknownChunk"
    with driver.view() as view:
        assert view.counters().directories == 1


def test_commands_of_files_and_extents_are_bounded() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    many = tuple(empty_file(f"/f{n}") for n in range(FILES_PER_COMMAND_MAX + 1))
    assert driver.error(Publish(many), session) == "LimitExceeded"
    extents = tuple(extent(chunk_id, n, 1) for n in range(EXTENTS_PER_COMMAND_MAX + 1))
    assert driver.error(StageExtents(0, extents), session) == "LimitExceeded"
    wide = empty_file("/wide", size=len(extents), extents=extents)
    assert driver.error(Publish((wide,)), session) == "LimitExceeded"
    with driver.view() as view:
        assert view.counters().files == 0 and not list(view.rows.scan(tables.EXTENTS))
    assert driver.ok(StageExtents(0, extents[:-1]), session).end == EXTENTS_PER_COMMAND_MAX
    driver.check()


def test_two_hundred_and_fifty_small_files_fit_one_command_also_over_old_ones() -> None:
    driver = Driver()
    session = driver.open_session()
    for _ in range(2):
        chunk_id = driver.chunk(session).chunk_id
        files = [
            small_file(f"/d{n % 7}/f{n}", chunk_id, n * 100, 100)
            for n in range(FILES_PER_COMMAND_MAX)
        ]
        done = publish(driver, session, *files, release=(chunk_id,), make_parents=True)
        assert {one.error for one in done} == {""}
        driver.check()
    with driver.view() as view:
        assert view.counters().files == FILES_PER_COMMAND_MAX
        assert view.counters().reapable == FILES_PER_COMMAND_MAX
    while True:
        driver.ok(ReapStep(300))
        driver.check()
        with driver.view() as view:
            if not view.counters().reapable:
                break
    with driver.view() as view:
        assert view.counters().dead_chunks == 1


def test_a_name_moved_meanwhile_is_published_where_it_is_now() -> None:
    driver = Driver()
    session = driver.open_session()
    driver.ok(Mkdir("/d"), session)
    driver.ok(Rename("/d", "/e"), session)
    assert publish(driver, session, empty_file("/d/a"))[0].error == "NotFound"
    assert publish(driver, session, empty_file("/e/a"))[0].error == ""
    driver.ok(Remove("/e", recursive=True), session)
    assert publish(driver, session, empty_file("/e/a"))[0].error == "NotFound"
    driver.check()


def test_a_big_file_is_read_page_by_page_from_any_offset() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    content_id = 0
    for start in range(0, 1000, 250):
        extents = tuple(extent(chunk_id, 10 * n, 10) for n in range(start, start + 250))
        content_id = driver.ok(StageExtents(content_id, extents), session).content_id
    publish(driver, session, empty_file("/a", size=10_000, content_id=content_id))
    driver.ok(ReleaseChunks((chunk_id,)), session)
    with driver.view() as view:
        first = view.open_file("/a", 0, 400)
        pinned = (first.status.content_id, first.status.generation)
        assert (len(first.extents), first.more) == (400, True)
        end = first.extents[-1].file_offset + first.extents[-1].length
        rest = view.read_extents(first.status.inode_id, pinned, end, 5000)
        assert (len(rest.extents), rest.more) == (600, False)
        assert rest.extents[0].file_offset == end
        middle = view.read_extents(first.status.inode_id, pinned, 5555, 1)
        assert (middle.extents[0].file_offset, middle.more) == (5550, True)
        assert view.read_extents(first.status.inode_id, pinned, 10_000, 1).extents == ()
    driver.check()
