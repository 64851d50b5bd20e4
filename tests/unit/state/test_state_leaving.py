"""A job that empties a server and how the server stands: one command says both, and never early."""

from __future__ import annotations

import pytest
from state_driver import Driver

from gfs_ha.master.state.commands import ReplicasDeleted
from gfs_ha.master.state.events import events_after
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.server_mode_commands import RemoveServer, SetDiskMode, SetServerMode
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DECOMMISSION,
    DISK_DRAIN,
    DONE,
    DRAIN,
    FAILED,
    PAUSED,
    RUNNING,
    JobOptions,
)
from gfs_ha.protocol.metadata import ReleaseChunks
from gfs_ha.protocol.server_modes import (
    DECOMMISSIONED,
    DECOMMISSIONING,
    DRAINED,
    DRAINING,
    IN_SERVICE,
)


@pytest.fixture
def driver() -> Driver:
    return Driver(server_count=4)


def begin(driver: Driver, kind: str = DRAIN, server: int = 1, disk: int = 0) -> int:
    return driver.ok(StartJob(kind, JobOptions(), server, disk)).number


def stands(driver: Driver, number: int = 1) -> tuple[str, int]:
    with driver.view() as view:
        row = view.server_mode(number)
    return row.mode, row.job


@pytest.mark.parametrize(
    ("kind", "leaving", "empty"),
    [(DRAIN, DRAINING, DRAINED), (DECOMMISSION, DECOMMISSIONING, DECOMMISSIONED)],
)
def test_a_server_stands_as_its_job_does(
    driver: Driver, kind: str, leaving: str, empty: str
) -> None:
    number = begin(driver, kind)
    assert stands(driver) == (leaving, number)
    driver.ok(SetJobPhase(number, RUNNING, PAUSED))
    assert stands(driver) == (leaving, number)
    driver.ok(SetJobPhase(number, PAUSED, RUNNING))
    driver.ok(SetJobPhase(number, RUNNING, DONE))
    assert stands(driver) == (empty, number)
    assert driver.error(StartJob(kind, JobOptions(), 1)) == "PreconditionFailed"
    driver.check()


@pytest.mark.parametrize("end", [CANCELLED, FAILED])
@pytest.mark.parametrize("kind", [DRAIN, DECOMMISSION])
def test_a_job_that_does_not_come_to_its_end_leaves_the_server_in_service(
    driver: Driver, kind: str, end: str
) -> None:
    number = begin(driver, kind)
    driver.ok(SetJobPhase(number, RUNNING, end, "a person said so"))
    assert stands(driver) == (IN_SERVICE, 0)
    assert driver.error(SetJobPhase(number, end, RUNNING)) == "StaleCommand"
    driver.check()


def test_a_job_is_not_done_while_anything_is_placed_there(driver: Driver) -> None:
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    number, disk = begin(driver), begin(driver, DISK_DRAIN, 2, 102)
    for one in (number, disk):
        assert driver.error(SetJobPhase(one, RUNNING, DONE)) == "StaleCommand"
    driver.ok(ReleaseChunks((chunk_id,)), session)
    for one in (number, disk):
        assert driver.error(SetJobPhase(one, RUNNING, DONE)) == "StaleCommand"
    with driver.view() as view:
        assert get_job(view, number).phase == get_job(view, disk).phase == RUNNING
    driver.ok(ReplicasDeleted(((chunk_id, 1, 101), (chunk_id, 2, 102))))
    for one in (number, disk):
        driver.ok(SetJobPhase(one, RUNNING, DONE))
    with driver.view() as view:
        assert view.disk_mode(2, 102).mode == DRAINED and view.server_mode(2).mode == IN_SERVICE
    driver.check()


def test_a_drained_server_may_be_decommissioned_and_not_the_other_way_round(
    driver: Driver,
) -> None:
    driver.ok(SetJobPhase(begin(driver), RUNNING, DONE))
    number = begin(driver, DECOMMISSION)
    assert stands(driver) == (DECOMMISSIONING, number)
    driver.ok(SetJobPhase(number, RUNNING, DONE))
    assert driver.error(StartJob(DRAIN, JobOptions(), 1)) == "PreconditionFailed"
    driver.check()


def test_nobody_is_taken_back_beside_a_job_that_goes_on_emptying_it(driver: Driver) -> None:
    # Else it would be given copies, and the job would take them away, for ever.
    number = begin(driver)
    driver.ok(SetJobPhase(number, RUNNING, PAUSED))
    assert driver.error(SetServerMode(1, DRAINING, IN_SERVICE, 0, number)) == "StaleCommand"
    assert driver.error(SetServerMode(1, DRAINING, DRAINED, number, number)) == "StaleCommand"
    assert stands(driver) == (DRAINING, number)
    driver.ok(SetJobPhase(number, PAUSED, CANCELLED))
    assert stands(driver) == (IN_SERVICE, 0)
    number = begin(driver, DISK_DRAIN, 2, 102)
    taken_back = SetDiskMode(2, 102, DRAINING, IN_SERVICE, 0, number)
    assert driver.error(taken_back) == "StaleCommand"
    driver.ok(SetJobPhase(number, RUNNING, DONE))
    driver.ok(SetDiskMode(2, 102, DRAINED, IN_SERVICE, 0, number))
    driver.check()


def test_nobody_empties_what_is_not_there(driver: Driver) -> None:
    assert driver.error(StartJob(DRAIN, JobOptions(), 9)) == "UnknownServer"
    assert driver.error(StartJob(DISK_DRAIN, JobOptions(), 1, 102)) == "UnknownServer"
    with driver.view() as view:
        assert get_job(view, 1) is None, "a job that was refused is none"
    driver.check()


def test_the_disk_of_a_cancelled_job_is_in_service_again(driver: Driver) -> None:
    number = begin(driver, DISK_DRAIN, 2, 102)
    driver.ok(SetJobPhase(number, RUNNING, CANCELLED))
    with driver.view() as view:
        assert view.disk_mode(2, 102) is None
    driver.check()


def test_a_job_may_end_after_its_server_was_removed(driver: Driver) -> None:
    number = begin(driver, DECOMMISSION, 4)
    driver.ok(RemoveServer(4, DECOMMISSIONING))
    driver.ok(SetJobPhase(number, RUNNING, CANCELLED))
    driver.check()


def test_how_a_disk_stands_is_told_among_what_happened_to_its_server(driver: Driver) -> None:
    number = begin(driver, DISK_DRAIN, 2, 102)
    driver.ok(SetJobPhase(number, RUNNING, CANCELLED))
    number = begin(driver, DISK_DRAIN, 2, 102)
    driver.ok(SetJobPhase(number, RUNNING, DONE))
    driver.ok(SetDiskMode(2, 102, DRAINED, IN_SERVICE, 0, number))
    with driver.view() as view:
        events = [row for _, row in events_after(view, 0) if row.kind == "disk"]
    assert {row.subject for row in events} == {"cs2"}
    assert [row.text for row in events] == [
        "disk 0x66 is draining, by job x-1",
        "disk 0x66 is in service again, by job x-1",
        "disk 0x66 is draining, by job x-2",
        "disk 0x66 is drained, by job x-2",
        "disk 0x66 is in service again",
    ]
