"""What nobody can reach any more goes in bounded steps, and nothing else goes with it."""

from __future__ import annotations

import pytest
from state_driver import Driver, empty_file, small_file

from gfs_ha.limits import ROWS_PER_COMMAND_MAX
from gfs_ha.master.state import tables
from gfs_ha.master.state.commands import Entry, ReapStep
from gfs_ha.protocol.metadata import (
    CloseSession,
    Extent,
    Mkdir,
    Publish,
    ReleaseChunks,
    Remove,
    StageExtents,
)


def reap_all(driver: Driver, rows_max: int) -> int:
    """Reap until nothing is left; return the number of steps, each checked and bounded."""
    steps = 0
    while True:
        with driver.view() as view:
            if not view.counters().reapable:
                return steps
        entry = Entry(driver.elapsed_ms, 1, ReapStep(rows_max))
        with driver.kv.read() as reader:
            change = driver.machine.plan(reader, driver.index + 1, driver.term, entry)
        assert change.rows.change_count() <= rows_max + 1, "and the counters"
        driver.ok(ReapStep(rows_max))
        driver.check()
        steps += 1
        assert steps < 1000


@pytest.mark.parametrize("rows_max", [32, 100, ROWS_PER_COMMAND_MAX])
def test_a_removed_tree_is_gone_at_once_and_its_rows_in_steps(rows_max: int) -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    paths = [f"/t/{a}/{b}/f{n}" for a in "xyz" for b in "pq" for n in range(8)]
    files = tuple(small_file(path, chunk_id, 10 * n, 10) for n, path in enumerate(paths))
    driver.ok(Publish(files, release=(chunk_id,), make_parents=True), session)
    driver.ok(Mkdir("/t/empty"), session)
    driver.ok(Publish((empty_file("/kept"),)), session)
    driver.ok(Remove("/t", recursive=True), session)
    driver.check()
    driver.ok(Mkdir("/t"), session)  # The name is free again at once.
    steps = reap_all(driver, rows_max)
    assert steps >= (8 if rows_max == 32 else 1)
    with driver.view() as view:
        counters = view.counters()
        assert (counters.files, counters.directories, counters.dead_chunks) == (1, 2, 1)
        for table in (tables.EXTENTS, tables.REFERENCES):
            assert not list(view.rows.scan(table))
        assert [entry.name for entry in view.list_page("/", "", 10).entries] == ["kept", "t"]


@pytest.mark.parametrize("rows_max", [32, 500])
def test_a_big_files_extents_never_blow_a_command(rows_max: int) -> None:
    driver = Driver()
    session = driver.open_session()
    chunks = [driver.chunk(session).chunk_id for _ in range(30)]
    content_id = 0
    for block in range(0, 600, 300):
        extents = tuple(
            Extent(10 * n, chunks[n % 30], 10 * (n // 30), 10, 1) for n in range(block, block + 300)
        )
        content_id = driver.ok(StageExtents(content_id, extents), session).content_id
    driver.ok(Publish((empty_file("/big", size=6000, content_id=content_id),)), session)
    driver.ok(ReleaseChunks(tuple(chunks)), session)
    driver.ok(Publish((empty_file("/big"),)), session)
    assert reap_all(driver, rows_max) > 1200 // rows_max
    with driver.view() as view:
        assert view.counters().dead_chunks == 30


def test_an_ended_sessions_answers_and_staged_contents_go_in_steps() -> None:
    driver = Driver()
    session, other = driver.open_session(), driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    for number in range(120):
        extent = Extent(0, chunk_id, number, 1, 1)
        entry = Entry(1, 1, StageExtents(0, (extent,)), session, 100 + number, 1)
        driver.apply(entry)
    driver.ok(Mkdir("/a"), other)
    driver.sequences[session] = 500
    driver.apply(Entry(1, 1, CloseSession(), session, 500, 1))
    driver.check()
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "open", "still referred to by what was staged"
    assert reap_all(driver, 50) > 5
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "dead"
        assert {tables.read_id(key) for key, _ in view.rows.scan(tables.REPLIES)} == {other}


def test_a_step_with_nothing_to_do_changes_nothing_but_the_clock() -> None:
    driver = Driver()
    driver.ok(ReapStep(100))
    for rows_max in (0, 31, ROWS_PER_COMMAND_MAX + 1):
        assert driver.error(ReapStep(rows_max)) == "InvalidArgument"
    driver.check()
