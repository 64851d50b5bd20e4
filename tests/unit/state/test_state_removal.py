"""The end of a server in the tables: what may be forgotten, and when its name is free."""

from __future__ import annotations

import pytest
from state_driver import Driver, server

from gfs_ha.ids import ChunkId
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX
from gfs_ha.master.state.commands import ConfirmCopy, PlaceCopy
from gfs_ha.master.state.garbage_commands import NoteOrphans
from gfs_ha.master.state.scrub_commands import AskScrub
from gfs_ha.master.state.server_mode_commands import (
    ForgetPlaces,
    RemoveServer,
    SetDiskMode,
    SetLabels,
    SetServerMode,
)
from gfs_ha.protocol.metadata import FinishChunk, ReleaseChunks
from gfs_ha.protocol.server_modes import DECOMMISSIONED, DRAINING, IN_SERVICE


@pytest.fixture
def driver() -> Driver:
    return Driver(server_count=4)


def sealed(driver: Driver, session: int, copies: int = 3) -> ChunkId:
    chunk_id = driver.chunk(session, copies=copies).chunk_id
    holders = tuple(range(1, copies + 1))
    driver.ok(FinishChunk(chunk_id, 5, 1, holders), session)
    return chunk_id


def copied(driver: Driver, chunk_id: ChunkId, number: int) -> None:
    """Give a chunk one more copy."""
    with driver.view() as view:
        row = view.chunk(chunk_id)
    seen = len(row.holders) + len(row.copying)
    driver.ok(PlaceCopy(chunk_id, row.sealed_index, number, 100 + number, seen))
    with driver.view() as view:
        order = view.chunk(chunk_id).copying[-1].order_index
    driver.ok(ConfirmCopy(chunk_id, row.sealed_index, number, 100 + number, 5, 1, order))


def places(driver: Driver, number: int) -> int:
    with driver.view() as view:
        return view.replica_count(number)


def test_a_place_is_forgotten_once_as_many_others_as_wanted_hold_the_chunk(
    driver: Driver,
) -> None:
    session = driver.open_session()
    chunk_id = sealed(driver, session)
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3)),)))
    assert places(driver, 1) == 1, "two others are not the three that are wanted"
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3, 4)),)))
    assert places(driver, 1) == 1, "the evidence names a server that is no holder"
    copied(driver, chunk_id, 4)
    driver.ok(ForgetPlaces(1, ((chunk_id, (1, 2, 3)),)))
    assert places(driver, 1) == 1, "it is no evidence for itself"
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3, 4)),)))
    assert places(driver, 1) == 0
    with driver.view() as view:
        assert set(view.chunk(chunk_id).holders) == {2, 3, 4}
    driver.check()


def test_a_place_of_an_open_chunk_is_not_forgotten_and_that_of_a_dead_one_is(
    driver: Driver,
) -> None:
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3)),)))
    assert places(driver, 1) == 1
    driver.ok(ReleaseChunks((chunk_id,)), session)
    for number in (1, 2, 3):
        driver.ok(ForgetPlaces(number, ((chunk_id, ()),)))
        driver.check()
    with driver.view() as view:
        assert view.chunk(chunk_id) is None


def test_a_copy_that_is_under_way_to_it_is_forgotten_with_its_place(driver: Driver) -> None:
    session = driver.open_session()
    chunk_id = sealed(driver, session, copies=2)
    with driver.view() as view:
        row = view.chunk(chunk_id)
    driver.ok(PlaceCopy(chunk_id, row.sealed_index, 4, 104, 2))
    copied(driver, chunk_id, 3)
    driver.ok(ForgetPlaces(4, ((chunk_id, (1, 2, 3)),)))
    with driver.view() as view:
        assert view.chunk(chunk_id).copying == () and view.replica_count(4) == 0
    driver.check()


def test_a_server_with_anything_left_is_not_removed(driver: Driver) -> None:
    session = driver.open_session()
    inode_id = driver.file(session, "/log")
    assert inode_id
    chunk_id = driver.tail("/log")
    assert driver.error(RemoveServer(1, IN_SERVICE)) == "StaleCommand"
    driver.seal(chunk_id, 10)
    copied_seen = RemoveServer(1, IN_SERVICE)
    assert driver.error(copied_seen) == "StaleCommand"
    assert driver.error(RemoveServer(4, DRAINING)) == "StaleCommand"
    assert driver.error(RemoveServer(9, IN_SERVICE)) == "UnknownServer"
    driver.ok(NoteOrphans(((4, 104, ChunkId(5)),)))
    with driver.view() as view:
        noted = view.counters().orphans
    if noted:
        assert driver.error(RemoveServer(4, IN_SERVICE)) == "StaleCommand"
        driver.ok(ForgetPlaces(4, (), orphans=ITEMS_PER_COMMAND_MAX))
    driver.ok(RemoveServer(4, IN_SERVICE))
    driver.check()


def test_the_name_of_a_removed_server_is_free_and_its_old_directory_is_refused(
    driver: Driver,
) -> None:
    driver.ok(AskScrub((4,)))
    driver.ok(SetLabels(4, (("zone", "a"),)))
    driver.ok(SetDiskMode(4, 104, IN_SERVICE, DRAINING, 2))
    driver.ok(SetServerMode(4, IN_SERVICE, DECOMMISSIONED, 2))
    driver.ok(RemoveServer(4, DECOMMISSIONED))
    driver.check()
    with driver.view() as view:
        assert view.server(4) is None and view.counters().servers == 3
    assert driver.error(server(4, server_id=4)) == "WrongDirectory"
    assert driver.ok(server(4)).server_id == 5, "it is another server"
    with driver.view() as view:
        assert view.server_mode(5).labels == ()
    driver.check()


def test_what_one_command_forgets_is_bounded(driver: Driver) -> None:
    many = tuple((ChunkId(number), ()) for number in range(ITEMS_PER_COMMAND_MAX + 1))
    assert driver.error(ForgetPlaces(1, many)) == "LimitExceeded"
    assert driver.error(ForgetPlaces(1, (), orphans=-1)) == "InvalidArgument"
    assert driver.error(ForgetPlaces(1, ((ChunkId(1), tuple(range(99))),))) == "LimitExceeded"
    driver.ok(ForgetPlaces(1, ((ChunkId(77), (2, 3)),)))  # There is no such chunk.
    driver.check()
