"""The end of a lost disk in the tables: what may be forgotten of it, and when it is none."""

from __future__ import annotations

import pytest
from state_driver import Driver, server

from gfs_ha.ids import ChunkId
from gfs_ha.master.state.commands import ConfirmCopy, EnrolledDisk, PlaceCopy
from gfs_ha.master.state.events import events_after
from gfs_ha.master.state.garbage_commands import NoteOrphans
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.server_mode_commands import ForgetDisk, ForgetPlaces, SetDiskMode
from gfs_ha.protocol.jobs import CANCELLED, DISK_DRAIN, RUNNING, JobOptions
from gfs_ha.protocol.metadata import FinishChunk
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE

NEW = EnrolledDisk(201, 1 << 40)


@pytest.fixture
def driver() -> Driver:
    return Driver(server_count=4)


def sealed(driver: Driver) -> ChunkId:
    """Return a chunk with copies on the disks 101, 102, 103."""
    session = driver.open_session()
    chunk_id = driver.chunk(session, copies=3).chunk_id
    driver.ok(FinishChunk(chunk_id, 5, 1, (1, 2, 3)), session)
    return chunk_id


def copied(driver: Driver, chunk_id: ChunkId) -> None:
    """Give a chunk a copy on server 4."""
    with driver.view() as view:
        row = view.chunk(chunk_id)
    driver.ok(PlaceCopy(chunk_id, row.sealed_index, 4, 104, len(row.holders)))
    with driver.view() as view:
        order = view.chunk(chunk_id).copying[-1].order_index
    driver.ok(ConfirmCopy(chunk_id, row.sealed_index, 4, 104, 5, 1, order))


def lose(driver: Driver) -> None:
    """Let server 1 come back with another disk in the place of 101."""
    driver.ok(server(1, start_id=2, disks=(NEW,)))


def disks(driver: Driver) -> list[tuple[int, bool]]:
    with driver.view() as view:
        return [(disk.disk_id, disk.lost) for disk in view.server(1).disks]


def test_a_disk_that_is_not_lost_is_never_forgotten(driver: Driver) -> None:
    assert driver.error(ForgetDisk(1, 101, IN_SERVICE)) == "StaleCommand"
    assert driver.error(ForgetDisk(1, 999, IN_SERVICE)) == "UnknownServer"
    assert driver.error(ForgetDisk(9, 101, IN_SERVICE)) == "UnknownServer"
    assert disks(driver) == [(101, False)]


def test_a_lost_disk_is_forgotten_once_no_chunk_has_its_place_there(driver: Driver) -> None:
    chunk_id = sealed(driver)
    lose(driver)
    assert disks(driver) == [(201, False), (101, True)]
    assert driver.error(ForgetDisk(1, 101, IN_SERVICE)) == "StaleCommand"
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3)),), disk_id=101))
    assert driver.error(ForgetDisk(1, 101, IN_SERVICE)) == "StaleCommand", "two are no goal of 3"
    copied(driver, chunk_id)
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3, 4)),), disk_id=101))
    driver.check()
    driver.ok(ForgetDisk(1, 101, IN_SERVICE))
    driver.check()
    assert disks(driver) == [(201, False)]
    assert driver.error(ForgetDisk(1, 101, IN_SERVICE)) == "UnknownServer", "sent twice"
    with driver.view() as view:
        told = [row.text for _, row in events_after(view, 0)]
    assert told[-1] == "disk 0x65 is forgotten: it was lost"
    # Should it come back after all, it comes as a new disk.
    driver.ok(server(1, start_id=3, disks=(NEW, EnrolledDisk(101, 1 << 40))))
    assert disks(driver) == [(201, False), (101, False)]
    driver.check()


def test_a_place_on_another_disk_of_the_server_is_not_forgotten_with_it(driver: Driver) -> None:
    chunk_id = sealed(driver)
    copied(driver, chunk_id)
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3, 4)),), disk_id=777))
    with driver.view() as view:
        assert 1 in view.chunk(chunk_id).holders


def test_a_job_that_empties_it_ends_first_and_what_it_came_to_is_compared(driver: Driver) -> None:
    chunk_id = sealed(driver)
    copied(driver, chunk_id)
    number = driver.ok(StartJob(DISK_DRAIN, JobOptions(), 1, 101)).number
    lose(driver)
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3, 4)),), disk_id=101))
    assert driver.error(ForgetDisk(1, 101, DRAINING)) == "StaleCommand"
    driver.ok(SetJobPhase(number, RUNNING, CANCELLED))
    driver.ok(SetDiskMode(1, 101, IN_SERVICE, DRAINED))
    assert driver.error(ForgetDisk(1, 101, IN_SERVICE)) == "StaleCommand"
    driver.ok(ForgetDisk(1, 101, DRAINED))
    driver.check()
    with driver.view() as view:
        assert view.disk_mode(1, 101) is None


def test_orphans_that_are_noted_of_it_go_first(driver: Driver) -> None:
    chunk_id = sealed(driver)
    copied(driver, chunk_id)
    driver.ok(NoteOrphans(((1, 101, ChunkId(3)), (2, 102, ChunkId(3)))))
    lose(driver)
    driver.ok(ForgetPlaces(1, ((chunk_id, (2, 3, 4)),), disk_id=101))
    with driver.view() as view:
        noted = view.counters().orphans
    if noted:
        assert driver.error(ForgetDisk(1, 101, IN_SERVICE)) == "StaleCommand"
        driver.ok(ForgetPlaces(1, (), 10, 101))
        with driver.view() as view:
            assert view.counters().orphans == noted - 1, "that of the other server stays"
    driver.ok(ForgetDisk(1, 101, IN_SERVICE))
    driver.check()
